"""Configurations: counts, pairs, ids, determinism across processes and growth, and errors before the first one."""

import hashlib
import json
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from workflows.options import parse_options
from workflows.structures import (
    StructureError,
    StructureOptions,
    TwinCount,
    apply_ordering,
    candidates,
    count_configs,
    deform,
    generate,
    parent_id,
    rocksalt,
)
from workflows.structures.preparation import starts, with_lattices

BASE = {
    "parents": [{"species": "Ni"}, {"species": {"Ni": 0.5, "Mn": 0.5}, "lattice_constant": 4.3, "seed": 3}],
    "orderings": ["FM", "AFM-II", "AFM-I"],
    "magmoms": {"Ni": 2.0},
    "deformations": [
        {"kind": "none"},
        {"kind": "displacement", "count": 3, "amplitude": [0.03, 0.12]},
        {"kind": "shear", "count": 2, "amplitude": [-0.04, 0.04], "displacement": 0.03},
        {"kind": "tensile", "count": 2, "amplitude": [-0.05, 0.05]},
        {"kind": "volume", "count": 2, "amplitude": [0.93, 1.08], "displacement": 0.03},
    ],
    "seed": 7,
}


def options(**changes):
    return StructureOptions.model_validate({**BASE, **changes})


def ids(configs):
    return [config.config_id for config in configs]


def digest(configs):
    """Hash of everything, to the last bit of every coordinate."""
    total = hashlib.sha256()
    for config in configs:
        total.update(json.dumps(config.to_document(), sort_keys=True).encode())
    return total.hexdigest()


def test_every_parent_deformation_and_ordering_is_there_once():
    configs = list(generate(options(), campaign="first"))
    assert len(configs) == count_configs(options()) == 2 * 10 * 3
    assert len(set(ids(configs))) == len(configs)
    assert {config.ordering for config in configs} == {"FM", "AFM-II", "AFM-I"}
    assert {config.campaign for config in configs} == {"first"}
    assert {config.generation for config in configs} == {0}
    assert [config.deformation for config in configs[:30:3]] == (
        ["none"] + ["displacement"] * 3 + ["shear"] * 2 + ["tensile"] * 2 + ["volume"] * 2
    )


def test_a_pair_shares_its_geometry_bit_for_bit_and_differs_in_moments_only():
    groups = {}
    for config in generate(options()):
        groups.setdefault(config.pair_id, []).append(config)
    assert len(groups) == 20
    for group in groups.values():
        assert [config.ordering for config in group] == ["FM", "AFM-II", "AFM-I"]
        assert len({config.positions.tobytes() + config.lattice.tobytes() for config in group}) == 1
        assert len({tuple(config.magmoms_in) for config in group}) == 3
        assert len({json.dumps(config.deformation_parameters) for config in group}) == 1


def test_unpaired_orderings_have_their_own_geometries():
    configs = list(generate(options(paired=False, deformations=BASE["deformations"][1:])))
    assert len({config.pair_id for config in configs}) == len(configs) == 54
    undeformed = list(generate(options(paired=False, deformations=[{"kind": "none"}])))
    assert len({config.pair_id for config in undeformed}) == 2


def test_moments_are_those_of_the_ordering():
    for config in generate(options()):
        magnitude = {"Ni": 2.0, "Mn": 3.0, "O": 0.0}
        assert np.abs(config.magmoms_in).tolist() == [magnitude[symbol] for symbol in config.species]
        assert np.sum(config.magmoms_in < 0) == (0 if config.ordering == "FM" else 2)


def test_parent_fields_name_the_undeformed_cell():
    configs = list(generate(options()))
    assert configs[0].parent.startswith("NiO-all8-a4.1700-")
    assert configs[-1].parent.startswith("MnNiO2-all8-a4.3000-")
    assert {config.parent for config in configs} == {configs[0].parent, configs[-1].parent}
    assert configs[-1].cell == "all8"
    assert configs[-1].parent_lattice == pytest.approx(rocksalt("Mn", 4.3).lattice.matrix)
    assert configs[0].lattice.tobytes() == configs[0].parent_lattice.tobytes()
    placements = {parent_id(rocksalt({"Ni": 0.5, "Mn": 0.5}, cell="all8", seed=seed)) for seed in range(10)}
    assert 1 < len(placements) <= 6  # two of four sites: at most six placements, each with its own id
    assert parent_id(Structure(Lattice.cubic(4.2), ["Ni"], [[0, 0, 0]])).startswith("Ni-custom-")


