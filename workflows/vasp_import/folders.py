"""A run folder of VASP -> :class:`~workflows.vasp_import.convert.Raw`."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymatgen.io.vasp import Incar

from datastore.checksums import file_sha256
from datastore.mapping import RefusedError
from workflows.engines.vasp.corrections import read_corrections
from workflows.engines.vasp.folder import POTCARS
from workflows.engines.vasp.levels import kpoints_rule, kpts_of_run
from workflows.engines.vasp.output_files import read_bytes
from workflows.engines.vasp.outputs import OutputError, VaspResult, read_run
from workflows.engines.vasp.potcars import digest, identity
from workflows.engines.vasp.tags import holds_occupations
from workflows.vasp_import.convert import Raw
from workflows.vasp_import.discover import Run, printable

_PACKED = ("", ".gz", ".GZ", ".bz2", ".xz", ".lzma")
LARGEST_PENALTY = 1e-3
"""eV/atom; what our own engine allows at most."""

_PENALTY = re.compile(r"^\s*E_p\s*=\s*(\S+)", re.MULTILINE)
_TITEL = re.compile(r"^\s*TITEL\s*=\s*(.*?)\s*$", re.MULTILINE)


def read_folder(run: Run, root: str) -> Raw:
    """What a run says. ``root``: the path that was given, to which the label's ``source.file`` is relative.

    Raises RefusedError.
    """
    with _alone(run) as folder:
        try:
            result = read_run(folder)
            corrections = read_corrections(folder)
            comment = _first_line(folder, "KPOINTS.orig" if corrections.level_changes else "KPOINTS")
            hashes = _hashes(folder, result.potcars)
            incar = _original(folder, result) if corrections.level_changes else result.incar
            _check_penalty(folder, result)
            if holds_occupations(_text(folder, "INCAR")):  # a patched VASP repeats the tag in no output
                raise RefusedError("occupations held", "occupation matrices were held: the energy belongs to no state")
        except OutputError as error:
            raise RefusedError(error.reason, _told(str(error), folder, run)) from None
        except OSError as error:
            raise RefusedError("unreadable", f"{run.origin}: {error.strerror or error}") from None
        sums = {name: file_sha256(path) for name, path in zip(("vasprun", "outcar"), result.files, strict=True)}
    assert result.magmoms_out is not None  # read_run refuses runs without
    return Raw(
        **{name: getattr(result, name) for name in _SAME},
        incar=incar,
        symbols=result.blocks,
        titels=result.potcars,
        potcars=[identity(titel, sha) for titel, sha in zip(result.potcars, hashes, strict=True)],
        kpts=kpts_of_run(incar, comment, result.centring),
        timings=_timings(result.timings),
        corrections=corrections.texts,
        history=corrections.history,
        changes=corrections.level_changes,
        own=bool(kpoints_rule(comment)),
        source={"file": _relative(run, root), "sha256": sums["outcar"], "vasprun_sha256": sums["vasprun"]},
    )


_SAME = (
    "species",
    "lattice",
    "positions",
    "magmoms_in",
    "magmoms_out",
    "energy",
    "free_energy",
    "forces",
    "stress",
    "total_moment",
    "charges",
    "band_gap",
    "kpoints",
    "parameters",
    "version",
    "n_ionic",
    "from_atoms",
)
"""Fields of a VaspResult that go over as they are."""


@contextmanager
def _alone(run: Run) -> Iterator[Path]:
    """The folder of a run; of several in one folder, a view in which it stands alone under the usual names."""
    if not run.suffix:
        yield Path(run.folder)
        return
    with tempfile.TemporaryDirectory(prefix="vasp-run-") as view:
        for standard, name in run.files:
            Path(view, standard).symlink_to(Path(run.folder, name))
        yield Path(view)


def _told(text: str, folder: Path, run: Run) -> str:
    """The message without the folder, which the report names anyhow."""
    return text.replace(f"{folder}/", "").replace(f"{folder}: ", "").replace(str(folder), printable(run.folder))


def _relative(run: Run, root: str) -> str:
    try:
        path = printable(str(Path(run.folder).relative_to(root)))
    except ValueError:
        path = printable(run.folder)
    return path + (f" ({run.suffix})" if run.suffix else "")


def _find(folder: Path, name: str) -> Path | None:
    return next((path for end in _PACKED if (path := folder / f"{name}{end}").is_file()), None)


def _text(folder: Path, name: str) -> str:
    path = _find(folder, name)
    return "" if path is None else read_bytes(path).decode("utf-8", "replace")


def _first_line(folder: Path, name: str) -> str:
    """The comment of KPOINTS, ``-`` for an empty one; empty without a file."""
    text = _text(folder, name)
    return (text.splitlines()[0].strip() or "-") if text.strip() else ""


def _original(folder: Path, result: VaspResult) -> dict[str, Any]:
    """The INCAR before custodian changed what decides numbers, as the engine's own labels state it."""
    text = _text(folder, "INCAR.orig")
    return dict(Incar.from_str(text)) if text else result.incar


def _hashes(folder: Path, titels: tuple[str, ...]) -> list[str | None]:
    """Hash of the POTCAR of each block, where the file, or our note of it, is there and is the one the run names."""
    text = _text(folder, "POTCAR")
    if not text:
        return _noted(folder, titels)
    parts = [part for part in re.split(r"(?<=End of Dataset)[^\n]*\n?", text) if part.strip()]
    named = [" ".join(match[1].split()) if (match := _TITEL.search(part)) else "" for part in parts]
    if named != [" ".join(titel.split()) for titel in titels]:
        raise RefusedError("inconsistent", f"POTCAR has {', '.join(named)}, OUTCAR {', '.join(titels)}")
    return [digest(part) for part in parts]


def _noted(folder: Path, titels: tuple[str, ...]) -> list[str | None]:
    """Hashes that our engine left in the place of the POTCAR; None where there is no such note, or of another run."""
    try:
        parts = json.loads(_text(folder, POTCARS) or "[]")
        known = {" ".join(part["titel"].split()): str(part["sha256"]) for part in parts}
    except (ValueError, TypeError, KeyError, AttributeError):
        known = {}
    return [known.get(" ".join(titel.split())) for titel in titels]


def _check_penalty(folder: Path, result: VaspResult) -> None:
    """Refuse the energy of held moments with a large penalty in it: it is that of other moments."""
    if not (result.parameters.get("I_CONSTRAINED_M") or result.incar.get("I_CONSTRAINED_M")):
        return
    found = _PENALTY.findall(_text(folder, "OSZICAR"))
    if not found:
        raise RefusedError("penalty not known", "moments were held, and no OSZICAR says with which penalty energy E_p")
    try:
        each = abs(float(found[-1])) / len(result.species)
    except ValueError:
        raise RefusedError("overflow", f"OSZICAR has {found[-1][:20]} for the penalty energy E_p") from None
    if not each <= LARGEST_PENALTY:
        raise RefusedError("penalty too large", f"holding the moments took {1000 * each:.2g} meV/atom; raise LAMBDA")


def _timings(found: dict[str, float]) -> dict[str, float]:
    """Wall seconds and cores, for the ledger of costs; VASP's CPU time is that of one rank."""
    return {name: found[name] for name in ("wall", "cores") if name in found}
