"""The command ``evaluate``: errors of a model on labels, its spread against them, pictures and a page of Markdown."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.errors import InputError
from workflows.cli.models import AsJson, Iterate, Model, _committee, _note, _read_frames, _told_as_notes
from workflows.cli.output import print_json, print_table, share_bar, whole_file

if TYPE_CHECKING:
    from ase import Atoms

    from spinmultinet.committee import Committee

_NO_TEST = (
    "the calibration was fitted on these very labels: how much the calibrated spread covers here is no test of it"
)


def evaluate(
    model: Model,
    data: Annotated[Path, typer.Option(help="Extended XYZ file of labels the model has not seen.")],
    iterate: Iterate = 0,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Fit the committee's spread to its errors on these labels and keep the factors beside it.",
        ),
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Calibration to use, or to write with --calibrate; default: one beside the members."
        ),
    ] = None,
    spin_states: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="muB that part the spin states of an element (Co=1.8,Mn=3.6). Default: gaps wider than 0.5 muB in "
            "the labels.",
        ),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all tables here, Markdown.")] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write parity.png, and reliability.png for a committee, here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Errors of a model on labels.

    Energy, forces, stress, moments and magnetic forces: MAE and RMSE in all and by ordering, deformation and element;
    energy differences at equal geometry; signs and spin states; for a committee its spread against the errors. Labels
    of another level of theory than the model's are refused.

    \b
    Examples:
      spinmultinet evaluate --model models/nio/model.pt --data test.extxyz
      spinmultinet evaluate --model models/nio --data val.extxyz --calibrate
      spinmultinet evaluate --model models/nio --data test.extxyz --markdown test.md --plots test_plots --json
    """
    boundaries = _boundaries(spin_states)
    frames = _read_frames(data)
    committee = _committee(model, iterate, None if calibrate else calibration)
    kept = (calibration or committee.calibration_path()) if calibrate else None
    _check_targets(plots, markdown, kept)
    _check_labels(committee, data, frames, calibrate)
    result = _evaluated(committee, frames, boundaries, kept)
    if kept is not None:
        typer.echo(_calibrated(committee, kept), err=as_json)
    _write(result, _about(committee, model, data, frames), markdown, plots)
    if as_json:
        print_json(result)
        return
    _show(result)
    written = [str(path) for path in (markdown, plots) if path is not None]
    if written:
        typer.echo(f"written to {' and '.join(written)}")


