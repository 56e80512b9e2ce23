"""Commands that use a trained model on a structure: rank-orderings, ground-state, exchange, md."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from workflows.cli.errors import InputError, NotConvergedError
from workflows.cli.models import AsJson, Magmoms, Model, Ordering, _made_by
from workflows.cli.output import print_json, share_bar
from workflows.cli.simulate_output import (
    draw_ranking,
    exchange_content,
    frame_of,
    ground_state_content,
    md_content,
    ranked_frame,
    shape_of,
    show_exchange,
    show_ground_state,
    show_ranking,
    write_frames,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from spinmultinet.calculator import SpinMultiNetCalculator

StructureFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="CIF, magnetic CIF, POSCAR, extended XYZ or JSON file with a structure.")
]
PerElement = Annotated[
    str | None,
    typer.Option(
        "--magmoms", metavar="LIST", help="Magnitudes in muB per element, such as Ni=2.5; default: known ones."
    ),
]
Supercell = Annotated[
    str | None, typer.Option(metavar="LIST", help="2,2,2 or nine integers; default: the cell in the file.")
]
Orderings = Annotated[
    str | None, typer.Option(metavar="LIST", help="Names, such as FM,AFM-I,AFM-II; default: all orderings of the cell.")
]
MaxPeriod = Annotated[
    int | None,
    typer.Option(min=1, help="Most magnetic sites per magnetic cell; default: all up to 16 sites, 4 beyond."),
]
MaxCount = Annotated[int | None, typer.Option(min=1, help="The first so many, small magnetic cells first.")]


def rank_orderings(
    file: StructureFile,
    model: Model,
    relax: Annotated[bool, typer.Option("--relax", help="Relax atoms and cell in every ordering.")] = False,
    fixed_cell: Annotated[bool, typer.Option("--fixed-cell", help="With --relax: move atoms only.")] = False,
    fmax: Annotated[float, typer.Option(min=1e-6, help="Largest force when relaxed, eV/Angstrom.")] = 0.005,
    steps: Annotated[int, typer.Option(min=1, help="At most so many steps per ordering.")] = 300,
    orderings: Orderings = None,
    max_period: MaxPeriod = None,
    max_count: MaxCount = None,
    supercell: Supercell = None,
    magmoms: PerElement = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the structures here, extended XYZ; a stopped run then goes on.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the ranking here, PNG, SVG or PDF.")] = None,
    as_json: AsJson = False,
) -> None:
    """Rank the collinear orderings of a cell by energy.

    All that symmetry leaves distinct, or those named. The spread is that of the difference to the lowest, over a
    committee. With --out finished orderings are kept in a file beside it, and the same command goes on.

    \b
    Examples:
      spinmultinet rank-orderings nio.cif --model models/nio --supercell 2,1,1
      spinmultinet rank-orderings nio.cif --model models/nio --relax --orderings FM,AFM-I,AFM-II --out ranked.extxyz
    """
    structure = _structure(file, supercell)
    entries = _entries(orderings, max_period, max_count)
    from workflows.finished import Finished
    from workflows.spin_orderings import RelaxSettings, ordered_atoms
    from workflows.spin_orderings import rank_orderings as rank

    candidates = ordered_atoms(structure, entries, _magnitudes(magmoms))
    calculator = _calculator(model)
    finished = Finished(None if out is None else _beside(out, "finished.jsonl"), _source(model))
    with share_bar(f"{len(candidates)} orderings") as tell:
        settings = RelaxSettings(fmax, steps, not fixed_cell) if relax else None
        rows = rank(candidates, calculator, settings, finished, tell)
    made = _made_by(model, calculator.committee)
    if out is not None:
        write_frames([ranked_frame(row, made) for row in rows], out)
    if picture is not None:
        draw_ranking(rows, structure.composition.reduced_formula, picture)
    plain = [
        {key: value for key, value in row.items() if key != "atoms"} | shape_of(row["atoms"]) | made for row in rows
    ]
    if as_json:
        print_json(plain)
    else:
        show_ranking(plain, out, picture)
    unfinished = [row["ordering"] for row in rows if not row["converged"]]
    if unfinished:
        raise NotConvergedError(f"not converged after {steps} steps: {', '.join(unfinished)}; raise --steps")


def ground_state(
    file: StructureFile,
    model: Model,
    steps: Annotated[int, typer.Option(min=1, help="Flips tried per restart.")] = 2000,
    temperature: Annotated[tuple[float, float], typer.Option(metavar="FIRST LAST", help="K; falls geometrically.")] = (
        2000.0,
        50.0,
    ),
    restarts: Annotated[int, typer.Option(min=1, help="Independent searches, calculated together.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of all random numbers.")] = 0,
    conserve: Annotated[
        bool, typer.Option("--conserve", help="Keep as many up as down (balanced cells only).")
    ] = False,
    supercell: Supercell = None,
    magmoms: PerElement = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the structure found here, extended XYZ; a stopped run then goes on.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the lowest collinear ordering of a cell by simulated annealing.

    For cells with too many orderings to rank. The geometry is that of the file: relax what is found. An ordering that
    only one restart found may not be the lowest.

    \b
    Example:
      spinmultinet ground-state nio.cif --model models/nio --supercell 2,2,2 --steps 2000 --seed 1 --out lowest.extxyz
    """
    structure = _structure(file, supercell)
    from spinmultinet.anneal import AnnealOptions
    from spinmultinet.hypers import parse
    from workflows.finished import StateFile
    from workflows.spin_orderings import find_ground_state

    names = ("steps", "restarts", "seed", "conserve", "start", "end")
    options = parse(
        AnnealOptions, dict(zip(names, (steps, restarts, seed, conserve, *temperature), strict=True)), "ground-state"
    )
    magnitudes = _magnitudes(magmoms)
    key = _source(model) + structure.to(fmt="json") + str(sorted(magnitudes.items())) + options.model_dump_json()
    state = StateFile(None if out is None else _beside(out, "state.json"), key)
    known = state.load()
    calculator = _calculator(model)
    with share_bar("annealing") as tell:
        try:
            watching = {"state": known, "save": state.save, "tell": lambda share, text: tell(share)}
            found = find_ground_state(structure, calculator, options, magnitudes, **watching)
        finally:
            state.write()
    made = _made_by(model, calculator.committee)
    content = ground_state_content(found) | made
    if out is not None:
        info = {"ordering": found.ordering, **made}
        write_frames([frame_of(found.atoms, found.search.energy, found.magmoms, info)], out)
    if as_json:
        print_json(content)
    else:
        show_ground_state(content, out)


