"""Calibration of a committee: one factor per task that turns the spread of its members into the expected error.

With the factor one spread covers as many errors as one sigma of normally distributed ones would (68 % of scalars), on
labels that the members were not trained on. It is kept in a small JSON file beside the members, under a name made of
their checksums: members that were trained again have none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import keys
from .data import fingerprint
from .errors import SpinMultiNetError
from .levels import described
from .uncertainty import SIGMAS, SPREADS, Task

FORMAT = "spinmultinet-calibration"
VERSION = 1
LEAST = 10
"""Structures with labels of a task that a factor needs: errors within one structure are not independent.

The relative error of the factor is about 1/sqrt(n) for n independent errors.
"""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskFactor(_Document):
    """Factor of one task, and what it was made of."""

    factor: float = Field(gt=0.0, description="a spread times this is the expected error, one sigma")
    rms_error: float
    rms_spread: float
    unit: str = Field(description="of rms_error and rms_spread")
    n: int = Field(description="values: structures (energy per atom), atoms (forces) or magnetic sites (moments)")


class Calibration(_Document):
    """Factors of a committee, of which members they are true, and the labels they come from."""

    format: Literal["spinmultinet-calibration"] = "spinmultinet-calibration"
    version: int = VERSION
    members: list[str] = Field(
        description="SHA-256 of the members' checkpoints (of their weights, for models in memory)"
    )
    iterate: int = Field(default=0, description="rounds in which predicted moments were fed back")
    data_fingerprint: str = Field(description="SHA-256 of geometries, moments and labels")
    n_structures: int
    level_id: str
    moment_role: str
    factors: dict[Task, TaskFactor]
    checksum: str = Field(default="", description="SHA-256 of everything else")

    def applied(self, prediction: dict[str, Any]) -> dict[str, Any]:
        """The prediction with `energy_sigma` (eV), `forces_sigma` [N] (eV/Angstrom), `magmoms_sigma` [N] (muB).

        Those of another calibration are replaced.
        """
        bare = {k: v for k, v in prediction.items() if k not in SIGMAS.values()}
        found = {
            SIGMAS[t]: f.factor * prediction[SPREADS[t]] for t, f in self.factors.items() if SPREADS[t] in prediction
        }
        return bare | found


def fitted(
    uncertainty: dict[str, Any], frames: Sequence[Atoms], members: Sequence[str] = (), iterate: int = 0
) -> Calibration:
    """Calibration from `evaluate(committee, frames)["uncertainty"]`.

    Tasks with labels in fewer than LEAST structures have no factor. Raises SpinMultiNetError if no task has
    enough, or there is one member only, whose spread is zero.
    """
    if not uncertainty:
        raise SpinMultiNetError(
            "nothing to calibrate: the members do not differ, or nothing is labelled; a committee needs two members or "
            "more (spinmultinet train --committee 4)"
        )
    enough = {task: uncertainty[task] for task in SPREADS if _structures(uncertainty, task) >= LEAST}
    factors = {task: _factor(found) for task, found in enough.items() if found["ratio"] is not None}
    if not factors:
        raise SpinMultiNetError(
            f"{len(frames)} structures are too few for a calibration: a task needs labels in {LEAST} of them; give more"
        )
    kind = described(frames, "the set of structures to calibrate on")
    return Calibration(
        members=sorted(members),
        iterate=iterate,
        data_fingerprint=fingerprint(frames),
        n_structures=len(frames),
        level_id=kind[keys.LEVEL_ID],
        moment_role=kind[keys.MOMENT_ROLE],
        factors=factors,
    )


def _structures(uncertainty: dict[str, Any], task: Task) -> int:
    return int(uncertainty[task]["n_structures"]) if task in uncertainty else 0


def _factor(found: dict[str, Any]) -> TaskFactor:
    told = {k: found[k] for k in ("rms_error", "rms_spread", "unit", "n")}
    return TaskFactor(factor=found["ratio"], **told)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def calibration_file(checkpoints: Sequence[Path], members: Sequence[str], iterate: int) -> Path:
    """Where the calibration of these checkpoints (with these checksums) is kept: the folder they share.

    It is the nearest one that each of them lies in directly or one folder below: nio for nio/member_*/model.pt. Raises
    SpinMultiNetError if there is none: what contains more than the members is not theirs to write to.
    """
    folder = _shared_folder([path.resolve().parent for path in checkpoints])
    if folder is None:
        raise SpinMultiNetError(
            f"the {len(checkpoints)} members share no folder that a calibration could be kept in; move them into one "
            "(nio/member_0/model.pt, nio/member_1/model.pt), or name a file for it (--calibration FILE)"
        )
    name = hashlib.sha256("\n".join([*sorted(members), str(iterate)]).encode()).hexdigest()[:12]
    return folder / f"calibration_{name}.json"


def _shared_folder(folders: Sequence[Path]) -> Path | None:
    if len(set(folders)) == 1:
        return folders[0]
    shared = set.intersection(*({folder, folder.parent} for folder in folders))
    shared -= {Path(folders[0].anchor), Path(os.path.expanduser("~")).resolve()}  # of the whole machine or person
    return max(shared, key=lambda folder: len(folder.parts), default=None)


def write_calibration(calibration: Calibration, path: Path) -> Path:
    """Write JSON with a checksum, whole or not at all. Returns the path. Raises SpinMultiNetError if that fails."""
    document = calibration.model_copy(update={"checksum": _checksum(calibration)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(document.model_dump_json(indent=1) + "\n")
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise SpinMultiNetError(
            f"cannot write '{path}': {error.strerror}; free some space or choose another folder"
        ) from error
    return path


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file. Raises SpinMultiNetError if it is missing, newer, or not as it was written."""
    try:
        found = Calibration.model_validate_json(path.read_text())
    except OSError as error:
        raise SpinMultiNetError(f"calibration '{path}' cannot be read ({error.strerror}); check the path") from None
    except (ValidationError, UnicodeDecodeError):
        raise SpinMultiNetError(
            f"calibration '{path}' is no {FORMAT} file that this program can read; remove it and calibrate again"
        ) from None
    if found.version > VERSION:
        raise SpinMultiNetError(
            f"calibration '{path}' has version {found.version}, this program reads up to {VERSION}; update spinmultinet"
        )
    if found.checksum != _checksum(found):
        raise SpinMultiNetError(
            f"calibration '{path}' was changed (its checksum differs); remove it and calibrate again"
        )
    return found


def _checksum(calibration: Calibration) -> str:
    return hashlib.sha256(calibration.model_dump_json(exclude={"checksum"}).encode()).hexdigest()
