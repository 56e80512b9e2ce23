"""Which key of a foreign file is what, in which unit and with which sign; and the conversion to ours.

Nothing is guessed: a unit, sign or role that is not stated has the default documented at its field, and numbers that no
oxide can have under it are refused (:mod:`datastore.plausible`) instead of being converted until they fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from ase import units
from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, model_validator

from datastore.errors import DataError
from datastore.plausible import implausible
from datastore.schema import FloatArray, MomentRole

EnergyUnit = Literal["eV", "eV/atom", "meV", "Hartree", "Ry"]
ForceUnit = Literal["eV/Angstrom", "meV/Angstrom", "Hartree/Bohr", "Ry/Bohr"]
StressUnit = Literal["eV/Angstrom^3", "GPa", "kB", "kbar"]
Layout = Literal["ase", "spinmultinet", "mace", "deepspin"]

_ENERGY = {"eV": 1.0, "eV/atom": 1.0, "meV": 1e-3, "Hartree": units.Hartree, "Ry": units.Rydberg}
_LENGTH = {"Angstrom": 1.0, "nm": 10.0, "Bohr": units.Bohr}
_FORCE = {
    "eV/Angstrom": 1.0,
    "meV/Angstrom": 1e-3,
    "Hartree/Bohr": units.Hartree / units.Bohr,
    "Ry/Bohr": units.Rydberg / units.Bohr,
}
_STRESS = {"eV/Angstrom^3": 1.0, "GPa": units.GPa, "kB": 0.1 * units.GPa, "kbar": 0.1 * units.GPa}
_VOIGT = {"ase": (0, 5, 4, 5, 1, 3, 4, 3, 2), "vasp": (0, 3, 5, 3, 1, 4, 5, 4, 2)}
"""Where the nine components of the tensor stand among xx yy zz yz xz xy (ASE), and xx yy zz xy yz zx (VASP)."""

LAYOUTS: dict[Layout, dict[str, str]] = {
    "ase": {
        "energy": "energy",
        "free_energy": "free_energy",
        "forces": "forces",
        "stress": "stress",
        "magmoms_in": "initial_magmoms",
        "magmoms_out": "magmoms",
    },
    "spinmultinet": {
        **{name: name for name in ("energy", "free_energy", "forces", "stress", "total_moment", "band_gap")},
        **{name: name for name in ("magnetic_forces", "ordering", "pair_id", "parent", "deformation", "cell")},
        "parent_lattice": "parent_lattice",
        "deformation_parameters": "deformation_parameters",
        "magmoms_in": "magmom_in",
        "magmoms_out": "magmom_out",
    },
    "mace": {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"},
    "deepspin": {
        "energy": "energy",
        "forces": "forces",
        "stress": "stress",
        "magmoms_in": "magmom_in",
        "magmoms_out": "magmom_in",
        "magnetic_forces": "magnetic_forces",
    },
}
"""Keys of well-known layouts. DeepSPIN holds the moments it is given, so its input and output are one column."""

ALIASES: dict[str, tuple[str, ...]] = {
    "energy": ("energy", "REF_energy", "dft_energy", "energy_dft", "total_energy", "TotEnergy", "E0"),
    "free_energy": ("free_energy", "REF_free_energy", "dft_free_energy"),
    "forces": ("forces", "REF_forces", "dft_forces", "forces_dft", "force"),
    "stress": ("stress", "REF_stress", "dft_stress"),
    "virial": ("virial", "REF_virial", "dft_virial", "virials"),
    "magmoms_in": ("magmom_in", "initial_magmoms", "REF_magmom_in", "spin"),
    "magmoms_out": ("magmom_out", "magmoms", "REF_magmom", "REF_magmoms", "magmom", "dft_magmom", "spin"),
    "magnetic_forces": ("magnetic_forces", "force_mag", "forces_mag", "mag_forces"),
    "total_moment": ("total_moment", "magmom_total"),
    "band_gap": ("band_gap", "bandgap"),
    "ordering": ("ordering", "magnetic_ordering"),
    "parent": ("parent",),
    "deformation": ("deformation",),
    "cell": ("cell_type",),
    "wall_seconds": ("seconds", "wall_seconds", "wall_time"),
    "cores": ("cores", "n_cores", "ncores"),
}
"""Names that a proposal looks for, the likeliest first. No ``pair_id``: a file's is seldom unique in a store."""

_TRUE = ("T", "TRUE", "True", "true", "1")

