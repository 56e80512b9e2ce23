"""The one exception of the package."""


class SpinMultiNetError(ValueError):
    """Something the user gave cannot be used. The message says what is wrong, where, and how to mend it."""