def exchange(
    file: StructureFile,
    model: Model,
    shells: Annotated[int, typer.Option(min=1, help="Distances between magnetic sites.")] = 2,
    orderings: Orderings = None,
    max_period: MaxPeriod = None,
    max_count: MaxCount = None,
    spin: Annotated[
        float | None, typer.Option(min=0.5, help="Spin quantum number; gives the mean-field temperature its (S+1)/S.")
    ] = None,
    supercell: Supercell = None,
    magmoms: PerElement = None,
    as_json: AsJson = False,
) -> None:
    """Exchange constants from the energies of many orderings of one geometry.

    E = E0 - sum over pairs i<j of J_ij e_i.e_j with unit vectors e, each pair once: J > 0 is ferromagnetic, and the
    lengths of the spins are in J. Fitted by least squares; the residual says how far that model goes.

    \b
    Example:
      spinmultinet exchange nio.cif --model models/nio --supercell 2,2,2 --shells 2 --json
    """
    structure = _structure(file, supercell)
    entries = _entries(orderings, max_period, max_count)
    from workflows.spin_orderings import exchange_constants, ordered_atoms

    candidates = ordered_atoms(structure, entries, _magnitudes(magmoms))
    calculator = _calculator(model)
    with share_bar(f"{len(candidates)} orderings") as tell:
        found = exchange_constants(candidates, calculator, shells, tell)
    open_ones = [s.name for s, known in zip(found.fit.shells, found.fit.resolved, strict=True) if not known]
    if open_ones:
        raise InputError(
            f"{len(found.used)} orderings of {len(candidates[0][1])} atoms do not determine {', '.join(open_ones)}; "
            "give a larger --supercell (such as 2,2,2), a larger --max-period, or fewer --shells"
        )
    content = exchange_content(found, spin) | _made_by(model, calculator.committee)
    if as_json:
        print_json(content)
    else:
        show_exchange(content)


