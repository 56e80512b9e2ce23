"""``data snapshot``, ``leaks`` and ``compare`` on real labels of NiO and MnO and on those of another level."""

import json

import ase.io
import matplotlib.image
import numpy as np
import pytest

from datastore import open_store
from datastore.snapshot import load_snapshot
from tests.datastore.crystals import rewritten
from tests.support.cli import assert_one_line, in_this_process, tiny_campaign
from workflows.engines import get_engine
from workflows.jobs.dataset import split_atoms
from workflows.structures.generate import generate

STRUCTURES = {
    "parents": [
        {"species": s, "lattice_constant": a, "cell": "rhombohedral4"} for s, a in (("Ni", 4.17), ("Mn", 4.44))
    ],
    "orderings": ["FM", "AFM-II"],
    "deformations": [
        {"kind": "displacement", "count": 8, "amplitude": [0.03, 0.06]},
        {"kind": "shear", "count": 8, "amplitude": [-0.03, 0.03], "displacement": 0.03},
    ],
}


def other_level(point):
    """The label as another level might have it."""
    return point.model_copy(
        update={
            "level_of_theory": {"code": "GPAW", "functional": "PBE+U"},
            "energy": point.energy - 3.0 + (0.02 if point.ordering == "FM" else 0.0),
            "forces": 1.05 * point.forces,
        }
    )


