"""Settings, meshes, refusals and failures of the GPAW engine; what it computes is in tests/contracts."""

from __future__ import annotations

import errno
import gzip
import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointDFTCalculator, SinglePointKPoint

from datastore.schema import SpinConfig
from workflows.engines import EngineError, LabelError, get_engine, gpaw_setups
from workflows.engines.gpaw import GpawEngine, gap_of, import_problem
from workflows.structures import apply_ordering, deform, rocksalt

ROOT = Path(__file__).parents[3]
needs_gpaw = pytest.mark.skipif(
    import_problem() is not None and os.environ.get("SPINMULTINET_REQUIRE_GPAW") != "1",
    reason="GPAW is not installed: make gpaw",
)


def config(cell: str = "rhombohedral4", metal: str = "Ni", a: float = 4.17, **fields: object) -> SpinConfig:
    structure = apply_ordering(rocksalt(metal, lattice_constant=a, cell=cell), "FM")
    return SpinConfig.from_structure(structure, "FM", **fields)


def test_meshes_are_pinned_by_cell_type():
    engine = GpawEngine()
    assert engine.mesh(config("rhombohedral4")) == (4, 4, 2)
    assert engine.mesh(config("tetragonal4")) == (4, 4, 3)
    assert engine.mesh(config("all8")) == (4, 2, 2)


@pytest.mark.parametrize("a", [4.17, 4.26, 4.445])
def test_derived_meshes_agree_with_the_pinned_ones(a):
    pinned, derived = GpawEngine(), GpawEngine(kpts={})
    for cell in pinned.kpts:
        assert derived.mesh(config(cell, a=a)) == pinned.kpts[cell]
    assert derived.mesh(config("conventional_2x2x2", a=a)) == (2, 2, 2)


def test_mesh_of_a_strained_cell_follows_its_parent():
    plain = config("conventional")
    engine = GpawEngine()
    for strain in (0.7, 0.94, 1.0, 1.06, 1.5):
        strained = SpinConfig(
            **{
                **plain.model_dump(),
                "lattice": plain.lattice * strain,
                "positions": plain.positions * strain,
                "parent_lattice": plain.lattice,
                "deformation": "volume",
            }
        )
        assert engine.mesh(strained) == engine.mesh(plain)


def test_deformed_structure_keeps_its_parents_mesh():
    structure = apply_ordering(rocksalt("Ni", lattice_constant=4.17, cell="primitive"), "FM")
    engine = GpawEngine()
    mesh = engine.mesh(SpinConfig.from_structure(structure, "FM"))
    assert mesh == (4, 4, 4)
    for ratio in (0.9, 0.95, 1.05, 1.2):
        strained, _ = deform(structure, "volume", ratio)
        assert engine.mesh(SpinConfig.from_structure(strained, "FM")) == mesh
    unknown = SpinConfig.from_structure(deform(structure, "volume", 0.9)[0], "FM", parent_lattice=None)
    with pytest.raises(LabelError, match="parent_lattice"):
        engine.mesh(unknown)


def test_deformed_cell_without_parent_is_refused():
    with pytest.raises(LabelError, match="parent_lattice") as caught:
        GpawEngine().mesh(config("conventional", deformation="shear", parent_lattice=None))
    assert caught.value.kind == "refused"


def test_parameters_of_production():
    parameters = GpawEngine().parameters(config())
    assert parameters["setups"] == {"Ni": ":d,6.2"}, "only elements that are present"
    assert parameters["symmetry"] == {"point_group": False}
    assert parameters["kpts"] == {"size": [4, 4, 2], "gamma": True}
    assert parameters["eigensolver"] == {"name": "ppcg", "niter": 1}
    assert parameters["maxiter"] == 120
    assert "eigensolver" not in GpawEngine().parameters(config("all8"))
    assert GpawEngine().parameters(config(metal="Co"))["maxiter"] == 250


def test_level_of_theory_ignores_cost_settings_and_sees_physics():
    base = GpawEngine()
    assert GpawEngine(maxiter=500).level_id() == base.level_id()
    for change in ({"ecut": 600}, {"hubbard_u": {"Ni": 5.3}}, {"kpts": {"all8": (2, 2, 2)}}, {"smearing": 0.1}):
        assert GpawEngine(**change).level_id() != base.level_id()


