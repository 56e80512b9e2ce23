"""``spinmultinet data`` snapshot, leaks and compare: training sets, what is on both sides of them, two levels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.data import AsJson, Filter, Place, _open
from workflows.cli.errors import FAILED, InputError
from workflows.cli.output import print_json, print_table, share_bar, whole_file

if TYPE_CHECKING:
    from datastore import SpinStore
    from datastore.compare import Comparison
    from datastore.label_sets import SetOptions
    from datastore.leaks import Leak
    from datastore.snapshot import Snapshot
    from datastore.splits import SplitOptions

SPLIT_KINDS = ("group", "parent", "ordering", "composition", "generation")
PICTURES = (".png", ".pdf", ".svg")
SHOWN = 20
"""Rows of a table that may be long; --json gives all."""

Tolerance = Annotated[
    float, typer.Option(min=0, help="Geometries nearer than this are the same (Angstrom, rms displacement).")
]


def snapshot(
    place: Place,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder; the snapshot is written to OUT/SNAPSHOT_ID.")],
    terms: Filter = None,
    split: Annotated[str, typer.Option(metavar="KIND", help=f"How to split: {', '.join(SPLIT_KINDS)}.")] = "group",
    held_out: Annotated[
        str, typer.Option(metavar="LIST", help="Orderings, or formulas and elements, that are only tested on.")
    ] = "",
    until: Annotated[int, typer.Option(min=0, help="By generation: the last one that is trained on.")] = 0,
    fractions: Annotated[str, typer.Option(metavar="LIST", help="Of the groups: train, val, test.")] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option(help="Of the random choice of groups.")] = 0,
    tolerance: Tolerance = 0.01,
    previous: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Earlier snapshot: what it held out stays held out.")
    ] = None,
    level: Annotated[str, typer.Option(help="Level of theory: beginning of its id, or its name.")] = "",
    delta: Annotated[
        tuple[str, str] | None, typer.Option(metavar="FROM TO", help="Labels are level TO minus level FROM.")
    ] = None,
    heads: Annotated[
        str, typer.Option(metavar="LIST|all", help="Several levels side by side, each frame with its 'head'.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Freeze a training set: files train, val and test, with a hash.

    Accepted labels of one level of theory. Labels of one geometry, of a pair, and of geometries that are the same but
    for symmetry or small displacements, are never in two splits.

    \b
    Examples:
      spinmultinet data snapshot configs/campaigns/quickstart_nio.yaml sets
      spinmultinet data snapshot runs/nio sets "deformation!=none" --split ordering --held-out AFM-II
      spinmultinet data snapshot local:labels sets --split composition --held-out Mn --fractions 0.9,0.1,0
      spinmultinet data snapshot local:labels sets --delta 5edba1 c0ffee
    """
    from datastore import queries
    from datastore.snapshot import load_snapshot, make_snapshot

    options = _split_options(split, held_out, until, fractions, seed, tolerance)
    earlier = None if previous is None else load_snapshot(previous)
    criteria = queries.parse_filter(" ".join(terms or []))
    with _open(place) as opened:
        labels = _set_options(opened, level, delta, heads)
        if level:
            criteria = {"$and": [c for c in (criteria, {"level_id": queries.find_level(opened, level).level_id}) if c]}
        with share_bar("comparing geometries") as tell:
            made = make_snapshot(
                opened,
                out,
                criteria=criteria,
                options=options,
                previous=earlier,
                labels=labels,
                progress=lambda done, total: tell(done / total),
            )
    if as_json:
        print_json({"folder": made.folder.resolve(), **made.model_dump(mode="json", exclude={"points", "tokens"})})
    else:
        _show_snapshot(made)


def _split_options(kind: str, held_out: str, until: int, fractions: str, seed: int, tolerance: float) -> SplitOptions:
    from datastore.splits import SplitOptions
    from workflows.options import parse_options

    if kind not in SPLIT_KINDS:
        raise InputError(f"--split {kind}: there are {', '.join(SPLIT_KINDS)}")
    if until and kind != "generation":
        raise InputError("--until goes with --split generation")
    try:
        shares = [float(part) for part in fractions.split(",")]
    except ValueError:
        raise InputError(f"--fractions {fractions}: give three numbers, such as 0.8,0.1,0.1") from None
    if len(shares) != len(("train", "val", "test")):
        raise InputError(f"--fractions {fractions}: give three numbers, of train, val and test")
    content: dict[str, Any] = {"fractions": shares, "seed": seed, "by": kind, "until": until, "twins": tolerance}
    content["held_out"] = [name for name in held_out.split(",") if name]
    if kind == "group":  # a campaign may do without, but who asks for a split wants to have one
        content |= {"min_val": int(shares[1] > 0), "min_test": int(shares[2] > 0)}
    return parse_options(SplitOptions, content, "split", InputError)


