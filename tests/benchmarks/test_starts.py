"""The measurement of starts: right on a few configurations, and what was calculated is not calculated again."""

import pytest

from benchmarks import starts as script
from workflows.engines import get_engine
from workflows.finished import Finished


@pytest.fixture(scope="module")
def groups():
    """The labels of twelve deformed cells that have one in another spin state among them."""
    configs = [config for config in script.campaign() if config.deformation == "volume"]
    small = sorted(configs, key=lambda config: abs(config.lattice[0]).max())[:12]
    return script.families(script.label_all(get_engine("spin-lattice"), small, Finished(None)))


def test_compressed_cells_end_lower_from_high_spin(groups):
    table = script.outcome_table(groups, "spin-lattice")
    cells = {row.split("|")[1].strip(): [int(n) for n in row.split("|")[2:6]] for row in table.splitlines()[2:]}
    assert cells["high-spin"][0] == 12
    assert cells["high-spin"][1] > 0
    assert all(row[0] == sum(row[1:]) for row in cells.values())
    assert cells["low-spin"] == [0, 0, 0, 0]
    lines = script.rule_lines(groups).splitlines()
    assert lines[0] == f"{cells['high-spin'][1]} of 12 labels have a lower start"


def test_the_spread_names_every_start(groups):
    rows = script.spread_table(groups).splitlines()[2:]
    assert len(rows) == 12
    assert all("0.000 (" in row and "(usual guess)" in row and "(1.5x)" in row for row in rows)


def test_labels_in_the_file_are_read_not_calculated(tmp_path):
    config = script.campaign()[0]
    path = tmp_path / "labels.jsonl"
    first = list(script.label_all(get_engine("spin-lattice"), [config], Finished(path)))

    class Never:
        def label(self, config):
            raise AssertionError

    assert list(script.label_all(Never(), [config], Finished(path))) == first


def test_labels_of_the_pool_are_found_by_number_and_by_name():
    chosen = list(script.pool(1, ["p0035_FM"]))
    assert sorted({config.formula for config in chosen}) == ["CoO", "MnO", "NiO"]
    assert ("p0035", "FM") in {(config.pair_id, config.ordering) for config in chosen}
