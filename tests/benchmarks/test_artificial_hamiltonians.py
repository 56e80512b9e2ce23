"""The script that writes labels of the artificial Hamiltonians: splits, going on after a stop, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import artificial_hamiltonians as script
from datastore.atoms import read_points
from workflows.engines.spin_lattice.samples import delafossite_samples


def labels(folder, name="delafossite"):
    return {split: list(read_points(folder / name / f"{split}.extxyz")) for split in ("train", "val", "test")}


def arguments(folder, count=20, *more):
    return [str(folder), "--hamiltonian", "delafossite", "--count", str(count), *more]


def test_splits_hold_the_samples_in_order(tmp_path, capsys):
    script.main(arguments(tmp_path))
    found = labels(tmp_path)
    assert {split: len(points) for split, points in found.items()} == {"train": 16, "val": 2, "test": 2}
    ids = [point.config_id for points in found.values() for point in points]
    assert ids == [config.config_id for config in delafossite_samples(20)]
    assert all(point.magnetic_forces.shape == (96, 3) for point in found["train"])
    assert "| delafossite | 96 | 96 |" in capsys.readouterr().out


def test_a_stopped_run_goes_on_and_computes_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(script, "BLOCK", 4)
    label, computed = script.Engine.label, []

    def counted(engine, config, workdir=None):
        if len(computed) == 10:
            computed.append("stop")
            raise KeyboardInterrupt
        computed.append(config.config_id)
        return label(engine, config, workdir)

    monkeypatch.setattr(script.Engine, "label", counted)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments(tmp_path))
    assert [path.name for path in sorted((tmp_path / "delafossite").iterdir())] == [
        "settings.json",
        "train-000000.part",
        "train-000004.part",
    ]
    script.main(arguments(tmp_path))
    assert computed[11:] == [config.config_id for config in delafossite_samples(20, start=8)]
    energies = [point.energy for points in labels(tmp_path).values() for point in points]
    monkeypatch.undo()
    script.main(arguments(tmp_path / "whole"))
    assert np.array_equal(
        energies, [point.energy for points in labels(tmp_path / "whole").values() for point in points]
    )


def test_a_folder_of_other_settings_is_refused(tmp_path):
    script.main(arguments(tmp_path))
    with pytest.raises(SystemExit, match="give another folder"):
        script.main(arguments(tmp_path, 20, "--seed", "1"))
