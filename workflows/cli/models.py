"""Commands on models: train, predict, relax. They need extended XYZ files and no campaign."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.errors import InputError, NotConvergedError
from workflows.cli.output import print_json, print_table, whole_file

if TYPE_CHECKING:
    from ase import Atoms

    from spinmultinet.committee import Committee
    from spinmultinet.relax import RelaxResult
    from spinmultinet.train import TrainResult
    from workflows.progress_view import ProgressView

Model = Annotated[
    list[Path],
    typer.Option(
        "--model",
        metavar="PATH",
        help="Checkpoint, folder of a training, campaign YAML or campaign folder (its model in use). "
        "Give it several times for a committee.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of text.")]
Ordering = Annotated[
    str | None, typer.Option(metavar="NAME", help="FM, AFM-I, AFM-II or AFM-III, for rocksalt oxides.")
]
Magmoms = Annotated[
    str | None,
    typer.Option(
        metavar="LIST", help="muB: magnitudes per element (Ni=2.5,O=0) or a signed value per site (2.5,-2.5,0,0)."
    ),
]

Iterate = Annotated[
    int,
    typer.Option(
        min=0, metavar="N", help="Feed predicted moments back until they change by < 0.001 muB, at most N rounds."
    ),
]

OF_A_LABEL = (
    *("point_id", "level_id", "level_of_theory", "functional", "engine", "engine_version", "verdict"),
    *("ordering_found", "total_moment", "band_gap", "corrections", "timings", "kpoints", "magmom_out"),
)
"""What a file of labels says about its calculations, which is not true of predictions."""

GPA = 160.21766208
"""GPa per eV/Angstrom^3."""


def train(
    data: Annotated[Path, typer.Option(help="Extended XYZ file of training labels.")],
    model: Annotated[Path, typer.Option(help="YAML file with model and training options.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints; an unfinished training in it goes on.")],
    val: Annotated[Path | None, typer.Option(help="Extended XYZ file of validation labels.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of initial weights and order; members count up from it.")] = 0,
    committee: Annotated[int, typer.Option(min=1, help="Members, trained side by side.")] = 1,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="PATH", help="Begin with the weights of this checkpoint or training (fine-tuning)."
        ),
    ] = None,
) -> None:
    """Train a model or a committee.

    A training that was stopped goes on: give the same options again. Fine-tuning takes the architecture of the model it
    begins with; the section 'model' of --model, if there is one, must agree. The checkpoint keeps the SHA-256 of the
    files, and the snapshot they are of. Started by torchrun, several processes (GPUs) train one model together.

    \b
    Examples:
      spinmultinet train --data train.extxyz --val val.extxyz --model configs/models/small.yaml --out models/nio
      spinmultinet train --data new.extxyz --model fine_tune.yaml --from models/nio --out models/nio_tuned
      torchrun --nproc-per-node 4 --no-python spinmultinet train --data big.extxyz --model paper.yaml --out models/big
    """
    from spinmultinet.distributed import processes

    with processes() as together, _silent(not together.leader):
        _train(data, model, out, val, range(seed, seed + committee), start)


def _train(data: Path, model: Path, out: Path, val: Path | None, seeds: Sequence[int], start: Path | None) -> None:
    from spinmultinet.hypers import read_config

    model_options, options = read_config(model)
    if start is not None:
        options = options.model_copy(update={"start_from": str(start)})
    frames = _read_frames(data)
    validation = [] if val is None else _read_frames(val)
    from spinmultinet.committee import train_committee
    from spinmultinet.data import unit_doubts
    from spinmultinet.train import UnitWarning
    from spinmultinet.train import train as train_one
    from workflows.trained_on import trained_on

    metadata, notes = trained_on(data, val)
    for note in [*unit_doubts([*frames, *validation]), *notes]:
        _note(note)
    cores = len(os.sched_getaffinity(0))
    names = [f"member {seed}" for seed in seeds]
    with warnings.catch_warnings(), _training_view(names, min(cores, len(seeds))) as view:
        warnings.simplefilter("ignore", UnitWarning)  # said just now, in plainer words
        if len(seeds) == 1:
            one = partial(_tell, view, names[0])
            results = [train_one(options, model_options, frames, validation, out, seeds[0], one, metadata)]
        else:
            each = partial(_tell, view)
            results = train_committee(options, model_options, frames, validation, out, seeds, cores, each, metadata)
    for result in results:
        typer.echo(_trained(result))


@contextmanager
def _silent(silent: bool) -> Iterator[None]:
    """Nothing on stdout and stderr from what is inside; errors that leave it are shown as ever."""
    if not silent:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _trained(result: TrainResult) -> str:
    """One line on a finished training: validation errors, or those of training where there is no validation."""
    last = result.history[-1] if result.history else {}
    shown = {key: value for key, value in last.items() if key.startswith("val_")} or last
    errors = ", ".join(f"{key} {value:.4g}" for key, value in shown.items() if key not in ("epoch", "learning_rate"))
    return f"{result.checkpoint}: {result.n_parameters} parameters, {result.seconds:.0f} s; {errors}"


def _training_view(names: list[str], workers: int) -> ProgressView:
    from workflows.progress_view import ProgressView, Tally

    view = ProgressView(Tally(workers, planned={("training", 0): len(names)}), sys.stdout)
    for name in names:
        view({"kind": "added", "type": "train", "uuid": name, "done": False})
    return view


def _tell(view: ProgressView, name: str, epoch: int, epochs: int, metrics: dict[str, float]) -> None:
    """Pass an epoch on to the view; the first one of a member also says that it began."""
    text = f"{name} epoch {epoch}/{epochs} loss {metrics.get('train_loss', float('nan')):.4g}"
    view({"kind": "progress", "type": "train", "uuid": name, "fraction": epoch / epochs, "text": text})
    if epoch == epochs:
        view({"kind": "done", "type": "train", "uuid": name})


def predict(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CIF, POSCAR or extended XYZ files.")],
    model: Model,
    ordering: Ordering = None,
    magmoms: Magmoms = None,
    iterate: Iterate = 0,
    out: Annotated[Path | None, typer.Option(help="Write structures with predictions here, extended XYZ.")] = None,
    as_json: AsJson = False,
) -> None:
    """Energy, forces and moments of structures.

    \b
    Examples:
      spinmultinet predict nio.extxyz --model models/nio/model.pt --out predicted.extxyz
      spinmultinet predict nio.cif --ordering FM --model runs/quickstart_nio
    """
    from workflows.user_structures import read_structures, with_moments

    given = [(file, atoms) for file in files for atoms in read_structures(file)]
    prepared = [with_moments(atoms, ordering, magmoms)[0] for _, atoms in given]
    committee = _committee(model, iterate)
    from spinmultinet.data import unit_doubts
    from spinmultinet.levels import other_level

    for note in unit_doubts(prepared, labelled=False):
        _note(note)
    with _told_as_notes():
        predictions = committee.predict(prepared)
    _note(other_level(committee.metadata, prepared))
    made = _made_by(model, committee)
    if out is not None:
        _write([_labelled(a, p, made) for a, p in zip(prepared, predictions, strict=True)], out)
    rows = [
        {"file": file, **_described(atoms, prediction), **made}
        for (file, _), atoms, prediction in zip(given, prepared, predictions, strict=True)
    ]
    if as_json:
        print_json(rows)
        return
    columns = ["file", "formula", "energy", "energy_per_atom", "energy_std", "largest_force"]
    columns[5:5] = ["energy_sigma"] if "energy_sigma" in rows[0] else []
    print_table(columns, [[str(row[name]) if name == "file" else row[name] for name in columns] for row in rows])
    for row in rows if "magmoms" in rows[0] else []:
        typer.echo(f"moments of {row['formula']} (muB): {_numbers(row['magmoms'])}")
    typer.echo(f"energies in eV, forces in eV/Angstrom{'' if out is None else f'; written to {out}'}")


def relax(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CIF, POSCAR or extended XYZ file.")],
    model: Model,
    ordering: Ordering = None,
    magmoms: Magmoms = None,
    supercell: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="2,2,2 or nine integers; default: the smallest that holds the ordering."),
    ] = None,
    fmax: Annotated[float, typer.Option(min=1e-6, help="Largest force when converged, eV/Angstrom.")] = 0.001,
    steps: Annotated[int, typer.Option(min=1, help="At most so many steps.")] = 200,
    fixed_cell: Annotated[bool, typer.Option("--fixed-cell", help="Move atoms only.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the relaxed structure here, extended XYZ.")] = None,
    as_json: AsJson = False,
) -> None:
    """Relax a structure in a magnetic ordering.

    Prints cell, angles, energy and moments. Where the ordering does not fit the cell of a rocksalt oxide, the
    smallest supercell that holds it is used.

    \b
    Examples:
      spinmultinet relax nio.cif --ordering AFM-II --model runs/quickstart_nio
      spinmultinet relax nio.extxyz --magmoms 2.5,-2.5,0,0 --model models/nio/model.pt --out relaxed.extxyz
    """
    from workflows.user_structures import parse_supercell, pseudo_cubic, read_structures, with_moments

    frames = read_structures(file)
    if len(frames) > 1:
        raise InputError(f"{file} holds {len(frames)} structures; give a file with one")
    atoms, grid = with_moments(frames[0], ordering, magmoms, parse_supercell(supercell))
    committee = _committee(model)
    from spinmultinet.calculator import SpinMultiNetCalculator
    from spinmultinet.relax import relax as relax_atoms

    calculator = SpinMultiNetCalculator(committee.members)
    result = relax_atoms(atoms, calculator, fmax=fmax, steps=steps, relax_cell=not fixed_cell)
    made = _made_by(model, committee)
    result.atoms.info |= made
    content = _relaxed(result, ordering, len(frames[0])) | made
    if grid is not None:
        content["pseudo_cubic"] = pseudo_cubic(result.atoms.cell.array, grid)
    if out is not None:
        _write([result.atoms], out)
    if as_json:
        print_json(content)
    else:
        _show_relaxed(content, out)
    if not result.converged:
        raise NotConvergedError(f"not converged after {result.steps} steps; raise --steps, or start from --out")


def _relaxed(result: RelaxResult, ordering: str | None, asked_atoms: int) -> dict[str, Any]:
    cell = [float(x) for x in result.atoms.cell.cellpar()]
    stress = result.atoms.get_stress() if all(result.atoms.pbc) else []
    return {
        "formula": result.atoms.get_chemical_formula(),
        "ordering": ordering or "as given",
        "supercell_of": asked_atoms,
        "atoms": len(result.atoms),
        "lengths": cell[:3],
        "angles": cell[3:],
        "volume_per_atom": float(result.atoms.get_volume() / len(result.atoms)),
        "energy": result.energy,
        "energy_per_atom": result.energy / len(result.atoms),
        "largest_force": result.fmax,
        "largest_stress": max((abs(float(s)) for s in stress), default=None),
        "species": result.atoms.get_chemical_symbols(),
        "magmoms": result.magmoms,
        "flipped": result.flipped,
        "converged": result.converged,
        "steps": result.steps,
    }


def _show_relaxed(content: dict[str, Any], out: Path | None) -> None:
    enlarged = "" if content["atoms"] == content["supercell_of"] else f" (file: {content['supercell_of']})"
    typer.echo(f"{content['formula']}, {content['ordering']}, {content['atoms']} atoms{enlarged}")
    typer.echo(
        f"cell         {_numbers(content['lengths'], 4)} Angstrom, angles {_numbers(content['angles'], 3)} degrees"
    )
    if "pseudo_cubic" in content:
        cube = content["pseudo_cubic"]
        typer.echo(f"pseudo-cubic {_numbers(cube[:3], 4)} Angstrom, angles {_numbers(cube[3:], 3)} degrees")
    typer.echo(f"energy       {content['energy']:.5f} eV, {content['energy_per_atom']:.5f} eV/atom")
    typer.echo(f"volume       {content['volume_per_atom']:.4f} Angstrom^3/atom")
    typer.echo(f"moments      {_numbers(content['magmoms'])} muB")
    if content["flipped"]:
        typer.echo(f"sites {', '.join(map(str, content['flipped']))} left the ordering asked for")
    stress = "" if content["largest_stress"] is None else f", largest stress {content['largest_stress'] * GPA:.2f} GPa"
    typer.echo(f"{content['steps']} steps, largest force {content['largest_force']:.4f} eV/Angstrom{stress}")
    if out is not None:
        typer.echo(f"written to {out}")


def _note(text: str) -> None:
    """A line on stderr, unless there is nothing to say."""
    if text:
        typer.echo(f"note: {text}", err=True)


@contextmanager
def _told_as_notes() -> Iterator[None]:
    """Warnings of the model become notes on stderr, once each; those of levels were said before, in plainer words."""
    from spinmultinet.levels import LevelWarning

    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:  # an error does not make them less true
        ours = [w for w in caught if w.category.__module__.startswith("spinmultinet")]
        for text in dict.fromkeys(str(w.message) for w in ours if not issubclass(w.category, LevelWarning)):
            _note(text)


def _committee(models: list[Path], iterate: int = 0, calibration: Path | None = None) -> Committee:
    """Committee of everything --model named."""
    from spinmultinet.committee import Committee
    from workflows.model_files import checkpoints

    return Committee([path for model in models for path in checkpoints(model)], iterate, calibration)


def _read_frames(path: Path) -> list[Atoms]:
    """Frames of an extended XYZ file; anything else that ASE can read would have no labels."""
    from workflows.user_structures import read_structures

    return read_structures(path)


def _described(atoms: Atoms, prediction: dict[str, Any]) -> dict[str, Any]:
    """One prediction as JSON-able content: eV, eV/Angstrom, muB."""
    import numpy as np

    return {
        "formula": atoms.get_chemical_formula(),
        "energy": prediction["energy"],
        "energy_per_atom": prediction["energy"] / len(atoms),
        "largest_force": float(np.linalg.norm(prediction["forces"], axis=1).max()),
        "species": atoms.get_chemical_symbols(),
        **{key: value for key, value in prediction.items() if key not in ("energy", "energies")},
    }


def _made_by(models: list[Path], committee: Committee) -> dict[str, str]:
    from workflows.model_files import made_by

    return made_by(models, committee)


def _labelled(atoms: Atoms, prediction: dict[str, Any], made: dict[str, str]) -> Atoms:
    """Copy with the prediction as results, which extended XYZ carries; nothing in it passes for a calculated label."""
    import numpy as np
    from ase.calculators.singlepoint import SinglePointCalculator

    result = atoms.copy()
    for key in OF_A_LABEL:
        result.info.pop(key, None)
        result.arrays.pop(key, None)
    result.info |= made
    known = {key: prediction[key] for key in ("energy", "forces", "stress", "magmoms") if key in prediction}
    if not np.all(np.isfinite(known["stress"])):
        del known["stress"]
    result.calc = SinglePointCalculator(result, **known)
    return result


def _write(frames: list[Atoms], path: Path) -> None:
    import ase.io

    with whole_file(path) as temporary:
        ase.io.write(temporary, frames, format="extxyz")


def _numbers(values: Any, digits: int = 2) -> str:
    import numpy as np

    array = np.asarray(values, dtype=float)
    rows = array.tolist() if array.ndim == 1 else np.linalg.norm(array, axis=1).tolist()
    return " ".join(f"{value:.{digits}f}" for value in rows)
