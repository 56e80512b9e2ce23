"""What the written files say against what the configuration says: every difference is caught, and nothing else."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from datastore.schema import SpinConfig
from tests.support import vasp_mutations
from tests.support.vasp_mutations import HARMLESS, MUTATIONS, Mutation, tag
from workflows.engines.interface import LabelError
from workflows.engines.vasp.check import check_inputs
from workflows.engines.vasp.inputs import SpinRelaxSetGenerator, SpinStaticSetGenerator
from workflows.engines.vasp.settings import VaspSettings

pytestmark = pytest.mark.usefixtures("vasp_on_path")


def written(folder: Path, vectors: bool = False) -> tuple[SpinConfig, VaspSettings]:
    config, chosen = vasp_mutations.configuration(vectors), vasp_mutations.settings(vectors)
    generator = SpinStaticSetGenerator(settings=chosen, moment_role=config.moment_role)
    generator.input_for(config).write_input(folder)
    return config, chosen


@pytest.mark.parametrize("vectors", [False, True])
def test_written_inputs_pass(tmp_path, vectors):
    config, chosen = written(tmp_path, vectors)
    assert check_inputs(tmp_path, config, chosen) == [0, 2, 1, 5, 3, 4, 6, 7]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_a_mutation_is_caught(tmp_path, mutation: Mutation):
    config, chosen = written(tmp_path, mutation.vectors)
    mutation.apply(tmp_path)
    with pytest.raises(LabelError) as caught:
        check_inputs(tmp_path, config, chosen)
    assert mutation.says in str(caught.value)
    assert caught.value.kind == "refused"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("harmless", HARMLESS, ids=str)
def test_what_says_the_same_passes(tmp_path, harmless: Mutation):
    config, chosen = written(tmp_path)
    harmless.apply(tmp_path)
    check_inputs(tmp_path, config, chosen)


def test_all_differences_are_in_one_message(tmp_path):
    config, chosen = written(tmp_path)
    tag("MAGMOM", "8*5")(tmp_path)
    tag("ENCUT", "400")(tmp_path)
    (tmp_path / "KPOINTS").unlink()
    with pytest.raises(LabelError) as caught:
        check_inputs(tmp_path, config, chosen)
    text = str(caught.value)
    assert "ENCUT: expected 520.0, found 400.0" in text
    assert "MAGMOM of site 1 (Mn, the caller's 0): expected 3.0, found 5.0" in text
    assert "KPOINTS is not there" in text


def test_trap_1_unsorted_sites_are_seen(tmp_path):
    """atomate2 0.1.5 writes sites as they come; its own blocks are then Mn Ni Mn O Ni O."""
    config, chosen = written(tmp_path)
    lines = (tmp_path / "POSCAR").read_text().splitlines()
    sites = [lines[8 + site] for site in (0, 2, 1, 4, 5, 3, 6, 7)]
    (tmp_path / "POSCAR").write_text("\n".join([*lines[:5], "Mn Ni Mn O Ni O", "1 1 1 2 1 2", lines[7], *sites]))
    with pytest.raises(LabelError, match="blocks: expected one per species, found Mn Ni Mn O Ni O"):
        check_inputs(tmp_path, config, chosen)


def test_trap_2_u_of_a_repeated_block_is_seen(tmp_path):
    """Indexed by the first-seen element, O got 3.9 eV."""
    config, chosen = written(tmp_path)
    tag("LDAUU", "3.9 6.2 3.9")(tmp_path)
    with pytest.raises(LabelError, match=r"LDAUU of O: expected 0\.0, found 3\.9"):
        check_inputs(tmp_path, config, chosen)


def test_trap_10_a_mesh_that_followed_the_strain_is_seen(tmp_path):
    """The parent's mesh is expected, whatever the deformed cell would get."""
    config, chosen = vasp_mutations.configuration(), VaspSettings(kppvol=100)
    parent = config.lattice
    strained = SpinConfig(
        **{
            **config.model_dump(),
            "lattice": parent * 0.9,
            "positions": config.positions * 0.9,
            "parent_lattice": parent,
            "deformation": "volume",
        }
    )
    own = SpinConfig(**{**strained.model_dump(), "parent_lattice": None, "deformation": "none"})
    assert chosen.mesh(strained) == chosen.mesh(config) != chosen.mesh(own)
    SpinStaticSetGenerator(settings=chosen).input_for(own).write_input(tmp_path)
    with pytest.raises(LabelError, match="KPOINTS, mesh"):
        check_inputs(tmp_path, strained, chosen)


def test_trap_14_tags_that_are_absent_or_foreign_are_seen(tmp_path):
    """atomate2's mock_vasp compares only the tags that are there."""
    config, chosen = written(tmp_path)
    for name in ("MAGMOM", "LDAUU", "LASPH"):
        tag(name, None)(tmp_path)
    tag("AGGAC", "0")(tmp_path)
    with pytest.raises(LabelError) as caught:
        check_inputs(tmp_path, config, chosen)
    for name in ("MAGMOM", "LDAUU", "LASPH", "AGGAC"):
        assert f"INCAR, {name}" in str(caught.value)


