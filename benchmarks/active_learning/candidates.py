"""Candidates and tests of the spin-lattice engine: the Mn-Co-Ni protocol and what an exploration finds on its way.

Candidates come from three sources, each a file that is whole or not there:

deformations
    The protocol of the SpinMultiNet paper: 9 parents (pure, binary, ternary; 8 atoms), displacement, shear, tensile
    and volume with the amplitudes of configs/campaigns/mn_co_ni.yaml, each geometry in FM, AFM-I and AFM-II.
dynamics
    Frames of Langevin dynamics with the engine, per parent, ordering and temperature, from a cell of the protocol.
relaxations
    Steps of relaxations with the engine (positions and cell), per parent and ordering, from a sheared start.

Tests have geometries of their own, drawn by the same protocol: ``seen`` in FM, AFM-I and AFM-II; ``unseen`` in every
other ordering that the cell holds, none of which is ever a candidate. Labels that the engine's verdict rejects
(low-spin Co) are in none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import FIRE
from pydantic import BaseModel, ConfigDict

from datastore.atoms import config_to_atoms, point_to_atoms, read_points, write_points
from datastore.identity import canonical
from datastore.schema import SpinConfig, SpinPoint, content_hash
from workflows.campaign import load_campaign
from workflows.cli.output import whole_file
from workflows.engines import Engine, EngineError, get_engine
from workflows.engines.calculator import EngineCalculator
from workflows.structures import StructureOptions, generate
from workflows.structures.options import EnumerateOptions

CAMPAIGN = Path(__file__).parents[2] / "configs" / "campaigns" / "mn_co_ni.yaml"
TERNARY = ({"Mn": 0.25, "Co": 0.5, "Ni": 0.25}, {"Mn": 0.5, "Co": 0.25, "Ni": 0.25})
"""Besides the one that the campaign has."""

SEEN = ("FM", "AFM-I", "AFM-II")
Tell = Callable[[float], None]


class PoolSize(BaseModel):
    """How many candidates of each source, and how many test geometries."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    parents: int = 9
    """The first so many of the protocol's."""
    geometries: int = 24
    """Per parent and kind of deformation, each in three orderings."""
    temperatures: list[float] = [300.0, 900.0]
    """K."""
    steps: int = 200
    """Of dynamics, 2 fs each."""
    interval: int = 10
    """Steps between frames of dynamics."""
    relaxation_steps: int = 40
    relaxation_interval: int = 5
    test_geometries: int = 2
    """Per parent and kind of deformation."""


def protocol(
    size: PoolSize, count: int, seed: int, orderings: Sequence[object], kinds: Sequence[str] = ()
) -> StructureOptions:
    """The campaign's structures with given lattices, ``count`` geometries per deformation, paired orderings."""
    options = load_campaign(CAMPAIGN)[0].structures
    parents = [p.model_copy(update={"lattice": None, "seed": k}) for k, p in enumerate(options.parents)]
    more = [parents[-1].model_copy(update={"species": s, "seed": len(parents) + k}) for k, s in enumerate(TERNARY)]
    parents = (parents + more)[: size.parents]
    magmoms = {symbol: m for symbol, m in options.magmoms.items() if any(symbol in (p.species or "") for p in parents)}
    chosen = [d.model_copy(update={"count": count}) for d in options.deformations if not kinds or d.kind in kinds]
    update = {
        "parents": parents,
        "magmoms": magmoms,
        "deformations": chosen,
        "orderings": list(orderings),
        "paired": True,
    }
    return StructureOptions.model_validate(options.model_copy(update=update | {"seed": seed}).model_dump())


