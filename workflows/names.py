"""Names that people and file systems can take."""

from __future__ import annotations

import hashlib

LONGEST = 80
"""Characters. An ordering without a name of its own is written with one sign per magnetic site."""


def short_name(name: str) -> str:
    """``name``, or where it is longer than LONGEST its beginning and a hash of it all, in LONGEST characters."""
    if len(name) <= LONGEST:
        return name
    tail = f"...{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name[: LONGEST - len(tail)] + tail
