"""The VASP test program through Slurm, with the processes and the parallelisation that its size asks for."""

import gzip

import pytest

from datastore import open_store
from datastore.queries import find
from tests.remote.campaigns import of_kind, scheduled, start
from tests.support.vasp_std.install import install
from tests.support.vasp_std.potcars import write_potcars

pytestmark = pytest.mark.remote

FEW = [
    {"kind": "none"},
    {"kind": "displacement", "count": 1, "amplitude": [0.02, 0.06]},
    {"kind": "volume", "count": 1, "amplitude": [0.98, 1.02]},
]
LABELS = 6
ENGINE = {"type": "vasp", "potcars": {"Ni": "Ni_pv", "O": "O"}}


@pytest.fixture
def vasp(stack, monkeypatch):
    """Variables of the environment by which atomate2 and pymatgen find program and POTCARs."""
    binaries = install(stack.folder / "vasp" / "bin")
    variables = {"PMG_VASP_PSP_DIR": str(write_potcars(stack.folder / "vasp" / "potcars"))}
    variables |= {
        f"ATOMATE2_{name}_CMD": str(binaries / f"vasp_{name[5:].lower() or 'std'}") for name in ("VASP", "VASP_NCL")
    }
    for name, value in variables.items():
        monkeypatch.setitem(stack.environment, name, value)  # of the command; jobs get them from pre_run
    return variables


def test_cores_and_parallelisation_follow_the_size(stack, vasp):
    worker_map = stack.project("slurm", "vasp", **vasp)
    rows = [
        {"sites": 2, "queue": "cpu", "time": "00:10:00"},
        {
            "sites": 8,
            "queue": "cpu",
            "processes_per_node": 2,
            "memory": 500,
            "time": "00:20:00",
            "engine": {"kpar": 2, "ncore": 1},
        },
    ]
    stack.change_map(worker_map, pilot={"worker": "pilot", "sites": 1}, resources={"label": rows}, workers={
        "label": "cpu", "train": "local", "light": "local"})  # fmt: skip
    start(stack, "vasp", worker_map, engine=ENGINE, structures__deformations=FEW)
    labels = of_kind(stack.wait("vasp"), "label")
    for job in scheduled(stack, labels):
        assert (job["Partition"], job["NumTasks"], job["TimeLimit"]) == ("cpu", "2", "00:20:00")
    with open_store(stack.uri("vasp")) as store:
        points = list(find(store))
    assert [point.verdict for point in points] == ["accepted"] * LABELS, [point.verdict_reasons for point in points]
    assert len({point.level_id for point in points}) == 1
    assert {point.timings["cores"] for point in points} == {2.0}
    inputs = list((stack.folder / "vasp" / "cpu").rglob("INCAR.gz"))
    assert len(inputs) == LABELS
    for path in inputs:
        tags = dict(line.split(" = ") for line in gzip.decompress(path.read_bytes()).decode().splitlines())
        assert (tags["KPAR"], tags["NCORE"]) == ("2", "1")
    assert not list((stack.folder / "vasp" / "cpu").rglob("POTCAR*"))
    stack.end("vasp")