TEXTS = ("ordering", "pair_id", "parent", "deformation", "cell")
REQUIRED = ("forces", "magmoms_in", "magmoms_out")


class RefusedError(DataError):
    """One frame that cannot become a label; ``reason`` is the same text for all frames with that fault."""

    def __init__(self, reason: str, detail: str = ""):
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UnitOptions(_Options):
    """Units of the file. Moments are in muB, and magnetic forces in ``energy`` per muB."""

    energy: EnergyUnit = Field("eV", description="eV, eV/atom, meV, Hartree or Ry; of total energies and virials")
    length: Literal["Angstrom", "nm", "Bohr"] = "Angstrom"
    force: ForceUnit | None = Field(None, description="has to be stated unless energy is eV or eV/atom")
    stress: StressUnit = Field("eV/Angstrom^3", description="eV/Angstrom^3, GPa, or kB (kbar)")

    @model_validator(mode="after")
    def _stated(self) -> UnitOptions:
        if self.force is None and (self.energy not in ("eV", "eV/atom") or self.length != "Angstrom"):
            raise ValueError(f"state force as well, such as {_like(self.energy)}; it does not follow from the others")
        return self


def _like(energy: str) -> str:
    return {"Hartree": "Hartree/Bohr", "Ry": "Ry/Bohr", "meV": "meV/Angstrom"}.get(energy, "eV/Angstrom")


class ImportMapping(_Options):
    """Keys of a foreign file, its units and its conventions: the content of ``--mapping MAP.yaml``.

    A key is a per-atom column, a key of the comment line, a calculator's result, a field of an ASE database or a column
    of a table. What is named here has to be in every frame; what only ``layout`` names is taken where present.
    """

    layout: Layout = Field("ase", description="whose names hold where none is given here: see LAYOUTS")
    moment_role: MomentRole = Field(description="guess: moments relaxed from magmoms_in; constraint: they were held")
    energy: str | None = Field(None, description="total energy, extrapolated to zero smearing")
    free_energy: str | None = Field(None, description="whose derivatives the forces are; without it, energy")
    forces: str | None = Field(None, description="(N, 3)")
    stress: str | None = Field(None, description="6 numbers or 3x3")
    virial: str | None = Field(None, description="6 numbers or 3x3, in the energy's unit: minus stress times volume")
    magmoms_in: str | None = Field(None, description="(N,) or (N, 3), muB, signed")
    magmoms_out: str | None = Field(None, description="(N,) or (N, 3), muB, signed")
    magnetic_forces: str | None = Field(None, description="-dE/dm, (N,) or (N, 3)")
    total_moment: str | None = Field(None, description="muB per cell; without it, the sum of magmoms_out")
    band_gap: str | None = Field(None, description="eV")
    ordering: str | None = Field(None, description="name of the ordering; without it, named after the input moments")
    pair_id: str | None = Field(None, description="unique in the store; without it, from the geometry")
    parent: str | None = None
    parent_lattice: str | None = Field(None, description="(3, 3)")
    deformation: str | None = Field(None, description="without it, 'unknown'")
    deformation_parameters: str | None = Field(None, description="a mapping, or JSON text of one")
    cell: str | None = Field(None, description="cell type; without it, 'custom'")
    wall_seconds: str | None = Field(None, description="wall time of the calculation, s, for the ledger of costs")
    cores: str | None = Field(None, description="cores that it ran on; without it, one")
    species: str = Field("species", description="of tables: list of symbols or of atomic numbers")
    lattice: str = Field("lattice", description="of tables: (3, 3), rows are vectors")
    positions: str = Field("positions", description="of tables: (N, 3) Cartesian")
    pbc: str = Field("pbc", description="of tables; periodic where there is no such column")
    units: UnitOptions = UnitOptions()  # type: ignore[call-arg]
    stress_sign: Literal["ase", "vasp"] = Field("ase", description="ase: tension positive; vasp: pressure positive")
    stress_order: Literal["ase", "vasp"] = Field(
        "ase", description="of 6 numbers; the last three are yz xz xy or xy yz zx"
    )
    fixed: dict[Literal["ordering", "pair_id", "parent", "deformation", "cell"], str] = Field(
        default_factory=dict, description="values for all frames, such as {ordering: NC}"
    )

    @model_validator(mode="after")
    def _possible(self) -> ImportMapping:
        if self.key("energy") is None and self.key("free_energy") is None:
            raise ValueError("name the key of energy, free_energy or both")
        for name in REQUIRED:
            if self.key(name) is None:
                raise ValueError(f"{name} has no key; name it (the keys of a file: data import --show-keys FILE)")
        if self.stress is not None and self.virial is not None:
            raise ValueError("stress and virial are both named; name one")
        if self.moment_role == "guess" and self.key("magmoms_in") == self.key("magmoms_out"):
            raise ValueError("magmoms_in and magmoms_out are one key; that needs moment_role: constraint")
        if self.key("band_gap") is not None and self.key("total_moment") is None:
            raise ValueError("band_gap needs total_moment: with a gap, the total moment has to be an integer")
        if clash := sorted(name for name in self.fixed if getattr(self, name) is not None):
            raise ValueError(f"{clash[0]} is both named and fixed; choose one")
        return self

    def key(self, name: str) -> str | None:
        """The key of a field: as stated (``null`` means none), else that of the layout."""
        if name in self.model_fields_set or name not in LAYOUTS[self.layout]:
            return getattr(self, name)
        if name == "stress" and self.virial is not None:
            return None
        return LAYOUTS[self.layout][name]

    def stated(self, name: str) -> bool:
        """Whether the frame has to have it."""
        return name in REQUIRED or getattr(self, name, None) is not None


