"""SpinMultiNet: neural network potentials that know the magnetic moments of the atoms."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calculator import SpinMultiNetCalculator as SpinMultiNetCalculator
    from .checkpoint import load_model as load_model
    from .errors import SpinMultiNetError as SpinMultiNetError
    from .model import build_model as build_model

# Threads of PyTorch on Linux wait for their next work by spinning for milliseconds, on the processors that the threads
# of our kernels want by then. A shorter wait has no effect on PyTorch alone (docs/speed.md), nor where it was
# imported before.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

# Imported on first use: torch takes seconds, and the command line must answer at once.
_LAZY = {
    "build_model": ".model",
    "load_model": ".checkpoint",
    "SpinMultiNetCalculator": ".calculator",
    "SpinMultiNetError": ".errors",
}
__all__ = ["SpinMultiNetCalculator", "SpinMultiNetError", "build_model", "load_model"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module 'spinmultinet' has no attribute '{name}'")