@pytest.fixture
def setup_folders(tmp_path, monkeypatch):
    """Two folders of setups, one packed; gpaw-data says a version of ours."""
    for name, content in {"a": b"<paw_setup a>", "b": b"<paw_setup b>"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "Ni.PBE").write_bytes(content)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "Ni.PBE.gz").write_bytes(gzip.compress(b"<paw_setup a>"))
    (tmp_path / "packed" / "Fe.PBE").write_bytes(b"no element of the level")
    monkeypatch.delenv("GPAW_SETUP_PATH", raising=False)
    return tmp_path


def test_level_of_theory_sees_setups_that_are_put_before_gpaw_data(setup_folders, monkeypatch):
    plain = GpawEngine()
    levels = [plain.level_id()]
    assert "own_setups" not in plain.level_of_theory()
    for folder in ("a", "b"):
        monkeypatch.setenv("GPAW_SETUP_PATH", str(setup_folders / folder))
        assert list(plain.level_of_theory()["own_setups"]) == ["Ni"]
        levels.append(plain.level_id())
    assert len(set(levels)) == 3
    monkeypatch.setenv("GPAW_SETUP_PATH", os.pathsep.join([str(setup_folders / "packed"), str(setup_folders / "b")]))
    assert plain.level_id() == levels[1], "the content counts, not its packing; the first folder wins"
    monkeypatch.setenv("GPAW_SETUP_PATH", str(setup_folders / "nothing"))
    assert plain.level_id() == levels[0]


def test_level_of_theory_sees_the_version_of_gpaw_data(setup_folders, monkeypatch):
    def level(version: object) -> dict[str, object]:
        gpaw_setups._version.cache_clear()
        monkeypatch.setattr(metadata, "version", version)
        return GpawEngine().level_of_theory()

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    assert level(lambda name: "9.9.9")["setups"] == "gpaw-data 9.9.9 PBE"
    assert level(absent)["setups"] == f"gpaw-data {gpaw_setups.SETUPS_WANTED} PBE", "a plan needs no GPAW"
    monkeypatch.undo()
    gpaw_setups._version.cache_clear()
    assert f"gpaw-data=={gpaw_setups.SETUPS_WANTED}" in (ROOT / "constraints.txt").read_text().split()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"ecutt": 700}, "did you mean 'ecut'"),
        ({"hubbard_u": {"ni": 6.2}}, "hubbard_u: 'ni' is not a chemical element; did you mean 'Ni'"),
        ({"hubbard_u": {"Nickel": 6.2}}, "'Nickel' is not a chemical element"),
        ({"hubbard_u": {"X": 6.2}}, "'X' is not a chemical element"),
        ({"hubbard_u": {"Ni": -1.0}}, "hubbard_u: Ni is -1.0; it must be a finite number, 0 or more"),
        ({"hubbard_u": {"Ni": float("nan")}}, "Ni is nan"),
        ({"hubbard_u": {"Ni": float("inf")}}, "Ni is inf"),
        ({"maxiter_elements": {"CO": 250}}, "did you mean 'Co'"),
        ({"ecut": -1}, "greater than or equal to 200"),
        ({"kpts": {"all8": [0, 1, 1]}}, "at least 1"),
        ({"kpts": {"all8": [4, 2]}}, "kpts"),
        ({"xc": "LDA"}, "PBE"),
    ],
)
def test_wrong_settings_are_one_line(content, message):
    with pytest.raises(EngineError, match=message) as caught:
        get_engine({"type": "gpaw", **content})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("majority", "gap"), [([-3.0, -1.0, 1.0], 2.0), ([-3.0, -2.0, -1.0], None)])
def test_a_gap_that_needs_more_bands_is_not_known_and_costs_no_label(majority, gap):
    """High-spin CoO from a guess of 1 muB: every band of the majority spin is occupied."""
    points = [SinglePointKPoint(1.0, spin, 0, eps_n=e) for spin, e in enumerate([majority, [-3.0, 1.5, 2.0]])]
    calculator = SinglePointDFTCalculator(Atoms("Co"), efermi=0.0, ibzkpts=np.zeros((1, 3)))
    calculator.kpts = points
    assert gap_of(calculator) == gap