def propose(keys: Iterable[str]) -> dict[str, str]:
    """A mapping for a file with these keys, as far as names tell; ``moment_role`` is for the user to state."""
    present = set(keys)
    found = {name: next((a for a in aliases if a in present), None) for name, aliases in ALIASES.items()}
    if found["stress"]:
        found["virial"] = None
    if not found["total_moment"]:
        found["band_gap"] = None
    return {name: key for name, key in found.items() if key}


def converted(values: Mapping[str, Any], mapping: ImportMapping) -> dict[str, Any]:
    """Fields of a SpinPoint (no ids, no level) from the values of one frame, in eV, Angstrom and muB.

    Site order and signs stay as they are. Raises RefusedError: something is missing, not finite, of the wrong shape,
    not periodic, or implausible.
    """
    fields = _structure(values, mapping)
    n = len(fields["species"])
    for name in ("magmoms_in", "magmoms_out", "magnetic_forces"):
        fields[name] = _per_atom(values, mapping, name, n)
    unit = mapping.units
    if fields["magnetic_forces"] is not None:
        fields["magnetic_forces"] = fields["magnetic_forces"] * _ENERGY[unit.energy]
    fields["forces"] = _per_atom(values, mapping, "forces", n) * _FORCE[unit.force or "eV/Angstrom"]
    fields |= _energies(values, mapping, n)
    fields["stress"] = _stress(values, mapping, abs(float(np.linalg.det(fields["lattice"]))))
    fields |= {name: _number(values, mapping, name) for name in ("total_moment", "band_gap")}
    fields |= _descriptions(values, mapping)
    if problem := implausible(fields):
        raise RefusedError(*problem)
    return fields


def _structure(values: Mapping[str, Any], mapping: ImportMapping) -> dict[str, Any]:
    for key in (mapping.species, mapping.lattice, mapping.positions):
        if values.get(key) is None:
            raise RefusedError("no structure", f"there is no {key!r}")
    species = _symbols(values[mapping.species])
    lattice = _lattice(values[mapping.lattice], mapping, "lattice")
    pbc = values.get(mapping.pbc, True)
    periodic = np.all([word in _TRUE for word in pbc.split()] if isinstance(pbc, str) else pbc)
    if not periodic or abs(float(np.linalg.det(lattice))) < 1e-3:
        raise RefusedError("not periodic", "a label needs a cell that is periodic in three directions")
    positions = _shaped(_array(values[mapping.positions], "positions"), len(species), "positions")
    return {"species": species, "lattice": lattice, "positions": positions * _LENGTH[mapping.units.length]}


def _lattice(value: Any, mapping: ImportMapping, name: str) -> FloatArray:
    array = _array(value, name).reshape(-1)
    if array.size != 9:
        raise RefusedError("wrong shape", f"{name} has {array.size} numbers, not 9")
    return array.reshape(3, 3) * _LENGTH[mapping.units.length]


