import json
from pathlib import Path

import pytest

from datastore.errors import DataError
from datastore.schema import SCHEMA_VERSION, Decision, ModelFile, ModelRecord, SpinConfig, SpinFailure, SpinPoint
from datastore.upgrade import STEPS, parse, upgrade_document

FIXTURES = Path(__file__).parents[1] / "data" / "documents"
KINDS = {"config": SpinConfig, "point": SpinPoint, "failure": SpinFailure, "model": ModelRecord, "decision": Decision}


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_documents_of_every_version_can_be_read(path):
    stored = json.loads(path.read_text())
    kind = KINDS[path.stem.split("_")[0]]
    document = parse(kind, stored)
    assert document.schema_version == SCHEMA_VERSION
    if stored["schema_version"] == SCHEMA_VERSION:
        again = document.to_document()
        for file in again.get("files", []):
            assert file.pop("uri") == ModelFile.model_fields["uri"].default  # came later
        assert {key: again[key] for key in stored} == stored  # with its ids, which are derived
        added = {key: again[key] for key in again.keys() - stored.keys()}  # optional fields are free
        assert added == {key: type(document).model_fields[key].get_default(call_default_factory=True) for key in added}


def test_there_is_a_fixture_of_every_version():
    found = {path.stem for path in FIXTURES.glob("*.json")}
    assert {f"{kind}_v{n}" for kind in KINDS for n in range(1, SCHEMA_VERSION + 1)} <= found
    assert set(STEPS) == set(range(1, SCHEMA_VERSION))


def test_steps_are_applied_in_order():
    steps = {1: lambda d: {**d, "a": 1}, 2: lambda d: {**d, "b": d["a"] + 1}}
    original = {"schema_version": 1}
    assert upgrade_document(original, steps, 3) == {"schema_version": 3, "a": 1, "b": 2}
    assert original == {"schema_version": 1}
    with pytest.raises(DataError, match="cannot be upgraded"):
        upgrade_document(original, {}, 2)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"schema_version": SCHEMA_VERSION + 1, "point_id": "p7"},
            "document p7 has schema version .* update the software",
        ),
        ({"point_id": "p7"}, "no schema_version"),
        ({"schema_version": "1"}, "no schema_version"),
        ({"schema_version": 1, "point_id": "p7", "species": []}, "document p7 is no valid SpinPoint: species"),
    ],
)
def test_refusals(document, message):
    with pytest.raises(DataError, match=message):
        parse(SpinPoint, document)