def _check_targets(plots: Path | None, *files: Path | None) -> None:
    """What cannot be written is said before anything is predicted."""
    given = [file for file in files if file is not None]
    for file in given:
        if file.is_dir():
            raise InputError(f"{file} is a folder; name a file in it")
    for folder in (*([] if plots is None else [plots]), *(file.parent for file in given)):
        whole = folder.absolute()
        there = next(path for path in (whole, *whole.parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise InputError(f"nothing can be written to {folder}: {there} is no folder, or not yours; name another")


def _boundaries(text: str | None) -> dict[str, list[float]] | None:
    """``Co=1.8,Mn=3.6`` as element -> boundaries; an element may be named twice."""
    if text is None:
        return None
    found: dict[str, list[float]] = {}
    try:
        for part in text.split(","):
            element, value = part.split("=")
            found.setdefault(element.strip(), []).append(float(value))
    except ValueError:
        raise InputError(f"--spin-states {text!r} cannot be read; write Co=1.8,Mn=3.6") from None
    return found


def _check_labels(committee: Committee, data: Path, frames: Sequence[Atoms], calibrate: bool) -> None:
    """Notes on units, levels and labels that trained the members, which tell nothing of their errors."""
    from datastore.checksums import file_sha256
    from spinmultinet.data import unit_doubts
    from spinmultinet.levels import check_levels

    for note in [*check_levels(committee.metadata, frames), *unit_doubts(frames)]:
        _note(note)
    files = {m.metadata.get("data_sha256", {}).get("train") for m in committee.members}
    if file_sha256(data) not in files and not committee.trained_on(frames):
        return
    if calibrate:
        raise InputError(f"the model was trained on {data}: its errors there are too small; calibrate on other labels")
    _note(f"the model was trained on {data}: errors on labels it has not seen are larger")


class _Told:
    """A committee that reports its progress and, if `kept` names a file, is calibrated on what it predicts."""

    def __init__(self, committee: Committee, tell: Callable[[float], None], kept: Path | None) -> None:
        self.committee, self.tell, self.kept, self.metadata = committee, tell, kept, committee.metadata

    def predict(self, frames: Sequence[Atoms]) -> list[dict[str, Any]]:
        found = self.committee.predict(frames, self.tell)
        if self.kept is None:
            return found
        calibration = self.committee.calibrate(frames, found)
        self.committee.save_calibration(self.kept)
        return [calibration.applied(prediction) for prediction in found]


def _evaluated(
    committee: Committee, frames: Sequence[Atoms], boundaries: dict[str, list[float]] | None, kept: Path | None
) -> dict[str, Any]:
    from spinmultinet.evaluate import evaluate as evaluate_frames

    with _told_as_notes(), share_bar("evaluating") as tell:
        result = evaluate_frames(_Told(committee, tell, kept), frames, boundaries)
    if _fitted_on(committee, frames):
        _note(f"{_NO_TEST}; evaluate on others")
    return result


def _fitted_on(committee: Committee, frames: Sequence[Atoms]) -> bool:
    from spinmultinet.data import fingerprint

    return committee.calibration is not None and committee.calibration.data_fingerprint == fingerprint(frames)


def _about(committee: Committee, models: Sequence[Path], data: Path, frames: Sequence[Atoms]) -> dict[str, str]:
    """What a page must say of where its numbers come from."""
    from datastore.checksums import file_sha256

    about = {
        "model": f"{', '.join(map(str, models))} ({len(committee.members)} members)",
        "labels": f"{data}, {len(frames)} structures, SHA-256 {file_sha256(data)}",
        "level of theory": f"{committee.metadata.get('level_of_theory', 'unknown')}",
        "rounds of fed-back moments, at most": str(committee.iterate),
    }
    if committee.calibration is not None:
        factors = ", ".join(f"{task} x {f.factor:.3g}" for task, f in committee.calibration.factors.items())
        about["calibration"] = f"{factors}, from {committee.calibration.n_structures} structures"
    if _fitted_on(committee, frames):
        about["note"] = _NO_TEST
    return about


def _write(result: dict[str, Any], about: dict[str, str], markdown: Path | None, plots: Path | None) -> None:
    pictures: list[Path] = []
    if plots is not None:
        from workflows.report.evaluation_figures import write_figures

        pictures = write_figures(result, plots)
    if markdown is not None:
        from workflows.report.evaluation_markdown import evaluation_markdown

        names = [Path(os.path.relpath(path, markdown.parent)).as_posix() for path in pictures]
        with whole_file(markdown) as temporary:
            temporary.write_text(evaluation_markdown(result, about, names), encoding="utf-8")


def _calibrated(committee: Committee, path: Path) -> str:
    assert committee.calibration is not None
    told = [f"{task} x {f.factor:.3g} (n = {f.n})" for task, f in committee.calibration.factors.items()]
    return f"spread to error: {', '.join(told)}; kept in {path}"


def _show(result: dict[str, Any]) -> None:
    units = result["units"]
    tasks = [task for task in units if task in result["overall"]]
    rows = [_error_row("all", result["overall"], result["n_structures"], tasks)]
    named = [g for g in ("per_ordering", "per_deformation", "per_element") if set(result[g]) != {"unknown"}]
    for group in named:
        rows += [_error_row(name, scores, scores.get("n_structures"), tasks) for name, scores in result[group].items()]
    columns = ["", "structures", *(f"{task} {units[task]}" for task in tasks)]
    print_table(columns, rows, title="mean absolute errors")
    roots = ", ".join(f"{task} {result['overall'][task]['rmse']:.4g}" for task in tasks)
    typer.echo(f"root mean square errors: {roots}")
    _show_pairs(result["pairs"])
    _show_moments(result)
    for task, found in result["uncertainty"].items():
        typer.echo(_spread_line(task, found))


def _error_row(name: str, scores: dict[str, Any], count: int | None, tasks: list[str]) -> list[Any]:
    return [name, count, *(scores[task]["mae"] if task in scores else None for task in tasks)]


def _show_pairs(pairs: dict[str, Any] | None) -> None:
    for name, found in (pairs["per_orderings"] if pairs else {}).items():
        order = f"right order {100 * found['right_order']:.1f} % of {found['n']} pairs"
        means = f"mean {found['label']:.2f} calculated, {found['predicted']:.2f} predicted"
        typer.echo(f"energy difference {name}: MAE {found['mae']:.3f} meV/atom, {order}; {means}")


def _show_moments(result: dict[str, Any]) -> None:
    if result["right_sign"] is not None:
        typer.echo(f"moments with the right sign: {100 * result['right_sign']:.1f} %")
    states = result["spin_states"]
    if states is not None:
        named = ", ".join(
            f"{element} at {' and '.join(f'{x:.2f}' for x in limits)} muB"
            for element, limits in states["boundaries"].items()
        )
        typer.echo(
            f"right sign and spin state: {100 * states['right']:.1f} % of {states['n']} sites (states of {named}; the "
            f"commonest state: {100 * states['commonest']:.1f} %)"
        )


def _spread_line(task: str, found: dict[str, Any]) -> str:
    within, rank = found["within"], found["rank_correlation"]
    parts = [
        f"{name} {' and '.join(f'{100 * x:.0f}' for x in within[key])} %"
        for key, name in (("spread", "spread covers"), ("sigma", "calibrated"))
        if key in within
    ]
    ideal = " and ".join(f"{100 * x:.0f}" for x in within["expected"])
    order = "" if rank is None else f"; rank correlation with the error {rank:.2f}"
    return f"{task}: {', '.join(parts)} of the errors at one and two (ideal {ideal} %){order}"
