"""benchmarks/dataset.py on a few labels: all different, every question has an answer, the page says what was found."""

import json

import pytest

from benchmarks.dataset import REPEATS, labels, main
from datastore.queries import NAMED
from datastore.stores import open_store


@pytest.mark.parametrize("atoms", [8, 64])
def test_labels_are_all_different_and_always_the_same(atoms):
    assert atoms in REPEATS
    made = list(labels(80, atoms))
    assert len({point.point_id for point in made}) == 80
    assert {len(point.species) for point in made} == {atoms}
    assert list(labels(80, atoms, 78)) == made[78:]
    geometries = {point.pair_id: point for point in made}
    assert len(geometries) == 20
    assert all((point.positions == geometries[point.pair_id].positions).all() for point in made)


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["dataset", *map(str, arguments)])
    main()


def test_fill_ask_and_page(tmp_path, monkeypatch):
    uri = f"local:{tmp_path / 'labels'}"
    run(monkeypatch, "fill", uri, "--points", 150, "--atoms", 8)
    run(monkeypatch, "fill", uri, "--points", 200, "--atoms", 8)
    with open_store(uri) as store:
        assert store.points.count() == 200
    run(monkeypatch, "ask", uri, "--out", tmp_path / "result.json")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["queries"].keys() == NAMED.keys()
    for name, row in result["queries"].items():
        assert row["labels"] > 0, name
        # So few labels are all of one generation, and SQLite rightly looks at all.
        assert row["by_index"] is (name != "generation"), name
        assert row["index"], name
    run(monkeypatch, "page", tmp_path / "result.json", "--out", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "## 200 labels of 8 atoms, local" in page
    assert "Without an index: generation." in page
    assert all(f"| {name} |" in page for name in NAMED)
