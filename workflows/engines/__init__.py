"""Engines turn a SpinConfig into a SpinPoint. They are named here and nowhere else."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from workflows.engines.interface import Engine, EngineError, LabelError

__all__ = ["ENGINES", "Engine", "EngineError", "LabelError", "get_engine"]

ENGINES = {
    "gpaw": "workflows.engines.gpaw:GpawEngine",
    "spin-lattice": "workflows.engines.spin_lattice:SpinLatticeEngine",
    "vasp": "workflows.engines.vasp.engine:VaspEngine",
}
"""Engine type -> ``module:class``. Imported on use, so that an engine's packages stay optional."""


def get_engine(spec: dict[str, Any] | str | Path | Engine) -> Engine:
    """Engine from its settings: a dict with ``type``, a type name (defaults), or a YAML file.

    Raises EngineError for an unknown type, key or value, naming the nearest right one.
    """
    from workflows.options import load_yaml, parse_options

    if isinstance(spec, Engine):
        return spec
    if isinstance(spec, str | Path) and str(spec) not in ENGINES:
        spec = load_yaml(Path(spec), EngineError)
    if not isinstance(spec, dict):
        spec = {"type": str(spec)}
    kind = spec.get("type")
    if kind not in ENGINES:
        raise EngineError(f"unknown engine type {kind!r}; known: {', '.join(sorted(ENGINES))}")
    module, _, name = ENGINES[kind].partition(":")
    engine: Engine = parse_options(getattr(import_module(module), name), spec, f"engine {kind}", EngineError)
    return engine