def test_missing_gpaw_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpaw", None)
    monkeypatch.setitem(sys.modules, "gpaw.cgpaw", None)
    (text,) = GpawEngine().missing()
    for part in ("make gpaw", "apt-get install", "pip install gpaw==", "--engine spin-lattice"):
        assert part in text
    with pytest.raises(LabelError, match="make gpaw") as caught:
        GpawEngine().label(config())
    assert caught.value.kind == "refused"


def test_estimate_grows_with_the_cell():
    seconds = [GpawEngine().seconds_estimate(config(cell)) for cell in ("rhombohedral4", "all8", "conventional_2x2x2")]
    assert seconds == sorted(seconds)
    assert 10 < seconds[0] < 30


@needs_gpaw
def test_unexpected_error_becomes_one_line(monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError("first\nsecond")

    monkeypatch.setattr(GpawEngine, "_run", fail)
    with pytest.raises(LabelError, match="ValueError: first second") as caught:
        GpawEngine().compute_here(config(), None)
    assert caught.value.kind == "crashed"


@needs_gpaw
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_no_label_error(monkeypatch, number):
    def fail(*_: object) -> None:
        try:
            raise OSError(number, os.strerror(number), "gpaw.txt")
        except OSError as error:
            raise RuntimeError("cannot write the log") from error

    monkeypatch.setattr(GpawEngine, "_run", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        GpawEngine().compute_here(config(), None)
    assert caught.value.errno == number


@needs_gpaw
def test_any_other_error_of_the_system_is_a_failed_label(monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(GpawEngine, "_run", fail)
    with pytest.raises(LabelError, match="broken"):
        GpawEngine().compute_here(config(), None)


@needs_gpaw
@pytest.mark.first_principles
def test_too_few_steps_are_a_recorded_failure_and_leave_the_log(tmp_path):
    engine = GpawEngine(ecut=250, kpts={"rhombohedral4": (1, 1, 1)}, maxiter=2)
    with pytest.raises(LabelError, match="2 SCF steps") as caught:
        engine.label(config(), tmp_path / "new" / "folder")
    assert caught.value.kind == "not-converged"
    assert caught.value.timings["wall"] > 0
    assert "iter:   2" in (tmp_path / "new" / "folder" / "gpaw.txt").read_text()
    assert engine.failure(config(), caught.value).error_type == "not-converged"


@needs_gpaw
@pytest.mark.first_principles
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="relies on Linux's parent death signal")
def test_killed_parent_leaves_no_calculation_running(tmp_path):
    config_file = tmp_path / "config.json"
    config_file.write_text(config().model_dump_json())
    code = (
        "import json, sys; from pathlib import Path; from datastore.schema import SpinConfig\n"
        "from workflows.engines import get_engine\n"
        f"config = SpinConfig(**json.loads(Path({str(config_file)!r}).read_text()))\n"
        f"get_engine('gpaw').label(config, Path({str(tmp_path)!r}))"
    )
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    parent = subprocess.Popen([sys.executable, "-c", code], env={**environment, "PYTHONPATH": str(ROOT)})
    try:
        child = wait_for(lambda: children(parent.pid))[0]
        wait_for((tmp_path / "gpaw.txt").exists)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not running(child))


def wait_for(condition, seconds: float = 60.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)
    return value


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@needs_gpaw
@pytest.mark.first_principles
@pytest.mark.slow
def test_production_settings_reproduce_the_shared_label():
    """The quickstart's settings on one published NiO label: the numbers must not drift with a faster setting."""
    from ase.io import read

    frame = read(ROOT / "tests" / "data" / "gpaw_nio_mno.extxyz", 0)
    asked = SpinConfig(
        species=list(frame.symbols),
        lattice=frame.cell.array,
        positions=frame.positions,
        magmoms_in=frame.arrays["magmom_in"],
        ordering=frame.info["ordering"],
        cell=frame.info["parent"],
    )
    point = GpawEngine().label(asked)
    assert point.energy == pytest.approx(frame.get_potential_energy(), abs=4e-4)
    assert point.forces == pytest.approx(frame.get_forces(), abs=1e-3)
    assert point.magmoms_out == pytest.approx(frame.arrays["magmom_out"], abs=1e-3)
    assert np.linalg.norm(point.stress - frame.get_stress(voigt=False)) < 1e-4