@pytest.mark.parametrize("kind", ["displacement", "shear", "tensile", "volume"])
def test_recorded_parameters_rebuild_the_geometry_with_deform(kind):
    config = next(c for c in generate(options()) if c.deformation == kind and c.ordering == "AFM-I")
    p = config.deformation_parameters
    amplitude = p.get("strain", p.get("volume_ratio", p.get("displacement")))
    parent = apply_ordering(rocksalt("Ni"), "AFM-I", {"Ni": 2.0})
    on_top = 0.0 if kind == "displacement" else p["displacement"]
    rebuilt, same = deform(parent, kind, amplitude, seed=p["seed"], displacement=on_top)
    assert rebuilt.cart_coords == pytest.approx(config.positions, abs=1e-12)
    assert rebuilt.lattice.matrix == pytest.approx(config.lattice, abs=1e-12)
    assert same == p


def test_amplitudes_stay_in_their_range_and_fill_it():
    wide = options(deformations=[{"kind": "volume", "count": 60, "amplitude": [0.93, 1.08]}])
    ratios = {config.deformation_parameters["volume_ratio"] for config in generate(wide)}
    assert len(ratios) == 120
    assert 0.93 <= min(ratios) < 0.94
    assert 1.07 < max(ratios) <= 1.08


def test_same_options_same_bytes_in_another_process():
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from workflows.structures import StructureOptions, generate\n"
        "import hashlib, json\n"
        "total = hashlib.sha256()\n"
        "for c in generate(StructureOptions.model_validate_json(sys.argv[1])):\n"
        "    total.update(json.dumps(c.to_document(), sort_keys=True).encode())\n"
        "print(total.hexdigest())\n"
    )
    for hash_seed in ("0", "1"):
        found = subprocess.run(
            [sys.executable, "-c", code, json.dumps(BASE), os.getcwd()],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == digest(generate(options()))


def test_another_seed_gives_other_geometries():
    first = {c.pair_id for c in generate(options()) if c.deformation != "none"}
    second = {c.pair_id for c in generate(options(seed=8)) if c.deformation != "none"}
    assert not first & second


def test_growth_never_changes_what_was_there():
    before = set(ids(generate(options())))
    more = [dict(d, count=d["count"] + 2) if "count" in d else d for d in BASE["deformations"]]
    grown = options(
        parents=[*BASE["parents"], {"species": "Mn"}],
        deformations=[*more, {"kind": "shear", "count": 1, "amplitude": [0.01, 0.02]}],
        orderings=["FM", "AFM-II", "AFM-I", "ferri"],
        signs={"ferri": [1, 1, 1, -1]},
    )
    after = set(ids(generate(grown)))
    assert before < after
    assert len(after) == count_configs(grown)


ENTRIES = [
    "FM",
    "AFM-I",
    "AFM-II",
    {"kind": "enumerate"},
    {"kind": "enumerate", "net_moment": 0},
    {"kind": "random", "count": 2},
    {"kind": "random", "count": 2, "seed": 1},
    {"kind": "spiral", "q": [0, 0, 1]},
    {"kind": "random_directions", "count": 2},
    {"kind": "canted", "base": "AFM-I", "angle": 20},
]
PARENTS = [
    {"species": "Ni"},
    {"species": "Ni", "cell": "conventional"},
    {"species": {"Ni": 0.5, "Mn": 0.5}, "decoration": "L1_0", "orderings": ["FM", {"kind": "enumerate"}]},
]


@settings(max_examples=15, deadline=None)
@given(
    orderings=st.lists(st.sampled_from(ENTRIES), min_size=2, max_size=6, unique_by=str),
    parents=st.lists(st.sampled_from(PARENTS), min_size=1, max_size=3),
    split=st.integers(1, 5),
    paired=st.booleans(),
)
def test_parents_and_orderings_at_the_end_never_change_what_was_there(orderings, parents, split, paired):
    orderings = [
        entry for entry in orderings if entry != "AFM-II" or {"species": "Ni", "cell": "conventional"} not in parents
    ]
    assume(len(orderings) > 1)
    strains = [
        {"kind": "none"},
        {"kind": "tensile", "count": 2, "amplitude": [0.02, 0.02]},
        {"kind": "displacement", "amplitude": [0.02, 0.03]},
    ]
    grown = options(parents=parents, orderings=orderings, deformations=strains, paired=paired)
    few = orderings[: min(split, len(orderings) - 1)]
    small = grown.model_copy(
        update={
            "parents": grown.parents[:1],
            "orderings": grown.orderings[: len(few)],
            "deformations": grown.deformations,
        }
    )
    before, after = ids(generate(small)), ids(generate(grown))
    assert set(before) <= set(after)
    assert len(set(after)) == len(after)
    assert ids(generate(grown)) == after


def test_the_quickstart_generates_what_it_always_did():
    path = Path(__file__).parents[3] / "configs" / "campaigns" / "quickstart_nio.yaml"
    quickstart = StructureOptions.model_validate(yaml.safe_load(path.read_text())["structures"])
    for configs, expected in (
        (generate(quickstart), "b7c9e70ec544348b49b9c0f497b4fa3af1abd14851cfb6a1e6dec64f7defb8aa"),
        (candidates(quickstart, 1, count=3), "7882fafa21c2ee4bd317f8a7bdb761fb47c69bdc021a1fcdb410bb973e425e68"),
    ):
        content = [[c.config_id, c.pair_id, c.parent, c.ordering, c.deformation] for c in configs]
        assert hashlib.sha256(json.dumps(content).encode()).hexdigest() == expected


def test_every_structure_of_a_file_is_a_parent_with_geometries_of_its_own(tmp_path):
    path = tmp_path / "two.json"
    nio = rocksalt("Ni", cell="rhombohedral4")
    bare = Structure(nio.lattice, nio.species, nio.frac_coords)
    larger = Structure(Lattice(nio.lattice.matrix * 1.01), nio.species, nio.frac_coords)
    path.write_text(json.dumps([bare.as_dict(), larger.as_dict()]))
    shear = [{"kind": "shear", "amplitude": [-0.03, 0.03], "displacement": 0.03}]
    wanted = {"orderings": ["FM", "AFM-II"], "deformations": shear}
    both = list(generate(options(parents=[{"file": str(path)}], **wanted)))
    assert len({config.parent for config in both}) == 2
    assert both[0].deformation_parameters["strain"] != both[2].deformation_parameters["strain"]
    first = list(generate(options(parents=[{"file": str(path), "index": 0}], **wanted)))
    assert ids(first) == ids(both)[:2]


def test_a_computed_lattice_is_used_once_however_often_its_ordering_is_listed():
    wanted = options(
        parents=[{"species": "Ni", "cell": "rhombohedral4", "lattice": "relax"}],
        orderings=["AFM-II", {"kind": "enumerate"}],
        deformations=[{"kind": "none"}, {"kind": "displacement", "amplitude": [0.02, 0.03]}],
    )
    waiting = starts(wanted)
    assert sorted(start.config.ordering for start in waiting) == ["AFM-II", "FM"]
    configs = list(generate(with_lattices(wanted, [None] * 2)))
    assert [config.ordering for config in configs] == ["AFM-II", "FM"] * 4
    assert len({config.pair_id for config in configs}) == 4


def test_candidates_are_new_every_generation_and_never_the_undeformed_parent():
    first = {c.pair_id for c in generate(options())}
    rounds = [list(candidates(options(), generation=n, campaign="al", count=4)) for n in (1, 2)]
    assert [len(configs) for configs in rounds] == [2 * 4 * 4 * 3] * 2
    pairs = [{c.pair_id for c in configs} for configs in rounds]
    assert not first & pairs[0]
    assert not pairs[0] & pairs[1]
    assert {c.generation for c in rounds[1]} == {2}
    assert {c.deformation for c in rounds[0]} == {"displacement", "shear", "tensile", "volume"}
    assert digest(rounds[0]) == digest(candidates(options(), generation=1, campaign="al", count=4))
    assert len(list(candidates(options(), generation=1))) == 2 * 9 * 3


FIXED = [{"kind": "none"}, {"kind": "tensile", "amplitude": [0.01, 0.01]}, {"kind": "volume", "amplitude": [1, 1]}]


@pytest.mark.parametrize("seed", range(4))
def test_candidates_of_fixed_strains_are_what_earlier_generations_left(seed):
    few = {"parents": [{"species": "Ni"}], "orderings": ["FM"], "seed": seed}
    made = [{**FIXED[1], "count": 30}]
    every = len(list(generate(options(**few, deformations=made))))
    assert every == 2  # of three axes, two of which symmetry makes the same
    wanted = options(**few, deformations=FIXED)
    first = {tuple(np.round(c.lattice.diagonal(), 8)) for c in generate(wanted)}
    assert len(first) == 2
    later = [tuple(np.round(c.lattice.diagonal(), 8)) for c in candidates(wanted, 1, count=30)]
    assert len(later) == 1
    assert not first & set(later)
    with pytest.raises(StructureError, match="no candidates are left: every strain of these fixed amplitudes"):
        candidates(wanted, 2, count=30)
    wider = options(**few, deformations=[{**FIXED[1], "displacement": 0.02}])
    assert len(list(candidates(wider, 1, count=30))) == 30


def test_notes_say_what_is_worth_knowing(tmp_path):
    noisy = rocksalt("Ni", cell="conventional").copy(site_properties={}, properties={})
    noisy.perturb(0.03, seed=0)
    noisy.to(filename=str(tmp_path / "noisy.vasp"), fmt="poscar")
    count = TwinCount()
    parents = [{"file": str(tmp_path / "noisy.vasp"), "orderings": ["FM"]}, {"species": "Ni"}]
    generate(options(parents=parents, deformations=FIXED), twins=count)
    (note,) = count.notes
    assert re.search(r"noisy.vasp has \d+ symmetry operations within 0.01 .* set symprec: 0.05", note)
    listed = [{"kind": "random", "count": 600}]
    large = {"species": {"Ni": 0.5, "Mn": 0.5}, "cell": "conventional_2x2x2"}
    generate(options(parents=[large], orderings=listed), twins=count)
    assert "has 600 orderings; max_count or net_moment" in count.notes[1]


def test_orderings_per_parent_and_own_signs():
    mixed = options(
        parents=[
            {"species": "Ni", "cell": "rhombohedral4", "orderings": ["FM", "AFM-II"]},
            {"species": "Ni", "cell": "tetragonal4", "orderings": ["AFM-I", "up-down"]},
        ],
        signs={"up-down": [-1, 1]},
        deformations=[{"kind": "none"}],
    )
    configs = list(generate(mixed))
    # up-down is AFM-I with all moments reversed.
    assert [config.ordering for config in configs] == ["FM", "AFM-II", "AFM-I"]
    assert count_configs(mixed) == 3
    parallel = mixed.model_copy(update={"signs": {"up-down": [1, 1]}})
    assert [config.magmoms_in.tolist() for config in generate(parallel)][-1] == [2, 2, 0, 0]


def test_generation_is_lazy():
    huge = options(deformations=[{"kind": "displacement", "count": 10**9, "amplitude": [0.05, 0.1]}])
    assert len(list(islice(generate(huge), 5))) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orderings": []}, "orderings is empty"),
        ({"parents": []}, "parents is empty"),
        ({"deformations": []}, "deformations is empty"),
        ({"orderings": ["AFM-2"]}, "'AFM-2' is unknown; use FM"),
        ({"orderings": ["FM", "FM"]}, "FM is listed twice"),
        ({"parents": [{"species": "Ni", "orderings": []}]}, "orderings is empty"),
        ({"parents": [{"species": "Nq"}]}, "'Nq' is not a chemical element"),
        ({"magmoms": {"Fe": 4.0}}, "Fe is in no parent"),
        ({"signs": {"FM": [1, 1, 1, 1]}}, "FM is a built-in ordering"),
        ({"deformations": [{"kind": "twist", "amplitude": [0, 1]}]}, "'twist' is unknown"),
        ({"deformations": [{"kind": "shear"}]}, "amplitude is missing"),
        ({"deformations": [{"kind": "shear", "count": 0, "amplitude": [0, 0.01]}]}, "count is 0"),
        ({"deformations": [{"kind": "shear", "amplitude": [0.02, 0.01]}]}, "runs backwards"),
        ({"deformations": [{"kind": "volume", "amplitude": [-0.05, 0.05]}]}, "negative or zero volume"),
        ({"deformations": [{"kind": "none", "count": 2}]}, "one undeformed geometry"),
        ({"deformations": [{"kind": "displacement", "amplitude": [0, 0.1], "displacement": 0.1}]}, "for strains"),
        ({"sede": 3}, "unknown key 'sede'; did you mean 'seed'"),
    ],
)
def test_bad_options_are_one_line_each(changes, message):
    with pytest.raises(StructureError, match=message) as error:
        parse_options(StructureOptions, {**BASE, **changes}, "campaign.yaml", StructureError)
    assert "\n" not in str(error.value)
    with pytest.raises(ValidationError):
        options(**changes)


def test_errors_that_need_the_cell_come_before_the_first_configuration():
    with pytest.raises(StructureError, match="AFM-II does not fit"):
        generate(options(parents=[{"species": "Ni", "cell": "tetragonal4"}]))
    with pytest.raises(StructureError, match="4 values"):
        generate(options(orderings=["mine"], signs={"mine": [1, -1]}))


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        ({"generation": 0}, {}, "candidates start at 1"),
        ({"generation": 1, "count": 0}, {}, "count is 0"),
        ({"generation": 1}, {"deformations": [{"kind": "none"}]}, "every deformation is 'none'"),
    ],
)
def test_candidates_refuse_what_gives_nothing(arguments, changes, message):
    with pytest.raises(StructureError, match=message):
        candidates(options(**changes), **arguments)
