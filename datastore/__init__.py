"""Labels of magnetic configurations: documents, stores, verdicts, queries and training snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datastore.schema import ModelRecord, SpinConfig, SpinFailure, SpinPoint
    from datastore.stores import SpinStore, open_store

_HOME = {
    "ModelRecord": "schema",
    "SpinConfig": "schema",
    "SpinFailure": "schema",
    "SpinPoint": "schema",
    "SpinStore": "stores",
    "open_store": "stores",
}
__all__ = ["ModelRecord", "SpinConfig", "SpinFailure", "SpinPoint", "SpinStore", "open_store"]


def __getattr__(name: str) -> Any:
    # pymatgen and maggma take seconds to import; the command line's --help should not wait for them.
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"datastore.{_HOME[name]}"), name)
    raise AttributeError(f"module 'datastore' has no attribute {name!r}")
