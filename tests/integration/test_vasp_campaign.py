"""The quickstart's campaign with ``engine: vasp``: custodian runs the test program for every label."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from datastore import open_store
from datastore.queries import find
from tests.support.cli import ROOT, in_this_process
from workflows.engines import get_engine

QUICKSTART = ROOT / "configs" / "campaigns" / "quickstart_nio.yaml"
EPOCHS = 10
"""In place of 200: what is tested here are the labels and their way into the model."""


def write_campaign(folder: Path) -> Path:
    """The quickstart's file but for its engine, its name and the length of the trainings."""
    content = yaml.safe_load(QUICKSTART.read_text())
    content |= {"name": "quickstart_vasp", "engine": {"type": "vasp", "potcars": {"Ni": "Ni_pv", "O": "O"}}}
    for key in ("model", "baseline"):
        options = yaml.safe_load((ROOT / content[key]).read_text())
        options["training"]["epochs"] = EPOCHS
        content[key] = f"{key}.yaml"
        (folder / content[key]).write_text(yaml.safe_dump(options))
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
def test_quickstart_with_vasp(tmp_path, vasp_on_path):
    campaign = write_campaign(tmp_path)
    first = in_this_process(tmp_path, "run", campaign)
    again = in_this_process(tmp_path, "run", campaign)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "36 VASP calculations of NiO: 36 accepted, 0 rejected, 0 failed" in first.stdout
    assert "calculations: 0 run now, 36 taken from the store" in again.stdout

    folder = tmp_path / "runs" / "quickstart_vasp"
    with open_store(f"local:{folder}/store") as store:
        points = list(find(store))
    assert len(points) == 36
    check_numbers(points)
    check_what_is_kept(folder, points)


def check_numbers(points):
    """To the digits that VASP prints the labels are the model's, but for the constant of the program's k mesh."""
    engine, offsets = get_engine("spin-lattice"), []
    for point in points:
        assert (point.engine, point.verdict, point.corrections) == ("vasp", "accepted", []), point.verdict_reasons
        expected = engine.label(point.config())
        offsets.append(point.free_energy - expected.free_energy)
        assert point.energy == pytest.approx(point.free_energy + 0.01 * 0.05 * 4 / 2, abs=2e-6)
        np.testing.assert_allclose(point.forces, expected.forces, atol=2e-6)
        np.testing.assert_allclose(point.stress, expected.stress, atol=2e-6)
        np.testing.assert_allclose(point.magmoms_out, expected.magmoms_out, atol=6e-4)
    assert np.ptp(offsets) < 2e-6, "one k mesh for all deformations of a parent"
    assert len({point.level_id for point in points}) == 1


def check_what_is_kept(folder: Path, points):
    """One start of the program per label, inputs and outputs packed, and no POTCAR anywhere."""
    runs = sorted(folder.glob("jobs/vasp_*/vasp_*"))
    assert len(runs) == len(points)
    for run in runs:
        history = json.loads(gzip.decompress((run / "custodian.json.gz").read_bytes()))
        assert [len(job["corrections"]) for job in history] == [0]
        assert gzip.decompress((run / "vasp.out.gz").read_bytes()).count(b"running") == 1
    assert not list(folder.rglob("POTCAR*"))
    assert not list(folder.rglob("WAVECAR*"))