def md(
    file: StructureFile,
    model: Model,
    out: Annotated[Path, typer.Option(help="Frames, extended XYZ; a stopped or finished run in it goes on.")],
    temperature: Annotated[float, typer.Option(min=0, help="K.")] = 300.0,
    steps: Annotated[int, typer.Option(min=1, help="In all, those of earlier runs included.")] = 1000,
    timestep: Annotated[float, typer.Option(min=0.001, help="fs.")] = 1.0,
    ensemble: Annotated[
        Literal["langevin", "nve", "npt"], typer.Option(help="langevin: NVT; npt: Berendsen, the shape stays.")
    ] = "langevin",
    friction: Annotated[float, typer.Option(help="1/fs, of langevin.")] = 0.01,
    pressure: Annotated[float, typer.Option(help="GPa, of npt.")] = 0.0,
    interval: Annotated[int, typer.Option(min=1, help="Steps between frames.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of velocities and thermostat.")] = 0,
    max_force: Annotated[float, typer.Option(help="Stop where a force is larger, eV/Angstrom.")] = 50.0,
    max_spread: Annotated[
        float | None, typer.Option(help="Stop where a committee's spread of a force is larger, eV/Angstrom.")
    ] = None,
    ordering: Ordering = None,
    magmoms: Magmoms = None,
    supercell: Supercell = None,
    as_json: AsJson = False,
) -> None:
    """Molecular dynamics in a magnetic ordering.

    The initial moments stay the input of every step; predicted moments are in every frame. A run that was stopped
    goes on from its last frame as if it had not been; give the same options again, or more --steps.

    \b
    Example:
      spinmultinet md nio.cif --ordering AFM-II --model models/nio --temperature 300 --steps 2000 --out md.extxyz
    """
    from workflows.user_structures import parse_supercell, read_structures, with_moments

    atoms, _ = with_moments(_only(read_structures(file), file), ordering, magmoms, parse_supercell(supercell))
    from spinmultinet.dynamics import MDOptions, run_md
    from spinmultinet.hypers import parse

    given = {
        **{"ensemble": ensemble, "temperature": temperature, "timestep": timestep, "steps": steps, "seed": seed},
        **{"interval": interval, "friction": friction, "pressure": pressure},
        **{"max_force": max_force, "max_spread": max_spread},
    }
    options = parse(MDOptions, given, "md")
    calculator = _calculator(model)
    with share_bar("molecular dynamics") as tell:
        result = run_md(atoms, calculator, options, out, lambda step, _: tell(step / steps))
    content = md_content(result, options.timestep) | _made_by(model, calculator.committee)
    if as_json:
        print_json(content)
    else:
        typer.echo(
            f"{content['steps']} steps, {content['time_fs']:g} fs; {content['frames']} frames in {out}\n"
            f"last: {content['temperature']:.1f} K, {content['energy']:.5f} eV, "
            f"{len(result.flipped)} moments against the ordering asked for"
        )
    if result.reason:
        raise NotConvergedError(f"stopped at step {result.steps}: {result.reason}; the last frame is worth a label")


def _structure(file: Path, supercell: str | None) -> Structure:
    """The one structure of a file, repeated."""
    import numpy as np

    from workflows.structures import read_parents
    from workflows.user_structures import parse_supercell

    values = parse_supercell(supercell)
    matrix = values if values is None or len(values) == 3 else np.reshape(values, (3, 3)).tolist()
    found: Structure = _only(read_parents(file, None, matrix), file)
    return found


def _only(found: list[Any], file: Path) -> Any:
    if len(found) > 1:
        raise InputError(f"{file} holds {len(found)} structures; give a file with one")
    return found[0]


def _entries(orderings: str | None, max_period: int | None, max_count: int | None) -> list[Any]:
    """Orderings as in a campaign."""
    if orderings is None:
        return [{"kind": "enumerate", "max_period": max_period, "max_count": max_count}]
    if max_period is not None or max_count is not None:
        raise InputError("--orderings names the orderings; leave out --max-period and --max-count")
    return [name.strip() for name in orderings.split(",") if name.strip()]


def _magnitudes(magmoms: str | None) -> dict[str, float]:
    from workflows.user_structures import parse_moments

    per_element, per_site = parse_moments(magmoms)
    if per_site:
        raise InputError("--magmoms takes magnitudes per element here, such as Ni=2.5; the orderings give the signs")
    return per_element


def _files(models: list[Path]) -> list[Path]:
    from workflows.model_files import checkpoints

    return [path for model in models for path in checkpoints(model)]


def _source(models: list[Path]) -> str:
    """Hash of the checkpoints, wherever they lie."""
    import hashlib

    found = []
    for path in _files(models):
        with suppress(FileNotFoundError):  # its reader says it better
            found.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return "-".join(sorted(digest[:16] for digest in found))


def _calculator(models: list[Path]) -> SpinMultiNetCalculator:
    """Calculator of everything --model named; says so where it holds moments."""
    from spinmultinet import keys
    from spinmultinet.calculator import SpinMultiNetCalculator
    from spinmultinet.checkpoint import load_model

    files = _files(models)  # not the models in memory: predictions say which files made them
    calculator = SpinMultiNetCalculator(files, load_model(files[0]).metadata.get(keys.MOMENT_ROLE))
    if calculator.moment_role == keys.CONSTRAINT:
        print("note: the model holds moments at their input: energies are of constrained states", file=sys.stderr)
    return calculator


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.name}.{ending}")
