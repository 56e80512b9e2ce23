"""The card of a dataset: what is in an export, at which level of theory, how to check it and whom to cite."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pymatgen.core import Composition

from datastore.checksums import file_sha256
from datastore.exports.extxyz import FrameText
from datastore.exports.labels import Labelled
from datastore.splits import SPLITS

CITE = (
    "Cite *SpinMultiNet: Neural Network Potential Incorporating Spin Degrees of Freedom with Multi-Task Learning*, "
    "this software (spinmultinet-workflows, MIT licence), and the code that computed the labels."
)

UNITS = {
    "energies": "eV per cell; forces and stress are derivatives of the free energy",
    "forces": "eV/Angstrom",
    "stress": "eV/Angstrom^3, tension positive (ASE's sign), where the format says nothing else",
    "lattice, positions": "Angstrom, Cartesian, rows are lattice vectors",
    "moments": "muB, signed; `magmom_in` as asked for, `magmom_out` and `magmoms` converged",
    "magnetic forces": "eV/muB, minus dE/dm, where a label has them",
}

_GROUPING = ("composition", "ordering", "deformation", "verdict")


@dataclass
class Tally:
    """What an export holds, counted while it is written."""

    labels: int = 0
    atoms: int = 0
    without_stress: int = 0
    other_ordering: int = 0
    groups: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """(composition, ordering, deformation, verdict) -> labels."""
    splits: Counter[str] = field(default_factory=Counter)
    engines: Counter[tuple[str, str]] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    origins: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(citation, licence, URL) of imported labels -> labels."""

    def add(self, facts: Mapping[str, Any], species: tuple[str, ...], stress: bool) -> None:
        """Count one label: its fields by name, the element of each site, and whether it has stress."""
        self.labels += 1
        self.atoms += len(species)
        self.without_stress += not stress
        self.other_ordering += facts["ordering"] != facts["ordering_found"]
        self.groups[(formula(species), facts["ordering"], facts["deformation"], facts["verdict"])] += 1
        self.splits[facts["split"] or ""] += 1
        self.engines[(facts["engine"], facts["engine_version"])] += 1
        self.roles[facts["moment_role"]] += 1
        source = facts["source"] or {}
        if source := json.loads(source) if isinstance(source, str) else source:
            self.origins[tuple(str(source.get(key, "")) for key in ("citation", "licence", "url"))] += 1  # type: ignore[index]

    def add_text(self, frame: FrameText) -> None:
        """Count a label in a frame as it stands in a file."""
        self.add({key: frame.value(key) for key in FACTS}, frame.species, "stress" in frame.info)

    def add_label(self, labelled: Labelled) -> None:
        """Count a label."""
        point = labelled.point
        facts = {key: getattr(point, key) for key in FACTS if key != "split"}
        self.add({**facts, "split": labelled.split}, tuple(point.species), point.stress is not None)


_LABELLED = ("ordering", "ordering_found", "deformation", "verdict", "split")
FACTS = (*_LABELLED, "engine", "engine_version", "moment_role", "source")


@lru_cache(maxsize=1024)
def formula(species: tuple[str, ...]) -> str:
    """Reduced formula, as :attr:`datastore.schema.SpinConfig.formula`."""
    return str(Composition(Counter(species)).reduced_formula)


@dataclass(frozen=True)
class About:
    """What a card says besides counts."""

    title: str
    source: str
    """Where the labels came from, without password."""
    level_id: str
    level_name: str
    theory: dict[str, Any]
    format: str
    command: str
    """That made it; empty where it was none."""
    created: str
    """Date, the only thing on a card that differs between two equal exports."""
    snapshot_id: str = ""


def card(about: About, tally: Tally, files: Mapping[str, Path]) -> str:
    """Markdown; ``files``: name on the card -> where the file is now, to take its checksum."""
    parts = [
        _head(about, tally),
        "## Level of theory\n",
        f"{about.level_name}, id `{about.level_id}`. All labels are at this one level.\n",
        f"```json\n{json.dumps(about.theory, indent=1, sort_keys=True)}\n```\n",
        _counted("Engine", "version", tally.engines),
        "## Contents\n",
        _contents(tally),
        "## Splits\n",
        _splits(about, tally),
        "## Units\n",
        _table(("quantity", "unit and sign"), UNITS.items()),
        "## Files\n",
        _table(("file", "bytes", "SHA-256"), [(n, p.stat().st_size, file_sha256(p)) for n, p in sorted(files.items())]),
        "Check them with `sha256sum`.\n",
        "## How to cite\n",
        _cite(tally),
        "## How it was made\n",
        f"    {about.command}\n" if about.command else "Written from Python.\n",
    ]
    return "\n".join(parts)


def _head(about: About, tally: Tally) -> str:
    return (
        f"# {about.title}\n\n{tally.labels} labels, {tally.atoms} atoms, from {about.source}, as {about.format}. "
        f"Written on {about.created}.\n"
    )


def _contents(tally: Tally) -> str:
    rows = [(*group, count) for group, count in sorted(tally.groups.items())]
    roles = ", ".join(f"{count} {role}" for role, count in sorted(tally.roles.items()))
    notes = [f"Role of the input moments: {roles} (guess: moments relaxed; constraint: they were held)."]
    if tally.other_ordering:
        notes.append(f"{tally.other_ordering} labels ended in another ordering than asked for.")
    if tally.without_stress:
        notes.append(f"{tally.without_stress} labels have no stress.")
    return _table((*_GROUPING, "labels"), rows) + "\n" + " ".join(notes) + "\n"


def _splits(about: About, tally: Tally) -> str:
    if not about.snapshot_id:
        return "None; `spinmultinet data snapshot` makes splits without leaks, and its folder can be exported.\n"
    rows = [(split, tally.splits[split]) for split in SPLITS]
    told = f"Of snapshot `{about.snapshot_id}`. Labels of one geometry, and of equal geometries, are in one split."
    return _table(("split", "labels"), rows) + f"\n{told}\n"


def _cite(tally: Tally) -> str:
    lines = [CITE]
    for (citation, licence, url), count in sorted(tally.origins.items()):
        told = "; ".join(
            f"{name}: {text}" for name, text in (("cite", citation), ("licence", licence), ("from", url)) if text
        )
        lines.append(f"- {count} imported labels: {told or 'their authors stated neither citation nor licence'}.")
    return "\n".join(lines) + "\n"


def _counted(first: str, second: str, counts: Counter[tuple[str, str]]) -> str:
    return _table((first, second, "labels"), [(*key, count) for key, count in sorted(counts.items())])


def _table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [_row(columns), _row("---" for _ in columns), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