@pytest.fixture(scope="module")
def labels():
    from workflows.structures.generate import StructureOptions

    engine = get_engine("spin-lattice")
    configs = list(generate(StructureOptions(**STRUCTURES)))
    return [engine.label(c.model_copy(update={"generation": k % 16 // 12})) for k, c in enumerate(configs)]


@pytest.fixture
def place(tmp_path, labels):
    """Working folder with a store of 64 spin-lattice labels, and the same at another level in a second store."""
    with open_store(f"local:{tmp_path / 'one'}") as one, open_store(f"local:{tmp_path / 'both'}") as both:
        for point in labels:
            for store in (one, both):
                store.put_point(point)
            both.put_point(other_level(point))
    return tmp_path


def made(place, *arguments):
    done = in_this_process(place, "data", "snapshot", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    return load_snapshot(place / content["folder"]), content


def frames(snapshot):
    return {split: ase.io.read(snapshot.path(split), ":") for split, count in snapshot.counts.items() if count}


@pytest.mark.parametrize(
    ("arguments", "key", "held"),
    [
        (("--split", "ordering", "--held-out", "AFM-II"), "ordering", "AFM-II"),
        (("--split", "composition", "--held-out", "Mn", "--fractions", "0.7,0.3,0"), "formula", "Mn2O2"),
        (("--split", "generation", "--until", "0"), "generation", 1),
    ],
)
def test_what_is_held_out_is_only_in_test(place, arguments, key, held):
    snapshot, _ = made(place, "local:one", "sets", *arguments)
    for split, atoms in frames(snapshot).items():
        found = {a.info.get(key, a.get_chemical_formula()) for a in atoms}
        assert (held in found) == (split == "test")
    assert in_this_process(place, "data", "leaks", snapshot.folder).returncode == 0


def test_the_text_says_what_was_done(place):
    done = in_this_process(place, "data", "snapshot", "local:one", "sets", "--split", "ordering", "--held-out", "FM")
    assert done.returncode == 0
    for part in ("train", "displacement", "held-out labels are in no split", "spin-lattice", str(place / "sets")):
        assert part in done.stdout.replace("sets/", f"{place}/sets/")


def test_later_snapshots_keep_what_was_held_out(place):
    first, _ = made(place, "local:one", "sets", "formula=NiO")
    second, _ = made(place, "local:one", "sets", "--previous", first.folder, "--fractions", "0.5,0.2,0.3")
    for split in ("val", "test"):
        assert first.points[split]
        assert set(first.points[split]) <= set(second.points[split])


def test_delta_and_heads(place):
    levels = ["spin-lattice", "GPAW-PBE+U"]
    delta, content = made(place, "local:both", "sets", "--delta", *levels)
    assert (content["kind"], sorted(content["levels"].values())) == ("delta", sorted(levels))
    energies = {round(a.get_potential_energy(), 6) for atoms in frames(delta).values() for a in atoms}
    assert energies == {-3.0, -2.98}
    heads, content = made(place, "local:both", "sets", "--heads", "all")
    assert content["kind"] == "multi-head"
    for split, atoms in frames(heads).items():
        assert {a.info["head"] for a in atoms} == set(levels)
        assert sum(content["by_level"][split].values()) == len(atoms)
    plain, _ = made(place, "local:both", "sets", "--level", "GPAW-PBE+U")
    assert plain.level_id != delta.level_id
    assert {a.info["label_kind"] for a in split_atoms(delta, "train")} == {"delta"}
    assert {a.info["head"] for a in split_atoms(heads, "train")} == set(levels)
    (place / "model.yaml").write_text("model: {layers: 1, channels: 4}\n")
    for snapshot, words in ((delta, "are a delta"), (heads, "2 heads")):
        done = in_this_process(place, "train", "--data", snapshot.path("train"), "--model", "model.yaml", "--out", "m")
        assert_one_line(done, 2, words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("local:both", "sets"), "several levels of theory"),
        (("local:one", "sets", "--split", "parents"), "group, parent, ordering, composition, generation"),
        (("local:one", "sets", "--split", "ordering"), "name what to hold out"),
        (("local:one", "sets", "--held-out", "FM"), "name what to hold out"),
        (("local:one", "sets", "--until", "3"), "--until goes with"),
        (("local:one", "sets", "--fractions", "0.8,0.2"), "three numbers"),
        (("local:one", "sets", "--fractions", "a,b,c"), "three numbers"),
        (("local:one", "sets", "--fractions", "0.8,0.1,0.2"), "add up to 1"),
        (("local:one", "sets", "--split", "generation", "--until", "9"), "leaves 0 labels for test"),
        (("local:one", "sets", "deformation=volume"), "no accepted labels"),
        (("local:one", "sets", "--delta", "spin-lattice", "zz"), "no label is of level of theory 'zz'"),
        (("local:one", "sets", "--delta", "spin-lattice", "spin-lattice"), "two different ones"),
        (("local:one", "sets", "--level", "spin-lattice", "--heads", "all"), "exclude each other"),
        (("local:one", "sets", "--previous", "nowhere"), "is no snapshot"),
    ],
)
def test_mistakes(place, arguments, words):
    assert_one_line(in_this_process(place, "data", "snapshot", *arguments), 2, words)
    assert not (place / "sets").exists() or not list((place / "sets").iterdir())


def test_leaks_between_files_are_named(place, labels):
    from datastore.leaks import geometry_of

    rng = np.random.default_rng(0)
    snapshot, _ = made(place, "local:one", "sets")
    test = ase.io.read(snapshot.path("test"), ":")
    victim = next(p for p in labels if p.point_id == snapshot.points["train"][0])
    twin = rewritten(geometry_of(victim), rng, noise=0.002)
    test.append(ase.Atoms(twin.species, positions=twin.positions, cell=twin.lattice, pbc=True))
    ase.io.write(place / "more.extxyz", test)
    done = in_this_process(place, "data", "leaks", snapshot.path("train"), "more.extxyz", "--json")
    assert done.returncode == 1
    (leak,) = json.loads(done.stdout)["leaks"]
    assert leak["second"] == f"more.extxyz: frame {len(test) - 1}"
    assert victim.config_id in leak["first"]
    assert "near-duplicate" in leak["kind"]
    text = in_this_process(place, "data", "leaks", snapshot.path("train"), "more.extxyz")
    assert text.returncode == 1
    assert "1 pairs of equal geometries on two sides" in text.stdout
    sharp = in_this_process(place, "data", "leaks", snapshot.path("train"), "more.extxyz", "--tolerance", "0.0001")
    assert sharp.returncode == 0


def test_mistakes_in_leaks(place):
    molecule = ase.Atoms("NiO", positions=[[0, 0, 0], [0, 0, 2]])
    for name in ("a.extxyz", "b.extxyz"):
        ase.io.write(place / name, molecule)
    for arguments, words in [
        (["a.extxyz", "b.extxyz"], "not periodic"),
        (["a.extxyz"], "at least two"),
        (["a.extxyz", "a.extxyz"], "given twice"),
        (["nowhere.extxyz", "a.extxyz"], "no such file"),
        (["."], "is no snapshot"),
    ]:
        assert_one_line(in_this_process(place, "data", "leaks", *arguments), 2, words)


def test_compare_finds_the_difference(place):
    done = in_this_process(place, "data", "compare", "local:one", "spin", "GPAW-PBE+U", "--json")
    assert_one_line(done, 2, "no label is of level of theory 'spin'")
    arguments = ["data", "compare", "local:one", "spin-lattice", "GPAW-PBE+U", "--with", "local:both"]
    done = in_this_process(place, *arguments, "--json", "--plot", "p/levels.png")
    content = json.loads(done.stdout)
    assert content["common"] == content["accepted"] == 64
    assert {pair["ordering"]: pair["count"] for pair in content["pairs"]} == {"AFM-II": 16}
    assert content["pairs"][0]["mean"] == pytest.approx(0.005)
    assert matplotlib.image.imread(place / "p/levels.png").std() > 0.05
    text = in_this_process(place, *arguments, "--plot", "levels.svg").stdout
    for part in ("E_B - E_A is -0.747500 eV/atom on average", "5.0000", "same ordering and verdict", "levels.svg"):
        assert part in text


def test_mistakes_in_compare(place):
    for arguments, words in [
        (["spin-lattice", "spin-lattice"], "are the same level"),
        (["spin-lattice", "GPAW-PBE+U", "--plot", "x.gif"], ".png, .pdf, .svg"),
    ]:
        assert_one_line(in_this_process(place, "data", "compare", "local:both", *arguments), 2, words)


def test_campaigns_are_places_too(tmp_path, labels):
    tiny_campaign(tmp_path)
    with open_store(f"local:{tmp_path / 'runs/tiny/store'}") as store:
        for point in labels:
            store.put_point(point)
    assert made(tmp_path, "tiny.yaml", "sets")[0].counts["test"] > 0
