"""Labels of one level of theory, and one role of the input moments, are compared with each other; others never are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ase import Atoms

from . import keys
from .errors import SpinMultiNetError

UNKNOWN = "unknown"


class LevelWarning(UserWarning):
    """A level of theory, or a role of the moments, is not known: numbers may not be comparable."""


def described(frames: Sequence[Atoms], what: str) -> dict[str, str]:
    """Level of theory and role of the moments that the frames share; frames that do not say are passed over.

    Raises SpinMultiNetError if they mix two of either.
    """
    return {key: _shared(frames, key, what) for key in (keys.LEVEL_ID, keys.MOMENT_ROLE)}


def refuse_sets(frames: Sequence[Atoms], what: str) -> None:
    """Refuse labels of several heads, and labels that are differences of two levels of theory.

    Raises SpinMultiNetError: a model has one energy, and neither is one.
    """
    heads = sorted({str(a.info[keys.HEAD]) for a in frames if keys.HEAD in a.info})
    if len(heads) > 1:
        raise SpinMultiNetError(
            f"{what} has labels of {len(heads)} heads ({', '.join(heads)}); models of several heads are not "
            f"supported yet: select the frames of one {keys.HEAD}"
        )
    kinds = sorted({str(a.info[keys.LABEL_KIND]) for a in frames if keys.LABEL_KIND in a.info})
    if kinds:
        info = next(a.info for a in frames if keys.LABEL_KIND in a.info)
        raise SpinMultiNetError(
            f"{what} has labels that are a {kinds[0]}: level of theory {info.get(keys.LEVEL_TO, UNKNOWN)} minus "
            f"{info.get(keys.LEVEL_FROM, UNKNOWN)}; models of differences are not supported: give labels of one level"
        )


def check_levels(metadata: Mapping[str, Any], frames: Sequence[Atoms]) -> list[str]:
    """Compare labelled frames with the `metadata` of a model. Returns what could not be compared, one line each.

    Raises SpinMultiNetError if the frames mix levels of theory or roles of the moments, or differ from the model's, or
    are differences of levels.
    """
    refuse_sets(frames, "the set of structures to evaluate")
    notes = []
    for key, found in described(frames, "the set of structures to evaluate").items():
        trained = str(metadata.get(key) or UNKNOWN)
        without = sum(key not in a.info for a in frames)
        if UNKNOWN not in (found, trained) and found != trained:
            raise SpinMultiNetError(_differ(key, trained, found))
        if trained == UNKNOWN and key == keys.LEVEL_ID:
            notes.append(
                f"the model does not say its {key}: errors mean something only if the labels are of the level it was "
                "trained on"
            )
        elif without and (key == keys.LEVEL_ID or trained == keys.CONSTRAINT):
            notes.append(
                f"{without} of {len(frames)} structures have no {key}; the model's is '{trained}'. Errors mean "
                f"something only if it is theirs too: set atoms.info['{key}']"
            )
    return notes


def check_role(metadata: Mapping[str, Any], frames: Sequence[Atoms]) -> None:
    """Refuse input moments whose known role is another than the model's: a guess is no constraint."""
    trained = str(metadata.get(keys.MOMENT_ROLE) or UNKNOWN)
    found = _shared(frames, keys.MOMENT_ROLE, "the list of structures")
    if UNKNOWN not in (found, trained) and found != trained:
        raise SpinMultiNetError(_differ(keys.MOMENT_ROLE, trained, found))


def other_level(metadata: Mapping[str, Any], frames: Sequence[Atoms]) -> str:
    """A line for people who predict structures that carry labels of another level than the model's; '' if none do."""
    trained = str(metadata.get(keys.LEVEL_ID) or UNKNOWN)
    others = {str(a.info[keys.LEVEL_ID]) for a in frames if keys.LEVEL_ID in a.info} - {trained, UNKNOWN}
    if trained == UNKNOWN or not others:
        return ""
    return (
        f"labels in these files are of {keys.LEVEL_ID} {', '.join(sorted(others))}, predictions of {trained}, the "
        "model's: energies are not comparable"
    )


def _shared(frames: Sequence[Atoms], key: str, what: str) -> str:
    values = {str(a.info[key]) for a in frames if key in a.info} - {UNKNOWN}
    if len(values) > 1:
        raise SpinMultiNetError(
            f"{what} mixes {key} {', '.join(sorted(repr(v) for v in values))}; such labels are not comparable: "
            "select one of them"
        )
    return values.pop() if values else UNKNOWN


def _differ(key: str, trained: str, found: str) -> str:
    remedy = {
        keys.LEVEL_ID: "evaluate on labels of the model's level, or train a model on labels of this one",
        keys.MOMENT_ROLE: "give structures whose input moments have the model's role, or another model",
    }[key]
    return f"the model's {key} is '{trained}', that of the structures is '{found}': not comparable; {remedy}"
