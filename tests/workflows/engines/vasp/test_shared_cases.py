"""Real runs of others, each with its truth.json; they may not be copied here, so the tests skip where they are not."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workflows.engines.vasp.test_outputs import BOTH, assert_as_taskdoc, assert_whole_or_refused, reason
from workflows.engines.vasp.outcar import read_outcar
from workflows.engines.vasp.output_files import newest_outputs
from workflows.engines.vasp.outputs import read_run
from workflows.engines.vasp.vasprun import incar_of, mesh_of, moments_in, read_vasprun

SHARED = Path(os.environ.get("SPINMULTINET_TEST_DATA", "")) / "vasp"

pytestmark = pytest.mark.skipif(
    "SPINMULTINET_TEST_DATA" not in os.environ or not SHARED.is_dir(),
    reason="SPINMULTINET_TEST_DATA names no folder with vasp/",
)

LABELS = [
    *("fe4_magnetic_run", "feo_afm_custodian", "mgmn2o4_fm_relax", "mgmn2o4_fm_static", "nio_mp_u62"),
    *("si_magmom_carry_000", "si_magmom_carry_001"),
]
REFUSED = {
    "aiida_exit_converged": "no moments",  # not spin-polarised
    "aiida_exit_elec-unconverged": "not converged",
    "aiida_exit_unfinished": "truncated",
    "custodian_stdout_errors": "missing file",
    "fe2o3_magmom_ldau": "missing file",  # vasprun.xml only
    "nio_deltaspin_example": "missing file",  # inputs only
}


def truth(case: str, part: str) -> dict:
    return next(iter(json.loads((SHARED / case / "truth.json").read_text())[part].values()))


def check_forces(forces: np.ndarray, expected: dict) -> None:
    norms = np.linalg.norm(forces, axis=1)
    assert norms.max() == pytest.approx(expected["forces_max_norm"], abs=1e-9)
    assert norms.mean() == pytest.approx(expected["forces_mean_norm"], abs=1e-9)
    assert np.abs(forces).mean() == pytest.approx(expected["forces_mean_abs_component"], abs=1e-9)


def check_vasprun(vasprun, path: Path, expected: dict) -> None:
    """Every number of a truth.json that the reader of vasprun.xml gives."""
    assert float(vasprun.final_energy) == pytest.approx(expected["final_energy_pymatgen"], abs=1e-8)
    assert vasprun.ionic_steps[-1]["e_fr_energy"] == expected["last_e_fr_energy"]
    check_forces(np.asarray(vasprun.ionic_steps[-1]["forces"]), expected)
    assert [len(step["electronic_steps"]) for step in vasprun.ionic_steps] == expected["n_electronic_steps"]
    incar = incar_of(vasprun, None)
    assert incar.get("LDAUU") == expected["LDAUU_per_species_block"]
    stated = moments_in(vasprun, path)
    assert (None if stated is None else stated.tolist()) == expected["MAGMOM_incar"]
    assert tuple(mesh_of(vasprun)[0]) == tuple(int(k) for k in expected["kpoints"].strip("()").split(","))


@pytest.mark.parametrize("case", [*LABELS, "aiida_exit_converged"])
def test_truth(case):
    result = read_run(SHARED / case, moments=case in LABELS)
    xml, out = truth(case, "vasprun"), truth(case, "outcar")
    check_vasprun(read_vasprun(result.files[0]), result.files[0], xml)
    assert result.energy == pytest.approx(xml["final_energy_pymatgen"], abs=1e-8) == out["final_energy"]
    assert result.free_energy == xml["last_e_fr_energy"] == out["final_fr_energy"]
    check_forces(result.forces, xml)
    check_forces(read_outcar(result.files[1]).forces, out)
    assert list(result.n_electronic) == xml["n_electronic_steps"]
    assert result.n_ionic == xml["n_ionic_steps"] == out["n_force_blocks"]
    assert list(result.species) == xml["species_order"]
    assert np.linalg.det(result.lattice) == pytest.approx(xml["volume_final"], rel=1e-7)
    assert [*zip(result.blocks, result.ions_per_block, result.potcars, strict=True)] == [
        tuple(block) for block in xml["species_blocks"]
    ]
    if xml["LDAUU_per_species_block"]:
        assert list(result.hubbard_u) == xml["LDAUU_per_species_block"] == out["LDAUU_per_species"]
    else:
        assert set(result.hubbard_u) == {0.0}
    assert result.converged is xml["converged_electronic"] is True
    if result.ionic_converged is not None:
        assert result.ionic_converged == xml["converged_ionic"] == out["reached_required_accuracy"]
    assert result.parameters["ENMAX"] == xml["ENCUT"]
    assert result.parameters["ISPIN"] == xml["ISPIN"] == out["ISPIN"]
    assert result.version.lower() == xml["vasp_version"]
    assert result.nelect == pytest.approx(out["nelect"], abs=1e-4)


@pytest.mark.parametrize("case", LABELS)
def test_moments(case):
    result, out = read_run(SHARED / case), truth(case, "outcar")
    assert result.magmoms_out.tolist() == out["magnetization_tot"]
    assert result.total_moment == out["total_mag"]
    assert out["n_magnetization_blocks"] == result.n_ionic + 1
    stated = truth(case, "vasprun")["MAGMOM_incar"]
    assert (None if result.magmoms_in is None else result.magmoms_in.tolist()) == stated


@pytest.mark.parametrize("case", [case for case in LABELS if case != "fe4_magnetic_run"])
def test_as_taskdoc(case):
    assert_as_taskdoc(SHARED / case)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    assert reason(SHARED / case) == REFUSED[case]


@pytest.mark.parametrize("case", ["fe2o3_magmom_ldau", "aiida_exit_elec-unconverged"])
def test_numbers_of_what_is_refused(case):
    path, _ = newest_outputs(SHARED / case)
    check_vasprun(read_vasprun(path), path, truth(case, "vasprun"))


def test_every_case_is_tested():
    assert {path.name for path in SHARED.iterdir() if path.is_dir()} == {*LABELS, *REFUSED}


def test_stress_in_both_conventions():
    """-170.02111 kB on the diagonal of nio_mp_u62: the cell wants to shrink, which ASE counts positive."""
    assert read_run(SHARED / "nio_mp_u62").stress[0, 0] == pytest.approx(170.02111 / 1602.1766208, abs=1e-8)


@settings(max_examples=60, deadline=None)
@given(case=st.sampled_from(LABELS), which=st.sampled_from(BOTH), share=st.floats(0, 1))
def test_cut_at_any_byte(tmp_path_factory, case, which, share):
    folder = tmp_path_factory.mktemp("cut")
    for path in newest_outputs(SHARED / case):
        content = path.read_bytes()
        kept = int(share * len(content)) if path.name.startswith(which) else len(content)
        (folder / path.name).write_bytes(content[:kept])
    assert_whole_or_refused(folder, SHARED / case)