def spin_lattice(size: PoolSize, folder: Path, tell: Tell) -> tuple[list[Atoms], dict[str, list[Atoms]]]:
    """Labelled candidates and tests (``seen``, ``unseen``); what an earlier call left in ``folder`` is read."""
    engine = get_engine("spin-lattice")
    made_of = content_hash({"size": size.model_dump(), "level": engine.level_id()}, 8)
    makers: dict[str, Callable[[Tell], Iterator[SpinPoint]]] = {
        "deformations": lambda t: _labelled(engine, list(generate(protocol(size, size.geometries, 0, SEEN))), t),
        "dynamics": lambda t: _dynamics(engine, size, t),
        "relaxations": lambda t: _relaxations(engine, size, t),
        "seen": lambda t: _labelled(engine, list(generate(protocol(size, size.test_geometries, 1, SEEN))), t),
        "unseen": lambda t: _labelled(engine, _unseen(size), t),
    }
    found = {}
    for k, (name, make) in enumerate(makers.items()):
        path = folder / f"spin-lattice-{made_of}" / f"{name}.extxyz"
        if not path.exists():
            with whole_file(path) as temporary:
                write_points(temporary, make(lambda share, k=k: tell((k + share) / len(makers))))  # type: ignore[misc]
        found[name] = [point_to_atoms(point) for point in read_points(path)]
    tests = {name: found.pop(name) for name in ("seen", "unseen")}
    return _once([atoms for frames in found.values() for atoms in frames]), tests


def _unseen(size: PoolSize) -> list[SpinConfig]:
    every = generate(protocol(size, size.test_geometries, 1, [*SEEN, EnumerateOptions(kind="enumerate")]))
    return [config for config in every if config.ordering not in SEEN]


def _once(frames: list[Atoms]) -> list[Atoms]:
    return list({str(atoms.info["config_id"]): atoms for atoms in frames}.values())


def _labelled(engine: Engine, configs: list[SpinConfig], tell: Tell) -> Iterator[SpinPoint]:
    for k, config in enumerate(configs):
        point = engine.label(config)
        if point.verdict == "accepted":
            yield point
        tell((k + 1) / len(configs))


def _dynamics(engine: Engine, size: PoolSize, tell: Tell) -> Iterator[SpinPoint]:
    starts = list(generate(protocol(size, 1, 2, SEEN, ["volume"])))
    for k, config in enumerate(starts):
        for number, temperature in enumerate(size.temperatures):
            yield from _walk(engine, config, size, temperature, 1000 * number + k)
        tell((k + 1) / len(starts))


def _walk(engine: Engine, config: SpinConfig, size: PoolSize, temperature: float, seed: int) -> list[SpinPoint]:
    """Frames of one trajectory; it ends where a label is rejected."""
    points: list[SpinPoint] = []
    atoms = config_to_atoms(config)
    atoms.calc = EngineCalculator(engine, config, watch=points.append)
    rng = np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    friction = 0.01 / units.fs
    dynamics = Langevin(atoms, 2 * units.fs, temperature_K=temperature, friction=friction, fixcm=False, rng=rng)
    with suppress(EngineError):  # the frames before are candidates
        dynamics.run(size.steps)
    return [_named(point, "dynamics") for point in points[size.interval :: size.interval]]


def _relaxations(engine: Engine, size: PoolSize, tell: Tell) -> Iterator[SpinPoint]:
    starts = list(generate(protocol(size, 1, 3, SEEN, ["shear"])))
    for k, config in enumerate(starts):
        points: list[SpinPoint] = []
        atoms = config_to_atoms(config)
        atoms.calc = EngineCalculator(engine, config, watch=points.append)
        with suppress(EngineError):  # the steps before are candidates
            FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=size.relaxation_steps)
        yield from (_named(point, "relaxation") for point in points[:: size.relaxation_interval])
        tell((k + 1) / len(starts))


def _named(point: SpinPoint, source: str) -> SpinPoint:
    """A frame has a geometry, and so a pair_id, of its own."""
    pair_id = content_hash(canonical(point.species, point.lattice, point.positions), 16)
    return point.model_copy(update={"deformation": source, "pair_id": pair_id})