def _set_options(store: SpinStore, level: str, delta: tuple[str, str] | None, heads: str) -> SetOptions:
    from datastore.label_sets import SetOptions
    from datastore.queries import find_level
    from workflows.options import parse_options

    if sum(map(bool, (level, delta, heads))) > 1:
        raise InputError("--level, --delta and --heads exclude each other: one level, a difference of two, or several")
    if delta:
        content: dict[str, Any] = {"kind": "delta", "levels": [find_level(store, name).level_id for name in delta]}
    elif heads:
        names = [] if heads == "all" else heads.split(",")
        content = {"kind": "multi-head", "levels": [find_level(store, name).level_id for name in names]}
    else:
        content = {}
    return parse_options(SetOptions, content, "levels", InputError)


def _show_snapshot(made: Snapshot) -> None:
    kinds = sorted({kind for counts in made.by_deformation.values() for kind in counts})
    rows = [
        [split, made.counts[split], *(made.by_deformation[split].get(k, 0) for k in kinds)] for split in made.counts
    ]
    print_table(["split", "labels", *kinds], rows)
    for level_id, name in made.levels.items():
        counts = [f"{split} {of.get(level_id, 0)}" for split, of in made.by_level.items()]
        typer.echo(f"level of theory {level_id} {name}" + (f": {', '.join(counts)}" if counts else ""))
    if made.kind != "plain":
        typer.echo(f"a {made.kind} set; models of one level cannot be trained on it")
    if made.twins:
        typer.echo(f"{made.twins} pairs of geometries are the same and were kept together")
    if made.left_out:
        typer.echo(f"{len(made.left_out)} held-out labels are in no split, because their geometry is trained on")
    if made.other_level:
        typer.echo(f"{len(made.other_level)} labels are left out, because corrections changed their level of theory")
    typer.echo(str(made.folder))


def leaks(
    paths: Annotated[
        list[Path], typer.Argument(metavar="SNAPSHOT|FILE...", help="Folder of a snapshot, or extended XYZ files.")
    ],
    tolerance: Tolerance = 0.01,
    as_json: AsJson = False,
) -> None:
    """Is a geometry on both sides of a split?

    Finds equal geometries also where they are moved, rotated, reflected, in another cell or supercell, with sites in
    another order, with other spins, or displaced by less than the tolerance. Exit code 1: there are some.

    \b
    Examples:
      spinmultinet data leaks sets/0123456789abcdef01234567
      spinmultinet data leaks train.extxyz val.extxyz test.extxyz --tolerance 0.02
    """
    from datastore.leaks import find_leaks, read_geometries

    files = _files_to_compare(paths)
    with share_bar("comparing geometries") as tell:
        sets = {name: list(read_geometries(path)) for name, path in files.items()}
        found = find_leaks(sets, tolerance, lambda done, total: tell(done / total))
    counts = {name: len(frames) for name, frames in sets.items()}
    if as_json:
        print_json({"frames": counts, "tolerance": tolerance, "leaks": [vars(leak) for leak in found]})
    else:
        _show_leaks(found, counts)
    if found:
        raise typer.Exit(FAILED)


def _files_to_compare(paths: list[Path]) -> dict[str, Path]:
    """Name -> file of each split that is not empty."""
    from datastore.snapshot import load_snapshot
    from datastore.splits import SPLITS

    if len(paths) == 1 and paths[0].is_dir():
        made = load_snapshot(paths[0])
        return {split: made.path(split) for split in SPLITS if made.counts[split]}
    if len(paths) < 2 or any(path.is_dir() for path in paths):
        raise InputError("give the folder of one snapshot, or at least two extended XYZ files")
    names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise InputError("a file is given twice; everything in it would be on both sides")
    return dict(zip(names, paths, strict=True))


def _show_leaks(found: list[Leak], counts: dict[str, int]) -> None:
    if found:
        rows = [(leak.first, leak.second, leak.kind) for leak in found]
        print_table(["geometry", "the same as", "how"], rows)
    frames = ", ".join(f"{name} {count}" for name, count in counts.items())
    typer.echo(f"{len(found) or 'no'} pairs of equal geometries on two sides (frames: {frames})")


