"""What the commands on trained models show and write: rows, tables, frames, the picture of a ranking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from workflows.cli.output import print_table, whole_file

if TYPE_CHECKING:
    from ase import Atoms

    from spinmultinet.dynamics import MDResult
    from workflows.spin_orderings import Exchange, GroundState

CONVENTION = "E = E0 - sum over pairs i<j of J_ij e_i.e_j, unit vectors e, each pair once; J > 0 is ferromagnetic"


def frame_of(atoms: Atoms, energy: float, magmoms: Any, info: dict[str, Any]) -> Atoms:
    """Copy with predictions as results, which extended XYZ carries."""
    from ase.calculators.singlepoint import SinglePointCalculator

    frame = atoms.copy()
    frame.arrays.pop("magmom_out", None)
    frame.set_array("magmom_in", atoms.get_initial_magnetic_moments())
    frame.info = dict(info)
    frame.calc = SinglePointCalculator(frame, energy=energy, magmoms=magmoms)
    return frame


def ranked_frame(row: dict[str, Any], made_by: dict[str, str]) -> Atoms:
    """A row of a ranking as a frame; its info says ordering, ordering found, meV/atom above the lowest, which model."""
    info = {key: row[key] for key in ("ordering", "ordering_found", "above", "above_spread", "converged")} | made_by
    return frame_of(row["atoms"], row["energy"], row["atoms"].arrays["magmom_out"], info)


def write_frames(frames: list[Atoms], path: Path) -> None:
    """Extended XYZ, whole or not there."""
    import ase.io

    with whole_file(path) as temporary:
        ase.io.write(temporary, frames, format="extxyz")


def shape_of(atoms: Atoms) -> dict[str, Any]:
    """Number of atoms, volume (Angstrom^3/atom), cell (Angstrom, degrees), predicted moments (muB)."""
    cell = [float(x) for x in atoms.cell.cellpar()]
    return {
        "atoms": len(atoms),
        "volume_per_atom": float(atoms.get_volume() / len(atoms)),
        "lengths": cell[:3],
        "angles": cell[3:],
        "magmoms": atoms.arrays["magmom_out"],
    }


def show_ranking(rows: list[dict[str, Any]], out: Path | None, picture: Path | None) -> None:
    """Table, and what became another ordering."""
    columns = {
        "ordering": "ordering",
        "above": "meV/atom",
        "above_spread": "spread",
        "energy_per_atom": "eV/atom",
        "net_moment": "net muB",
        "volume_per_atom": "Angstrom^3/atom",
        "steps": "steps",
        "ordering_found": "found",
    }
    print_table(list(columns.values()), [[row[name] for name in columns] for row in rows])
    changed = [row for row in rows if row["ordering_found"] != row["ordering"]]
    for row in changed:
        sites = ", ".join(map(str, row["flipped"])) or "none flipped, but moments vanished"
        typer.echo(f"{row['ordering']} became {row['ordering_found']} (sites {sites}): its energy is that state's")
    close = undecided(rows)
    if close:
        typer.echo(f"within two spreads of the lowest, so the committee does not decide: {', '.join(close)}")
    for path in (out, picture):
        if path is not None:
            typer.echo(f"written to {path}")


def undecided(rows: list[dict[str, Any]]) -> list[str]:
    """Orderings whose energy above the lowest is less than twice its spread over the committee."""
    return [row["ordering"] for row in rows[1:] if row["above"] < 2 * row["above_spread"]]


def draw_ranking(rows: list[dict[str, Any]], title: str, path: Path) -> None:
    """Horizontal bars, lowest on top; the spread as a line."""
    from workflows.report.images import new_figure, ordering_style, styled

    names = [row["ordering"] if len(row["ordering"]) <= 24 else f"{row['ordering'][:21]}..." for row in rows]
    style = ordering_style([row["ordering"] for row in rows])
    with styled(), whole_file(path) as temporary:
        figure, axes = new_figure(5.0, 1.0 + 0.28 * len(rows))
        spread = [row["above_spread"] for row in rows]
        colours = [style[row["ordering"]]["color"] for row in rows]
        axes.barh(range(len(rows)), [row["above"] for row in rows], xerr=spread, color=colours, height=0.6)
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlabel("above the lowest, meV/atom")
        axes.set_title(f"{title}: orderings by energy")
        figure.savefig(temporary, format=path.suffix.lstrip(".") or "png", dpi=160)


def ground_state_content(found: GroundState) -> dict[str, Any]:
    """JSON-able; restarts_above in meV/atom."""
    n = len(found.atoms)
    energies = found.search.restart_energies
    return {
        "ordering": found.ordering,
        "atoms": n,
        "energy": found.search.energy,
        "energy_per_atom": found.search.energy / n,
        "magmoms_in": found.search.moments,
        "magmoms": found.magmoms,
        "restarts": len(energies),
        "found": found.search.found,
        "restarts_above": [1e3 * (float(e) - found.search.energy) / n for e in energies],
        "known": [{"ordering": name, "above": above, "above_spread": spread} for name, above, spread in found.known],
        "calculations": found.search.calculations,
        "accepted": found.search.accepted,
    }


def show_ground_state(content: dict[str, Any], out: Path | None) -> None:
    """Lines of text; says so where only one restart found it."""
    typer.echo(f"{content['ordering']}, {content['energy_per_atom']:.5f} eV/atom ({content['atoms']} atoms)")
    above = ", ".join(f"{value:.3f}" for value in content["restarts_above"])
    doubt = "" if content["found"] > 1 else "; found once only, so raise --steps or --restarts"
    typer.echo(f"found by {content['found']} of {content['restarts']} restarts (meV/atom above: {above}){doubt}")
    known = ", ".join(f"{k['ordering']} {k['above']:.2f} ({k['above_spread']:.2f})" for k in content["known"])
    typer.echo(f"known orderings, meV/atom above it (and spread of that over the committee): {known}")
    typer.echo(f"{content['calculations']} energies, {100 * content['accepted']:.0f} % of the flips accepted")
    if out is not None:
        typer.echo(f"written to {out}")


def exchange_content(found: Exchange, spin: float | None) -> dict[str, Any]:
    """JSON-able; constants and errors in meV, E0 in eV per cell, the convention in words."""
    from spinmultinet.heisenberg import mean_field_temperature

    fit, several = found.fit, len(found.members) > 1
    spread = 1e3 * found.members.std(0, ddof=1) if several else None
    sites = len(fit.shells[0].counts)
    return {
        "convention": CONVENTION,
        "shells": [
            {
                "name": shell.name,
                "distance": shell.distance,
                "neighbours": shell.neighbours,
                "J_meV": 1e3 * float(fit.constants[k]),
                "error_meV": 1e3 * float(fit.errors[k]),
                "committee_spread_meV": None if spread is None else float(spread[k]),
            }
            for k, shell in enumerate(fit.shells)
        ],
        "rms_meV_per_site": 1e3 * fit.rms / sites,
        "E0": fit.reference,
        "magnetic_sites": sites,
        "orderings": found.used,
        "left_out": found.left_out,
        "mean_field_K": mean_field_temperature(fit.shells, fit.constants, spin),
        "spin": spin,
    }


def show_exchange(content: dict[str, Any]) -> None:
    """Table of shells, convention, quality of the fit."""
    names = ("name", "distance", "neighbours", "J_meV", "error_meV", "committee_spread_meV")
    columns = ["shell", "Angstrom", "neighbours", "J meV", "error meV", "spread meV"]
    shown = [[None if row[name] != row[name] else row[name] for name in names] for row in content["shells"]]
    print_table(columns, shown)
    typer.echo(content["convention"])
    typer.echo(
        f"{len(content['orderings'])} orderings of {content['magnetic_sites']} magnetic sites, rms residual "
        f"{content['rms_meV_per_site']:.3f} meV per site"
    )
    if content["left_out"]:
        typer.echo(f"left out, because moments flipped or vanished: {', '.join(content['left_out'])}")
    kind = "classical spins" if content["spin"] is None else f"S = {content['spin']:g}"
    typer.echo(f"mean-field ordering temperature {content['mean_field_K']:.0f} K ({kind}); mean field is too high")


def md_content(result: MDResult, timestep: float) -> dict[str, Any]:
    """JSON-able: steps, time (fs), temperature (K), energy (eV), why it ended early."""
    return {
        "steps": result.steps,
        "time_fs": result.steps * timestep,
        "frames": result.frames,
        "temperature": float(result.atoms.get_temperature()),
        "energy": float(result.atoms.get_potential_energy()),
        "flipped": result.flipped,
        "reason": result.reason,
    }
