"""The error a person can mend: what is wrong, where, and how to mend it, in one line."""


class DataError(ValueError):
    """Bad input to, or bad content of, the data layer. The message is shown to the user as it is."""


class MissingRequirementError(DataError):
    """A Python package that this machine lacks; the message says how to get it."""
