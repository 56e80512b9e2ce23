"""What the split of a campaign keeps for tests only, and exploration therefore leaves alone."""

from __future__ import annotations

from datastore.schema import SpinConfig
from datastore.splits import SplitOptions

HELD_OUT = "held out"
"""Why a candidate is dropped."""


def is_held_out(config: SpinConfig, split: SplitOptions) -> bool:
    """Whether ``split`` holds out the ordering or the composition (reduced formula, or an element) of ``config``."""
    return not set(split.held_out).isdisjoint({config.ordering, config.formula, *config.species})
