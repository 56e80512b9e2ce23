"""Models for people."""

import json

import pytest

from datastore import open_store
from datastore.errors import DataError
from datastore.registry import promote, refuse
from tests.support.registry import example
from workflows.serve.model_rows import compare, compared_rows, models_of, results_of, row
from workflows.serve.parity import TITLES, parity_charts


@pytest.fixture
def store(shown):
    with open_store(shown[0].options.store, readonly=True) as opened:
        yield opened


def test_states_are_those_of_the_log(tmp_path):
    found = example(tmp_path / "nio")
    with open_store(found.options.store) as store:
        promote(store, "nio", "poor", "Ada", ["the first"], "")
        refuse(store, "nio", "good", "Ada", ["no"], "poor")
        (models,) = models_of(store)
    cells = {record.model_id: row(record, models.in_use, models.log) for record in models.records}
    assert {name: one["state"] for name, one in cells.items()} == {"poor": "in use", "good": "refused"}
    assert [entry.action for entry in models.log] == ["refuse", "promote"]
    assert cells["poor"]["energy"] is None  # it was never tested


def test_two_models_are_compared_as_the_command_does(store):
    found = compare(store, "poor", "good")
    assert found.ratio < 1
    rows = compared_rows(found)
    assert {one["better"] for one in rows} <= {"", "good", "poor"}
    energies = next(one for one in rows if one["where"] == "test set random" and one["task"].startswith("energy"))
    assert energies["better"] == "good"
    assert float(energies["new"]) < float(energies["old"])
    assert rows[0]["where"] == "test set pairs"
    assert len({one["number"] for one in rows}) == len(rows)


def test_results_are_found_and_drawn(store):
    assert results_of(store, "poor") is None
    result = results_of(store, "good")
    charts = parity_charts(result)
    assert list(charts) == list(TITLES)
    dots = [dot for series in charts["energy"]["series"][1:] for dot in series["data"]]
    assert len(dots) == result["n_structures"]
    assert min(dot[0] for dot in dots) == 0.0  # above the lowest of the composition, meV/atom
    assert charts["energy"]["xAxis"]["min"] == charts["energy"]["yAxis"]["min"]
    assert "MAE" in charts["forces"]["title"]["subtext"]


def test_results_that_cannot_be_read(shown, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"other": 1}))
    with open_store(f"local:{tmp_path}/s") as store:
        output = {"model_id": "m", "results": str(path)}
        store.jobs.update({"uuid": "e", "index": 1, "metadata": {"kind": "evaluate"}, "output": output})
        with pytest.raises(DataError, match="cannot be read"):
            results_of(store, "m")
