"""What is wrong with a model that cannot be used, or with the wish to use it."""

from __future__ import annotations

from datastore.errors import DataError


class UnfitModelError(DataError):
    """A model whose files are damaged, gone, or not those of its record. Nothing overrules it."""


class RefusedError(RuntimeError):
    """A promotion that the rules speak against; the message says why."""
