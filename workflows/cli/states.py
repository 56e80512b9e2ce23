"""``spinmultinet data metastable``: labels of which a better one of the same state is kept."""

from __future__ import annotations

from dataclasses import asdict

import typer

from workflows.cli.curate import print_used
from workflows.cli.data import AsJson, Filter, Place, _open
from workflows.cli.output import print_json, print_table


def metastable(place: Place, terms: Filter = None, as_json: AsJson = False) -> None:
    """Labels in a metastable state, the highest first: how far above which label, and who has seen them.

    The same geometry and ordering was started several times, and another start ended lower. These labels are
    rejected, and enter no training set any more. Energies in meV/atom.

    \b
    Examples:
      spinmultinet data metastable configs/campaigns/mn_co_ni.yaml
      spinmultinet data metastable local:runs/mn_co_ni/store "formula=CoO excitation>0.01" --json
    """
    from datastore.decisions import affected
    from datastore.queries import excited, parse_filter

    with _open(place) as opened:
        found = list(excited(opened, parse_filter(" ".join(terms or []))))
        used = affected(opened, [point.point_id for point in found])
    if as_json:
        names = ("point_id", "formula", "ordering", "deformation", "start", "excitation", "ground", "verdict_reasons")
        labels = [{name: getattr(point, name) for name in names} for point in found]
        print_json({"labels": labels, "seen_by": [asdict(one) for one in used]})
        return
    if found:
        rows = [
            (p.point_id[:12], p.formula, p.ordering, p.deformation, p.start, 1e3 * (p.excitation or 0.0), p.ground[:12])
            for p in found
        ]
        print_table(["id", "formula", "ordering", "deformation", "start", "above, meV/atom", "kept"], rows)
    typer.echo(f"{len(found)} metastable labels")
    print_used(used)
