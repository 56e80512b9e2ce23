"""``spinmultinet data import``: labels that others computed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.curate import login, print_used
from workflows.cli.data import AsJson, _open
from workflows.cli.errors import FAILED, InputError
from workflows.cli.output import print_json, print_table, share_bar, whole_file

if TYPE_CHECKING:
    from datastore.converters import Converter
    from datastore.importing import ImportReport, Replacement

SHOWN_FRAMES = 100
"""Frames that --show-keys looks at."""

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Extended XYZ, ASE database (.db, .json), CSV, JSON lines, DeePMD-kit systems with spin, exported HDF5 or "
        "JSON; or folders with VASP runs, a JSON file of emmet's task documents, mongodb://HOST/DATABASE?collection=tasks.",
    ),
]
Into = Annotated[
    str, typer.Option("--into", metavar="PLACE", help="Campaign or store, as for data stats; need not exist.")
]
MappingFile = Annotated[Path | None, typer.Option(metavar="MAP.yaml", help="Which key is what, units, conventions.")]
LevelFile = Annotated[Path | None, typer.Option(metavar="LEVEL.yaml", help="Level of theory, licence, citation.")]

CampaignName = Annotated[str, typer.Option(help="Name of a campaign, written on the labels.")]
ReportFile = Annotated[Path | None, typer.Option(help="Write what was done to this JSON file.")]
Replace = Annotated[
    str,
    typer.Option(metavar="REASON", help="Replace labels that an earlier import left with other numbers; say why."),
]
Author = Annotated[
    str, typer.Option(help="Who lets them be replaced; default: the user's login name.", show_default=False)
]
ShowKeys = Annotated[
    bool,
    typer.Option(
        "--show-keys",
        help="Show the keys of the files and propose a mapping, or the levels of theory of VASP runs as files for "
        "--level; import nothing.",
    ),
]
Processes = Annotated[int, typer.Option(min=0, help="VASP: processes that read; 0 takes the cores that are there.")]
TimeLimit = Annotated[float, typer.Option(min=1, metavar="SECONDS", help="VASP: reading one run may take so long.")]


def import_files(
    paths: Paths,
    into: Into = "",
    mapping: MappingFile = None,
    level: LevelFile = None,
    campaign: CampaignName = "",
    report: ReportFile = None,
    replace: Replace = "",
    author: Author = "",
    show_keys: ShowKeys = False,
    processes: Processes = 0,
    time_limit: TimeLimit = 300.0,
    as_json: AsJson = False,
) -> None:
    """Take in labels that others computed, or that were exported here.

    Judged by the same rules as our own; what is there already is skipped, so the same command goes on after a stop.
    Exports of this program need neither --mapping nor --level. Nor do VASP runs, which say everything themselves; for
    them --level names an engine's YAML file or a level of theory that runs get which agree with it. Exit code 1: some
    frames or runs were refused, or so many are outliers that units or signs are doubtful.

    \b
    Examples:
      spinmultinet data import nio.extxyz --show-keys
      spinmultinet data import nio.extxyz --into local:labels --mapping map.yaml --level level.yaml
      spinmultinet data import nio.extxyz --into local:labels --mapping mended.yaml --level level.yaml \\
        --replace "the stress was in GPa" --author Ada
      spinmultinet data import exported.extxyz --into configs/campaigns/quickstart_nio.yaml --report import.json
      spinmultinet data import /scratch/runs --into local:labels --report import.json
      spinmultinet data import "mongodb://HOST/DATABASE?collection=tasks" --into local:labels --level vasp.yaml
    """
    from datastore.uris import resolved

    paths = [resolved(path) for path in paths]
    if _of_vasp(paths):
        from workflows.cli.import_vasp import import_runs, show_levels

        if mapping is not None:
            raise InputError("VASP runs say themselves what is what; leave out --mapping")
        if show_keys:
            show_levels(paths, processes, time_limit, as_json)
            return
        _require_place(into)
        result = import_runs(paths, into, level, campaign, _replacement(replace, author), processes, time_limit)
        _finish(result, report, as_json, "runs")
        return
    files = [Path(path) for path in paths]
    if show_keys:
        _show(files, as_json)
        return
    _require_place(into)
    _check_files(files)
    convert = _converter(files, mapping, level, campaign)
    _finish(_import(files, into, convert, _replacement(replace, author)), report, as_json, "frames")


def _of_vasp(paths: list[str]) -> bool:
    """Whether the paths are VASP runs or task documents; InputError for both, or one file of a run."""
    from datastore.exports.deepmd import is_system
    from workflows.vasp_import.databases import is_database
    from workflows.vasp_import.files import has_documents

    if any(is_system(Path(path)) for path in paths):
        return False
    outputs = [path for path in paths if Path(path).is_file() and Path(path).name.startswith(("OUTCAR", "vasprun"))]
    if outputs:
        raise InputError(f"{outputs[0]} is one file of a run; give its folder: {Path(outputs[0]).parent}")
    found = [is_database(path) or Path(path).is_dir() or has_documents(Path(path)) for path in paths]
    if any(found) and not all(found):
        other = paths[found.index(False)]
        raise InputError(f"{other} is neither a folder nor task documents; import it by a command of its own")
    return all(found)


def _require_place(into: str) -> None:
    if not into:
        raise InputError("name the store with --into, such as --into local:labels or --into CAMPAIGN.yaml")


def _finish(result: ImportReport, report: Path | None, as_json: bool, what: str) -> None:
    """Tell what was done; exit code 1 where something was refused or is doubtful."""
    content = {**asdict(result), "in_store": result.frames - result.not_in, "not_in_store": result.not_in}
    if report is not None:
        import json

        with whole_file(report) as temporary:
            temporary.write_text(json.dumps(content, indent=1))
    if as_json:
        print_json(content)
    else:
        _print(result, what)
    if result.not_in or result.doubts:
        raise typer.Exit(FAILED)


def _check_files(files: list[Path]) -> None:
    """Raise before anything is stored where one of the files cannot be read at all."""
    from datastore.frames import read_frames

    for path in files:
        next(read_frames(path))


def _converter(files: list[Path], mapping: Path | None, level: Path | None, campaign: str) -> Converter:
    from datastore.converters import LEVEL_EXAMPLE, ImportLevel, foreign, own
    from datastore.mapping import ImportMapping
    from workflows.options import load_yaml, parse_options
    from workflows.structures.naming import recognised_ordering

    if mapping is None and level is None:
        _require_own(files)
        if campaign:
            raise InputError("labels exported here keep their campaign; leave out --campaign")
        return own
    if mapping is None:
        raise InputError(f"say which key is what with --mapping; a proposal: data import --show-keys {files[0]}")
    described = parse_options(ImportMapping, load_yaml(mapping, InputError), str(mapping), InputError)
    if level is None:
        raise InputError(f"labels need a stated level of theory: write --level LEVEL.yaml with {LEVEL_EXAMPLE}")
    stated = parse_options(ImportLevel, load_yaml(level, InputError), str(level), InputError)
    return foreign(described, stated, recognised_ordering, campaign)


def _require_own(files: list[Path]) -> None:
    from datastore.frames import read_frames

    for path in files:
        if "level_of_theory" not in next(read_frames(path)).values:
            raise InputError(
                f"{path} was not exported here: say which key is what with --mapping and at which level of theory with "
                f"--level; a proposal: data import --show-keys {path}"
            )


def _replacement(reason: str, author: str) -> Replacement | None:
    from datastore.importing import Replacement

    if author and not reason:
        raise InputError("--author says who replaces labels; say why with --replace REASON")
    return Replacement(author or login(), reason) if reason.strip() else None


def _import(files: list[Path], into: str, convert: Converter, replace: Replacement | None) -> ImportReport:
    """Run it with a bar; the share of a file counts by its size."""
    from datastore.checksums import files_of
    from datastore.importing import import_labels

    sizes = {path: sum(file.stat().st_size for file in files_of(path)) for path in files}
    before = {path: sum(sizes[p] for p in files[:number]) for number, path in enumerate(files)}
    total = max(1, sum(sizes[path] for path in files))
    with _open(into, create=True) as store, share_bar("import") as bar:

        def watch(path: Path, share: float) -> None:
            bar((before[path] + share * sizes[path]) / total)

        return import_labels(store, files, convert, watch, replace)


def _print(result: ImportReport, what: str) -> None:
    rows: list[tuple[str, int, str]] = [
        (reason, refusals.count, refusals.examples[0]) for reason, refusals in result.refused.items()
    ]
    if result.disagreeing.count:
        rows.append(("other numbers than stored", result.disagreeing.count, result.disagreeing.examples[0]))
    if rows:
        print_table(["not taken in because", what, "first"], rows)
    notes = {
        f"{result.frames} {what}": True,
        f"{result.accepted} new labels accepted": True,
        f"{result.rejected} new labels rejected by the rules ({_counted(result.verdict_reasons)})": result.rejected,
        f"{result.salvaged} of these salvaged: they are labels of the ordering they ended in": result.salvaged,
        f"{result.outliers} rejected as outliers of their groups": result.outliers,
        f"{result.metastable} of which another label of the same state is kept": result.metastable,
        f"{result.replaced} replaced": result.replaced,
        f"{result.present} were there already": result.present,
        f"{result.not_in} not taken in": result.not_in,
    }
    typer.echo("; ".join(text for text, wanted in notes.items() if wanted))
    if result.one_energy:
        typer.echo(f"{result.one_energy} {what} have one energy; it stands for the free and the extrapolated one")
    if result.without_stress:
        typer.echo(f"{result.without_stress} labels have no stress")
    for level in result.levels:
        typer.echo(f"level of theory {level}")
    for doubt in result.doubts:
        typer.echo(f"doubtful: {doubt}")
    if result.disagreeing.count:
        typer.echo("labels of an earlier import with a wrong mapping are corrected with --replace REASON")
    print_used(result.used_in)


def _counted(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))


def _show(files: list[Path], as_json: bool) -> None:
    """Keys of each file with what they hold, and a mapping that fits as far as names tell."""
    from datastore.mapping import propose

    shown: list[dict[str, Any]] = []
    for path in files:
        keys, frames = _survey(path)
        ours = "level_of_theory" in keys and "magmom_out" in keys
        shown.append({"file": path, "frames": frames, "keys": keys, "mapping": None if ours else propose(keys)})
    if as_json:
        print_json(shown)
        return
    for content in shown:
        rows = [(key, *found.values()) for key, found in content["keys"].items()]
        print_table(["key", "holds", "frames", "first value"], rows, title=f"{content['file']}")
        typer.echo(_proposal(content["mapping"]))


def _survey(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Key -> what it holds and in how many of the first frames; and how many these were."""
    from itertools import islice

    from datastore.frames import read_frames, shape_of

    keys: dict[str, dict[str, Any]] = {}
    number = 0
    for frame in islice(read_frames(path), SHOWN_FRAMES):
        number += 1
        for key, value in frame.values.items():
            text = " ".join(str(value).split())
            first = {"holds": shape_of(value), "frames": 0, "first": text if len(text) < 40 else f"{text[:37]}..."}
            keys.setdefault(key, first)["frames"] += 1
    return keys, number


def _proposal(mapping: dict[str, str] | None) -> str:
    import yaml

    if mapping is None:
        return "exported here: import it without --mapping and --level\n"
    missing = [name for name in ("energy", "forces", "magmoms_in", "magmoms_out") if name not in mapping]
    lines = [
        "# Proposal for --mapping; names tell no units and no signs, so check them (docs/import-and-costs.md).",
        "moment_role:  # state guess (moments relaxed) or constraint (they were held)",
        yaml.safe_dump(mapping, sort_keys=False).strip(),
        *[f"{name}:  # not found by its name; name it" for name in missing],
        "units: {energy: eV, length: Angstrom, force: eV/Angstrom, stress: eV/Angstrom^3}",
        "stress_sign: ase  # tension positive; vasp: pressure positive",
        "stress_order: ase  # xx yy zz yz xz xy; vasp: xx yy zz xy yz zx",
    ]
    return "\n".join(lines) + "\n"
