"""Existing VASP runs and task documents become labels: found, read by several processes, converted, never guessed."""
