"""``spinmultinet data export``: labels for other programs, each export with its card."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from workflows.cli.data import AsJson, Filter, _open
from workflows.cli.errors import InputError
from workflows.cli.output import print_json, share_bar

if TYPE_CHECKING:
    from datastore.exports.run import Splits, Written
    from datastore.exports.sources import Source

From = Annotated[
    str,
    typer.Argument(
        metavar="PLACE",
        help="Campaign YAML or folder, a store (local:FOLDER, mongodb://HOST/DATABASE, env:NAME), or a folder of a "
        "snapshot.",
    ),
]

Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="extxyz, ase, deepmd, hdf5, pymatgen or csv; default: as OUT ends (.extxyz .db .h5 .json .csv).",
    ),
]
Keys = Annotated[
    str,
    typer.Option(
        metavar="PROGRAM", help="Names that spinmultinet, mace, nequip, chgnet or sevennet reads (extxyz, pymatgen)."
    ),
]


def export(
    place: From,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write, or folder (deepmd).")],
    terms: Filter = None,
    kind: Format = "",
    keys: Keys = "",
    level: Annotated[str, typer.Option(help="Only this level of theory: beginning of its id, or its name.")] = "",
    rejected: Annotated[bool, typer.Option("--rejected", help="Rejected labels as well.")] = False,
    splits: Annotated[
        Literal["key", "files"],
        typer.Option(help="Of a snapshot: 'split' with each label, or a file NAME-train, NAME-val, NAME-test each."),
    ] = "key",
    as_json: AsJson = False,
) -> None:
    """Write labels to a file that other programs read, and a card beside it.

    Accepted ones at one level of theory, unless told otherwise. Numbers come back to the bit, moments keep their signs.
    For other programs the energy is the free energy, whose derivatives forces and stress are. The card OUT.card.md has
    counts, level of theory, splits, units, checksums, and whom to cite.

    \b
    Examples:
      spinmultinet data export configs/campaigns/quickstart_nio.yaml nio.extxyz
      spinmultinet data export local:runs/quickstart_nio/store shear.extxyz deformation=shear --rejected
      spinmultinet data export local:labels train.extxyz --keys mace --level 5edba1
      spinmultinet data export sets/0123456789abcdef01234567 nio.extxyz --keys nequip --splits files
      spinmultinet data export local:labels systems --format deepmd
    """
    from datastore.exports.run import export as write
    from datastore.exports.run import format_of
    from datastore.exports.sources import is_snapshot, of_snapshot, of_store
    from datastore.queries import parse_filter

    chosen = format_of(out, kind)
    criteria = parse_filter(" ".join(terms or []))
    named = {"--format": kind, "--keys": keys, "--level": level, "--splits": splits if splits == "files" else ""}
    options = [word for option, value in named.items() if value for word in (option, value)]
    told = _command(place, out, [*(terms or []), *options, *(["--rejected"] if rejected else [])])

    def of(source: Source, how: Splits) -> Written:
        with share_bar("export") as tell:
            return write(source, out, chosen, keys, how, told, tell)

    if is_snapshot(Path(place)):
        if rejected:
            raise InputError("a snapshot has no rejected labels; export from the store")
        source = of_snapshot(Path(place), criteria, level)
        _tell(out, source, of(source, splits), as_json)
        return
    with _open(place, readonly=True) as opened:
        source = of_store(opened, criteria, level, rejected)
        written = of(source, splits)
    _tell(out, source, written, as_json)


def _command(place: str, out: Path, words: list[str]) -> str:
    """The command as the card tells it, without password."""
    from datastore.stores import mask

    return shlex.join(["spinmultinet", "data", "export", mask(place), str(out), *words])


def _tell(out: Path, source: Source, written: Written, as_json: bool) -> None:
    if as_json:
        files = [str(path) for path in written.files]
        level = {"level_id": source.level_id, "level": source.level_name}
        print_json({"labels": written.labels, **level, "files": files, "card": str(written.card)})
        return
    typer.echo(f"{out}: {written.labels} labels at level of theory {source.level_id} {source.level_name}")
    typer.echo(f"{written.card}: contents, units, checksums, citation")
