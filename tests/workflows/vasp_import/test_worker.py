"""What a reader answers, whatever it is given."""

import orjson
import pytest

from datastore.schema import SpinPoint
from tests.workflows.vasp_import.test_documents import task_document
from workflows.vasp_import import folders
from workflows.vasp_import.worker import answer


def task(folder):
    files = [[path.name, path.name] for path in sorted(folder.iterdir())]
    return {"origin": "x", "folder": str(folder), "suffix": "", "files": files, "root": str(folder.parent)}


def test_a_label_survives_the_way_to_the_parent(finished):
    content = orjson.loads(orjson.dumps(answer(task(finished("static"))), option=orjson.OPT_SERIALIZE_NUMPY))
    (point,) = map(SpinPoint.from_document, content["points"])
    assert (content["refused"], point.source["file"]) == ([], "static")
    (again,) = answer(task(finished("static")))["points"]
    assert SpinPoint.from_document(again) == point


def test_a_document_in_the_message_is_read(finished):
    document = task_document(finished("static"))
    assert len(answer({"origin": "x", "document": document})["points"]) == 1
    assert answer({"origin": "x", "document": {}})["refused"][0][0] == "no task document"


@pytest.mark.parametrize(("error", "reason"), [(MemoryError(), "too large"), (KeyError("x"), "unreadable")])
def test_no_error_of_a_reader_ends_it(finished, monkeypatch, error, reason):
    def fail(folder):
        raise error

    monkeypatch.setattr(folders, "read_run", fail)
    content = answer(task(finished("static")))
    assert (content["points"], content["refused"][0][0]) == ([], reason)