def compare(
    place: Place,
    level_a: Annotated[str, typer.Argument(metavar="LEVEL_A", help="Beginning of the id of a level, or its name.")],
    level_b: Annotated[str, typer.Argument(metavar="LEVEL_B", help="The level that is compared with it.")],
    with_place: Annotated[
        str, typer.Option("--with", metavar="PLACE2", help="Where the labels of LEVEL_B are; default: the same store.")
    ] = "",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Picture of pair differences and forces: .png, .pdf or .svg.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Two levels of theory on the configurations that both labelled.

    Energies are compared after taking away one constant per composition, the mean of E_B - E_A per atom; differences
    E(FM) - E(AFM) of one geometry as they are. Ids and names of levels: spinmultinet data stats PLACE.

    \b
    Examples:
      spinmultinet data compare local:labels 5edba1 c0ffee --plot levels.png
      spinmultinet data compare runs/nio 5edba1 c0ffee --with runs/nio-gpaw --json
    """
    from datastore.compare import compare_levels
    from datastore.queries import find_level

    if plot is not None and plot.suffix not in PICTURES:
        raise InputError(f"--plot {plot}: the name of the picture has to end in {', '.join(PICTURES)}")
    with _open(place) as first, _open(with_place or place) as second:
        levels = (find_level(first, level_a), find_level(second, level_b))
        if levels[0].level_id == levels[1].level_id:
            raise InputError(f"{level_a} and {level_b} are the same level of theory, {levels[0].name}")
        comparison, parity = compare_levels((first, second), levels)
    if plot is not None:
        from workflows.report.levels import draw_comparison

        with whole_file(plot) as temporary:
            draw_comparison(comparison, parity, temporary, plot.suffix.removeprefix("."))
    if as_json:
        print_json(comparison.model_dump(mode="json"))
        return
    _show_comparison(comparison)
    if plot is not None:
        typer.echo(str(plot))


def _show_comparison(found: Comparison) -> None:
    typer.echo(f"A: {found.name_a} ({found.level_a})\nB: {found.name_b} ({found.level_b})")
    typer.echo(f"{found.common} configurations at both levels, {found.accepted} accepted at both")
    for formula, constant in found.constants.items():
        typer.echo(f"{formula}: E_B - E_A is {constant:.6f} eV/atom on average, which is taken away below")
    milli = 1000.0
    groups = [
        (
            g.formula,
            g.ordering,
            g.deformation,
            g.count,
            milli * g.energy_mean,
            milli * g.energy_rms,
            g.forces_rms,
            g.stress_rms,
        )
        for g in found.groups
    ]
    named = [
        "formula",
        "ordering",
        "deformation",
        "count",
        "E mean meV/atom",
        "E rms",
        "F rms eV/A",
        "stress rms eV/A^3",
    ]
    if groups:
        print_table(named, groups, title="B minus A, relative energies")
    pairs = [
        (p.formula, p.ordering, p.count, *(milli * value for value in (p.mean_a, p.mean_b, p.mean, p.rms)))
        for p in found.pairs
    ]
    if pairs:
        columns = ["formula", "ordering", "pairs", "A meV/atom", "B", "B - A mean", "B - A rms"]
        print_table(columns, pairs, title="E(FM) - E(ordering) of one geometry")
    moments = [(m.element, m.sites, m.mean_a, m.mean_b, m.rms) for m in found.moments]
    if moments:
        print_table(["element", "sites", "A muB", "B", "B - A rms"], moments, title="converged moments")
    _show_changed(found)


def _show_changed(found: Comparison) -> None:
    if not found.changed:
        typer.echo("every configuration ended in the same ordering and verdict at both levels")
        return
    rows = [
        (
            c.config_id[:12],
            c.ordering,
            c.deformation,
            c.found_a,
            c.found_b,
            "; ".join([*c.reasons_a, *c.reasons_b])[:80],
        )
        for c in found.changed[:SHOWN]
    ]
    title = "other ordering or verdict"
    print_table(["id", "asked", "deformation", "found A", "found B", "reasons"], rows, title=title)
    typer.echo(
        f"{len(found.changed)} configurations ended otherwise"
        + (", --json shows all" if len(rows) < len(found.changed) else "")
    )