def _content(value: Any, name: str) -> Any:
    """What JSON text holds; anything else as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise RefusedError("no JSON", f"{name}: {error}") from None


def _symbols(value: Any) -> list[str]:
    listed = value if isinstance(value, list | tuple | np.ndarray) else []
    # A truth value is an int in Python, and no atomic number.
    symbols = [chemical_symbols[s] if type(s) is int and 0 < s < len(chemical_symbols) else s for s in listed]
    unknown = [s for s in symbols if s not in chemical_symbols[1:]]
    if not symbols or unknown:
        raise RefusedError("unknown species", f"{str(unknown[0] if unknown else value)[:40]!r} is no element")
    return [str(s) for s in symbols]


def _found(values: Mapping[str, Any], mapping: ImportMapping, name: str) -> Any:
    """Value of a field; None where it has no key, or only the layout names it and the frame has none."""
    key = mapping.key(name)
    value = None if key is None else values.get(key)
    if value is None and mapping.stated(name):
        raise RefusedError(f"no {name}", f"there is no {key!r}")
    return value


def _per_atom(values: Mapping[str, Any], mapping: ImportMapping, name: str, n: int) -> Any:
    value = _found(values, mapping, name)
    return None if value is None else _shaped(_array(value, name), n, name)


def _shaped(array: FloatArray, n: int, name: str) -> FloatArray:
    if array.shape == (n, 1):
        array = array[:, 0]
    scalar = name.startswith("mag")
    if array.shape != (n, 3) and not (scalar and array.shape == (n,)):
        raise RefusedError("wrong shape", f"{name} is {array.shape}, not ({n}, 3){f' or ({n},)' if scalar else ''}")
    return array


def _array(value: Any, name: str) -> FloatArray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise RefusedError("not numbers", f"{name} is {str(value)[:40]!r}") from None
    if not np.all(np.isfinite(array)):
        raise RefusedError("not finite", f"{name} contains NaN or infinity")
    return array


def _number(values: Mapping[str, Any], mapping: ImportMapping, name: str) -> float | None:
    value = _found(values, mapping, name)
    if value is None:
        return None
    array = _array(value, name)
    if array.size != 1:
        raise RefusedError("wrong shape", f"{name} is {array.shape}, not one number")
    return float(array.reshape(-1)[0])


def _energies(values: Mapping[str, Any], mapping: ImportMapping, n: int) -> dict[str, float]:
    """Both energies in eV per cell; where the file has one, it stands for the other too."""
    factor = _ENERGY[mapping.units.energy] * (n if mapping.units.energy == "eV/atom" else 1)
    found = {name: _number(values, mapping, name) for name in ("energy", "free_energy")}
    known = {name: value * factor for name, value in found.items() if value is not None}
    if not known:
        raise RefusedError("no energy", f"there is no {mapping.key('energy') or mapping.key('free_energy')!r}")
    only = next(iter(known.values()))
    return {"energy": known.get("energy", only), "free_energy": known.get("free_energy", only)}


def _stress(values: Mapping[str, Any], mapping: ImportMapping, volume: float) -> FloatArray | None:
    """(3, 3) eV/Angstrom^3, tension positive; None where the frame has none."""
    name = "virial" if mapping.virial is not None else "stress"
    value = _found(values, mapping, name)
    if value is None:
        return None
    array = _array(value, name).reshape(-1)
    if array.size == 6:
        array = array[list(_VOIGT[mapping.stress_order])]
    if array.size != 9:
        raise RefusedError("wrong shape", f"{name} has {array.size} numbers, not 6 or 9")
    if name == "virial":
        return array.reshape(3, 3) * (-_ENERGY[mapping.units.energy] / volume)
    sign = -1.0 if mapping.stress_sign == "vasp" else 1.0
    return array.reshape(3, 3) * (sign * _STRESS[mapping.units.stress])


def _descriptions(values: Mapping[str, Any], mapping: ImportMapping) -> dict[str, Any]:
    """Texts, the parent's lattice and the parameters of the deformation, as far as there are any."""
    found = {name: _found(values, mapping, name) for name in TEXTS}
    fields: dict[str, Any] = {name: str(value) for name, value in found.items() if value is not None}
    lattice = _found(values, mapping, "parent_lattice")
    if lattice is not None:
        fields["parent_lattice"] = _lattice(_content(lattice, "parent_lattice"), mapping, "parent_lattice")
    parameters = _found(values, mapping, "deformation_parameters")
    if parameters is not None:
        fields["deformation_parameters"] = _content(parameters, "deformation_parameters")
    costs = {"wall": _number(values, mapping, "wall_seconds"), "cores": _number(values, mapping, "cores")}
    fields["timings"] = {name: value for name, value in costs.items() if value is not None}
    return fields | mapping.fixed