def test_a_spec_in_place_of_the_potcar_is_compared_by_name(tmp_path):
    config, chosen = vasp_mutations.configuration(), vasp_mutations.settings()
    SpinStaticSetGenerator(settings=chosen).input_for(config, potcar_spec=True).write_input(tmp_path)
    assert not (tmp_path / "POTCAR").exists()
    check_inputs(tmp_path, config, chosen, spec=True)
    with pytest.raises(LabelError, match="POTCAR is not there"):
        check_inputs(tmp_path, config, chosen)
    (tmp_path / "POTCAR.spec").write_text("Ni_pv\nMn_pv\nO")
    with pytest.raises(LabelError, match=r"POTCAR\.spec: expected Mn_pv Ni_pv O, found Ni_pv Mn_pv O"):
        check_inputs(tmp_path, config, chosen, spec=True)


def test_a_relaxation_has_tags_of_its_own(tmp_path):
    config, chosen = vasp_mutations.configuration(), vasp_mutations.settings()
    generator = SpinRelaxSetGenerator(settings=chosen, moves="cell", steps=7)
    generator.input_for(config).write_input(tmp_path)
    check_inputs(tmp_path, config, chosen, generator.incar_updates)
    with pytest.raises(LabelError, match=r"ISIF: expected nothing, found 6.*NSW: expected 0, found 7"):
        check_inputs(tmp_path, config, chosen)


def test_a_magnet_with_more_moments_than_electrons(tmp_path):
    config, chosen = vasp_mutations.configuration(), vasp_mutations.settings()
    absurd = SpinConfig(**{**config.model_dump(), "magmoms_in": np.full(8, 50.0)})
    with pytest.raises(LabelError, match="sum of MAGMOM: expected at most 82 electrons"):
        SpinStaticSetGenerator(settings=chosen).input_for(absurd).write_input(tmp_path)


def test_without_u_there_is_no_ldau(tmp_path):
    config, chosen = vasp_mutations.configuration(), VaspSettings(kpts={"all8": (4, 2, 2)}, hubbard_u={"Co": 3.32})
    SpinStaticSetGenerator(settings=chosen).input_for(config).write_input(tmp_path)
    assert "LDAU" not in (tmp_path / "INCAR").read_text()
    tag("LDAU", "True")(tmp_path)
    with pytest.raises(LabelError, match="LDAU: expected False, found True"):
        check_inputs(tmp_path, config, chosen)


@st.composite
def configurations(draw) -> SpinConfig:
    """Any species in any order, any lattice of either hand, any moments, collinear or vectors."""
    n = draw(st.integers(1, 7))
    numbers = st.floats(-6, 6, allow_nan=False).map(lambda x: round(x, draw(st.integers(0, 8))))
    lattice = np.diag([4.0, 5.0, 6.0]) + draw(st.lists(st.floats(-1, 1), min_size=9, max_size=9).map(np.array)).reshape(
        3, 3
    )
    lattice *= draw(st.sampled_from([1, -1]))
    shape = (n, 3) if draw(st.booleans()) else (n,)
    size = int(np.prod(shape))
    places = draw(st.lists(st.tuples(*[st.integers(-9, 9)] * 3), min_size=n, max_size=n, unique=True))
    return SpinConfig(
        species=draw(st.lists(st.sampled_from(["Mn", "Co", "Ni", "O"]), min_size=n, max_size=n)),
        lattice=lattice,
        positions=np.array(places) / 20 @ lattice,  # no two within a lattice vector of each other
        magmoms_in=np.reshape(draw(st.lists(numbers, min_size=size, max_size=size)), shape),
        ordering="custom",
        cell="any",
    )


def settings_for(config: SpinConfig) -> VaspSettings:
    return VaspSettings(kpts={"any": (1, 1, 1)}, spins="noncollinear" if config.magmoms_in.ndim == 2 else "collinear")


EXAMPLES = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@EXAMPLES
@given(configurations())
def test_any_configuration_is_written_and_read_back(config):
    assume(np.linalg.norm(config.magmoms_in.sum(axis=0)) < 6)
    with tempfile.TemporaryDirectory() as name:
        folder, chosen = Path(name), settings_for(config)
        content = SpinStaticSetGenerator(settings=chosen).input_for(config)
        content.write_input(folder)
        order = check_inputs(folder, config, chosen)
        assert order == content.order
        assert sorted(order) == list(range(len(config.species)))


@EXAMPLES
@given(configurations(), st.data())
def test_any_other_configuration_is_told_apart(config, data):
    """Inputs of one configuration never pass as those of another: a moment, a place, a species or the cell differs."""
    assume(np.linalg.norm(config.magmoms_in.sum(axis=0)) < 6)
    fields = config.model_dump()
    site = data.draw(st.integers(0, len(config.species) - 1))
    kind = data.draw(st.sampled_from(["moment", "place", "species", "cell"]))
    moments, positions, species = config.magmoms_in.copy(), config.positions.copy(), list(config.species)
    moments[site] += data.draw(st.sampled_from([-2e-6, 1e-3, 5.0])) if kind == "moment" else 0
    positions[site] += data.draw(st.sampled_from([2e-6, 0.01, 0.3])) if kind == "place" else 0
    species[site] = (
        {"Mn": "Ni", "Ni": "Mn", "Co": "Mn", "O": "Ni"}[species[site]] if kind == "species" else species[site]
    )
    factor = 1.001 if kind == "cell" else 1.0
    changed = {"magmoms_in": moments, "positions": positions * factor, "species": species}
    other = SpinConfig(**{**fields, **changed, "lattice": config.lattice * factor})
    with tempfile.TemporaryDirectory() as name:
        folder, chosen = Path(name), settings_for(config)
        SpinStaticSetGenerator(settings=chosen).input_for(config).write_input(folder)
        with pytest.raises(LabelError, match="do not say what the configuration says"):
            check_inputs(folder, other, chosen)
