"""VASP through custodian: inputs that are checked, outputs that are cross-checked, folders of others."""
