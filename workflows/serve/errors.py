"""What keeps the page from being served."""

from __future__ import annotations


class ServeError(ValueError):
    """Something that was asked for and cannot be served; the message names the remedy."""
