"""The document of the promotion log: who became the model in use, who was refused, and why."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from datastore.schema import _Document

PromotionAction = Literal["promote", "refuse", "rollback"]


class Promotion(_Document):
    """One entry of the log of a campaign; the newest says which model is in use. Never changed."""

    campaign: str = Field(min_length=1)
    number: int = Field(ge=1, description="1, 2, 3... in this campaign; the order of the log, whatever clocks say")
    action: PromotionAction
    model_id: str = Field(min_length=1, description="model that was promoted, refused or gone back to")
    previous: str = Field(default="", description="model_id in use when it was judged; empty: none")
    by: str = Field(min_length=1, description="person, or the campaign whose job it was")
    reasons: list[str] = Field(min_length=1, description="lines for people")
    created: str = Field(description="ISO 8601 with microseconds, UTC")
    rules: dict[str, Any] = Field(default_factory=dict, description="options it was judged by; empty: by hand")
    compared: list[dict[str, Any]] = Field(
        default_factory=list, description="errors of both models per group and task, on the same labels"
    )
    checks: list[dict[str, Any]] = Field(default_factory=list, description="checks of the model and what they found")

    @property
    def champion(self) -> str:
        """model_id in use from this entry on; empty: none."""
        return self.previous if self.action == "refuse" else self.model_id

    @property
    def promotion_id(self) -> str:
        """``CAMPAIGN:NUMBER``; a store holds each once, which is what makes the log a line."""
        return f"{self.campaign}:{self.number}"

    def to_document(self) -> dict[str, Any]:
        """Stored dict with the id, and the model in use from here on."""
        return {**self.model_dump(), "promotion_id": self.promotion_id, "champion": self.champion}

    @classmethod
    def derived_keys(cls) -> tuple[str, ...]:
        """Both follow from the content."""
        return ("promotion_id", "champion")
