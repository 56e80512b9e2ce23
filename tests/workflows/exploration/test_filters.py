"""What is unphysical, and that it is counted instead of ending a search."""

import numpy as np
import pytest
import torch
from ase import Atoms

from datastore.atoms import config_to_atoms
from datastore.schema import SpinConfig
from spinmultinet.checkpoint import load_model, save_model
from workflows.exploration import explore
from workflows.exploration.filters import bad_geometry, keep_physical
from workflows.exploration.starts import undeformed
from workflows.learning import ExploreOptions

NIO = {"parents": [{"species": "Ni", "cell": "rhombohedral4"}], "orderings": ["FM", "AFM-II"]}
CELL = np.eye(3) * 4.17


def pair(distance: float, cell=CELL, z: float = 0.0) -> Atoms:
    """Ni and O in a cubic cell; the radii are 1.24 and 0.66 Angstrom."""
    return Atoms("NiO", positions=[[0, 0, z], [distance, 0, z]], cell=cell, pbc=True)


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (pair(2.085), ""),
        (pair(1.15), ""),  # just above 0.6 x 1.90
        (pair(1.13), "close contact"),
        (pair(4.17 - 1.13), "close contact"),  # with the next cell
        (pair(2.085, CELL * [1, 1, 0.35]), "volume"),
        (pair(2.085, CELL * 1.12), ""),  # 1.405 in volume
        (pair(2.085, CELL * 1.2), "volume"),
        (pair(2.085, CELL * 0.91), ""),  # 0.75
        (pair(2.085, CELL * 0.85), "volume"),
        (pair(2.085, np.zeros((3, 3))), "volume"),
        (pair(2.085, CELL * np.nan), "not finite"),
        (pair(np.nan), "not finite"),
        (pair(2.085, z=np.inf), "not finite"),
    ],
)
def test_reasons(atoms, reason):
    assert bad_geometry(atoms, ExploreOptions(), CELL) == reason


def test_an_atom_too_near_its_own_image_is_a_contact():
    thin = Atoms("Ni", cell=[10, 10, 1.4], pbc=True)
    assert bad_geometry(thin, ExploreOptions()) == "close contact"
    assert bad_geometry(thin, ExploreOptions(min_distance=0.5)) == ""


def squeezed(config: SpinConfig, distance: float) -> SpinConfig:
    """``config`` with its first O moved towards its first Ni."""
    positions = np.array(config.positions)
    o = config.species.index("O")
    bond = positions[o] - positions[0]
    positions[o] = positions[0] + bond / np.linalg.norm(bond) * distance
    return SpinConfig(**{**config.model_dump(), "positions": positions, "pair_id": f"{distance}"})


def test_bad_ones_are_counted_and_the_others_kept(make_task):
    task = make_task("relaxations", structures=NIO)
    good = undeformed(task)  # symmetry leaves no forces
    moved = [squeezed(good[0], distance) for distance in (2.0, 1.9)]
    forces = [np.linalg.norm(task.calculator.get_forces(config_to_atoms(c)), axis=1).max() for c in moved]
    weak, strong = (moved[k] for k in np.argsort(forces))
    strict = make_task("relaxations", structures=NIO, max_force=np.mean(forces))
    near = squeezed(good[0], 0.9)
    assert keep_physical(strict, [*good, strong, near, weak], asked=False) == [*good, weak]
    assert dict(strict.dropped) == {"force": 1, "close contact": 1}


def test_what_the_user_asked_for_is_only_looked_at_for_contacts(make_task):
    task = make_task("files", structures=NIO, max_force=1e-9, volume=(0.99, 1.01))
    config = undeformed(task)[0]
    large = SpinConfig(**{**config.model_dump(), "lattice": config.lattice * 1.1, "positions": config.positions * 1.1})
    assert keep_physical(task, [config, large, squeezed(config, 0.9)], asked=True) == [config, large]
    assert dict(task.dropped) == {"close contact": 1}
    assert keep_physical(task, [large], asked=False) == []
    assert task.dropped["volume"] == 1


def test_a_model_that_predicts_nan_gives_no_candidates(make_task, trained, tmp_path):
    members = []
    for number, path in enumerate(trained.members):
        model = load_model(path)
        with torch.no_grad():
            model.energy_readout.weight.fill_(float("nan"))
        members.append(str(tmp_path / f"{number}.pt"))
        save_model(model, members[-1])
    for source, expected in {"relaxations": "failed", "dynamics": "", "spin-moves": "force"}.items():
        task = make_task(
            source, structures=NIO, relaxations={"steps": 2}, dynamics={"steps": 2, "interval": 1}, spin_moves={}
        )
        task.members = members
        found, dropped = explore(task)
        assert found == []
        assert not expected or dropped[expected] > 0
