"""The error of this room: what is wrong, where, and how to mend it, in one line."""


class StructureError(ValueError):
    """A structure, ordering or deformation that cannot be made as asked. Shown to the user as it is."""


class NoCandidatesError(StructureError):
    """There is no new deformation: none was asked for, or all of fixed amplitude are used up."""
