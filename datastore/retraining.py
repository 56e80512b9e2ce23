"""The documents about retrainings: what each came to, and the flags by which people ask for one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from datastore.schema import HASHED_VERSION, _Document, content_hash

Outcome = Literal["", "promoted", "refused", "unchanged", "failed", "abandoned"]
"""Empty: not at its end; unchanged: there was nothing new to train on; abandoned: the campaign file was changed on the
way, or another model was put to use."""

DECIDED: tuple[Outcome, ...] = ("promoted", "refused", "unchanged")
"""Outcomes after which the labels that were there count as seen."""


class Retraining(_Document):
    """One retraining of a campaign's model. Written where it begins, and again at its end."""

    retraining_id: str
    campaign: str
    key: str = Field(description="what there was to train on, and why; the same key is the same work")
    fingerprint: str = Field(description="of the campaign file")
    why: list[str] = Field(description="reasons that made it due")
    champion: str = Field(description="model_id in use when it began")
    labels: int = Field(default=0, ge=0, description="accepted labels there were to train and test on")
    unseen: int = Field(default=0, ge=0, description="of these, those that the model in use had not seen")
    drift: dict[str, float] = Field(
        default_factory=dict, description="task -> error of the model in use on those, over that on the random test set"
    )
    flags: list[str] = Field(default_factory=list, description="flag_ids that it answers")
    host: str = ""
    started: str = Field(description="ISO 8601, UTC")
    ended: str = Field(default="", description="ISO 8601, UTC; empty before its end")
    outcome: Outcome = ""
    model_id: str = Field(default="", description="of the new model; empty where there is none")
    snapshot_id: str = ""
    reasons: list[str] = Field(
        default_factory=list, description="lines for people: why it was promoted, refused, failed"
    )
    notified: bool = Field(default=False, description="whether those who want to know were told of the outcome")
    code_version: str = ""


class RetrainFlag(_Document):
    """A person asks for a retraining. Answered by the first retraining that comes to a decision and names it."""

    campaign: str
    reason: str = Field(min_length=1)
    author: str = ""
    created: str = Field(description="ISO 8601 with microseconds, UTC")

    @property
    def flag_id(self) -> str:
        """24 hex digits of the content."""
        return content_hash({**self.model_dump(), "schema_version": HASHED_VERSION})

    def to_document(self) -> dict[str, Any]:
        """Stored dict with ``flag_id``, which identifies it."""
        return {**self.model_dump(), "flag_id": self.flag_id}

    @classmethod
    def derived_keys(cls) -> tuple[str, ...]:
        """``flag_id`` follows from the content."""
        return ("flag_id",)
