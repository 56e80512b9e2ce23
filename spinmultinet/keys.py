"""Registry of every tensor field: name, shape, unit, behaviour under rotation and time reversal, extended-XYZ key.

This module is the only place that names extended-XYZ keys; everything else imports them from here.
N = atoms, B = structures, s = spin axes (1 collinear, 3 non-collinear).
"""

from __future__ import annotations

from dataclasses import dataclass

MAGMOM_IN = "magmom_in"
MAGMOM_OUT = "magmom_out"
MAGNETIC_FORCES = "magnetic_forces"
LEVEL_ID = "level_id"
LEVEL_TEXT = "level_of_theory"
MOMENT_ROLE = "moment_role"
PAIR_ID = "pair_id"
ORDERING = "ordering"
DEFORMATION = "deformation"
CONFIG_ID = "config_id"
SPLIT = "split"
SPIN_AXES = "spin_axes"
HEAD = "head"
TRAIN_FINGERPRINT = "train_fingerprint"
MODEL_SHA256 = "model_sha256"
LABEL_KIND, LEVEL_FROM, LEVEL_TO = "label_kind", "level_id_from", "level_id_to"
GUESS, CONSTRAINT = "guess", "constraint"
MOMENT_ROLES = (GUESS, CONSTRAINT)


@dataclass(frozen=True)
class Field:
    """One tensor field.

    `irreps` are those of O(3) in real space (e3nn notation; moments without spin-orbit coupling are scalars there and
    vectors in spin space), `time_parity` is +1 or -1 under reversal of all moments, `xyz_key` is where the extended-XYZ
    file keeps it and `place` says whether that is a per-atom array, an info entry or a calculator result.
    """

    name: str
    shape: tuple[str, ...]
    unit: str
    irreps: str
    time_parity: int
    xyz_key: str | None
    place: str
    doc: str


FIELDS: dict[str, Field] = {
    f.name: f
    for f in (
        Field("species", ("N",), "1", "0e", 1, "species", "array", "index into the model's list of species"),
        Field("positions", ("N", "3"), "Angstrom", "1o", 1, "pos", "array", "Cartesian positions"),
        Field(
            "moments", ("N", "s"), "muB", "0e", -1, MAGMOM_IN, "array", "initial estimate, or constraint, of moments"
        ),
        Field("volume", ("B",), "Angstrom^3", "0e", 1, "Lattice", "cell", "cell volume; NaN unless periodic in 3D"),
        Field("energy", ("B",), "eV", "0e", 1, "free_energy", "result", "free energy if present, else energy"),
        Field("forces", ("N", "3"), "eV/Angstrom", "1o", 1, "forces", "result", "-dE/dr"),
        Field(
            "stress", ("B", "3", "3"), "eV/Angstrom^3", "0e+2e", 1, "stress", "result", "(1/V) dE/d(strain), ASE sign"
        ),
        Field("moments_out", ("N", "s"), "muB", "0e", -1, MAGMOM_OUT, "array", "converged signed moments"),
        Field("magnetic_forces", ("N", "s"), "eV/muB", "0e", -1, MAGNETIC_FORCES, "array", "-dE/dm, constraint data"),
    )
}

UNITS: dict[str, str] = {f.name: f.unit for f in FIELDS.values()}
