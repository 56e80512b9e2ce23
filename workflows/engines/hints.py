"""Hints of occupation matrices: an engine honours them or refuses them, and never passes them over."""

from __future__ import annotations

from datastore.schema import SpinConfig
from workflows.engines.interface import LabelError


def refuse_occupations(engine: str, config: SpinConfig) -> None:
    """For engines that cannot start from occupation matrices. Raises LabelError (refused) where there are some."""
    if config.occupations:
        raise LabelError(
            f"engine {engine!r} cannot start from occupation matrices; leave out 'occupations', or start from other "
            "moments (workflows.structures.starts)",
            "refused",
        )
