"""What a VASP calculation is made with: the paper's settings by default, every INCAR tag open to the user.

arXiv:2409.03253, appendix B: spin-polarised PBE+U with U(Co, Ni, Mn) = 3.32, 6.2, 3.9 eV, 520 eV,
``Kpoints.automatic_density_by_vol`` (its density is lost from the text; 100 here).
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pymatgen.core import Element, Lattice, Structure
from pymatgen.io.vasp import Kpoints

from datastore.schema import SpinConfig
from workflows.engines.fields import KMesh, check_amounts, check_element, check_meshes
from workflows.engines.interface import EngineError, LabelError
from workflows.engines.vasp import potcars as files
from workflows.engines.vasp.levels import Hubbard, level_of_run
from workflows.engines.vasp.tags import SHELLS, clean, holds_occupations, typed, unlisted

Spins = Literal["collinear", "noncollinear", "spin-orbit"]

PAPER = {
    "ALGO": "Normal",
    "EDIFF": 1e-6,
    "GGA": "Pe",
    "ICHARG": 2,
    "ISMEAR": 0,
    "ISTART": 0,
    "LASPH": True,
    "LCHARG": False,
    "LORBIT": 11,
    "LREAL": False,
    "LWAVE": False,
    "NELM": 200,
    "NELMIN": 6,
    "NSW": 0,
    "PREC": "Accurate",
    "SIGMA": 0.05,
}
"""Tags of every single point. ISTART and ICHARG make each start, a restart included, begin with MAGMOM."""

_F_ELECTRONS = 56
"""From the next element on POTCARs may have f electrons."""


class ConstraintOptions(BaseModel):
    """How VASP holds moments: a penalty lambda (M - M_asked)^2 in spheres around the magnetic sites."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["direction", "vector"] = Field(
        default="vector", description="hold the direction alone (I_CONSTRAINED_M 1), or the length as well (2)"
    )
    penalty: float = Field(default=10.0, gt=0, description="LAMBDA, eV/muB^2: more holds better and converges worse")
    radii: dict[str, float] = Field(
        default={}, description="RWIGS per element, Angstrom; default: that of its POTCAR. Spheres must not overlap"
    )
    largest: float = Field(
        default=0.001,
        gt=0,
        le=0.001,
        description="eV/atom; a label whose penalty energy is above is refused, because it is not the energy of the "
        "moments asked for. Below, it is no other level of theory than that of free moments",
    )

    @field_validator("radii")
    @classmethod
    def _spheres(cls, value: dict[str, float]) -> dict[str, float]:
        for symbol, radius in value.items():
            check_element(symbol)
            if not (math.isfinite(radius) and radius > 0):
                raise ValueError(f"the radius of {symbol} is {radius}; it must be a positive number of Angstrom")
        return value


class VaspSettings(BaseModel):
    """Everything that decides the numbers of a VASP label, and tags that decide its cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encut: float = Field(default=520.0, ge=150, le=2000, description="plane-wave cutoff, eV (ENCUT)")
    hubbard_u: dict[str, float] = Field(
        default={"Co": 3.32, "Ni": 6.2, "Mn": 3.9},
        description="U - J on the d (f) shell per element, eV, in Dudarev's form; 0 for the others",
    )
    potcars: dict[str, str] = Field(
        default={"Mn": "Mn_pv", "Co": "Co", "Ni": "Ni_pv", "O": "O"},
        description="POTCAR per element, as the Materials Project has them, whose U these are. State those of your "
        "elements: others are refused. Unstated, a campaign takes those of its elements",
    )
    potcar_functional: str = Field(
        default="", description="pymatgen's name of the edition (PBE, PBE_54, PBE_64...); default: pymatgen's setting"
    )
    potcar_hashes: dict[str, str] = Field(
        default={},
        description="SHA-256 (16 digits or more) per element; filled in from the files where they are installed. Every "
        "run compares its POTCARs with them",
    )
    kppvol: float = Field(
        default=100.0, gt=0, le=1e5, description="k points per reciprocal Angstrom^3 of the undeformed parent's cell"
    )
    kpts: dict[str, KMesh] = Field(default={}, description="Gamma-centred mesh per cell type, in place of kppvol")
    spins: Spins = Field(
        default="collinear",
        description="collinear moments; or vectors, with the non-collinear program; or these with spin-orbit coupling",
    )
    constraint: ConstraintOptions | None = Field(
        default=None, description="how moments are held where a configuration asks for it; wants vectors"
    )
    incar: dict[str, Any] = Field(
        default={}, description="any INCAR tag, over the defaults; null takes one away. Not what other options say"
    )
    incar_unlisted: dict[str, bool | int | float | str] = Field(
        default={}, description="tags that pymatgen does not list, written as they stand"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """ENCUT under ``incar`` is ``encut``; functional and hashes are those of this machine where not stated."""
        if not isinstance(data, dict):
            return data
        data = _with_encut(data)
        functional = data.get("potcar_functional") or files.default_functional()
        named = data.get("potcars", cls.model_fields["potcars"].default)
        if functional not in files.FUNCTIONALS or not isinstance(named, dict):
            return {**data, "potcar_functional": functional}
        stated = data.get("potcar_hashes") or {}
        if not isinstance(stated, dict):
            return data
        unstated = {str(e): str(s) for e, s in named.items() if e not in stated}
        return {
            **data,
            "potcar_functional": functional,
            "potcar_hashes": {**files.hashes(unstated, functional), **stated},
        }

    @field_validator("hubbard_u")
    @classmethod
    def _known_amounts(cls, value: dict[str, float]) -> dict[str, float]:
        check_amounts(value)
        return value

    @field_validator("potcars", "potcar_hashes")
    @classmethod
    def _known_elements(cls, value: dict[str, str]) -> dict[str, str]:
        for symbol in value:
            check_element(symbol)
        return value

    @field_validator("potcars")
    @classmethod
    def _own_element(cls, value: dict[str, str]) -> dict[str, str]:
        for element, symbol in value.items():
            if symbol.split("_")[0].split(".")[0] != element:
                raise ValueError(f"{symbol!r} is no POTCAR of {element}; its name begins with the element")
        if not value:
            raise ValueError("name the POTCAR of every element, such as {Ni: Ni_pv, O: O}")
        return value

    @field_validator("potcar_functional")
    @classmethod
    def _known_functional(cls, value: str) -> str:
        if value not in files.FUNCTIONALS:
            raise ValueError(
                f"{value!r} is no edition of PBE POTCARs; state potcar_functional or "
                f"PMG_DEFAULT_FUNCTIONAL in ~/.config/.pmgrc.yaml: pymatgen knows {', '.join(files.FUNCTIONALS)}"
            )
        return value

    @field_validator("potcar_hashes")
    @classmethod
    def _hexadecimal(cls, value: dict[str, str]) -> dict[str, str]:
        for element, text in value.items():
            if len(text) < files.DIGITS or not set(text.lower()) <= set("0123456789abcdef"):
                raise ValueError(
                    f"{text!r} of {element} is no SHA-256; it has {files.DIGITS} hexadecimal digits or more"
                )
        return {element: text.lower()[: files.DIGITS] for element, text in value.items()}

    @field_validator("incar_unlisted")
    @classmethod
    def _as_read(cls, value: dict[str, Any]) -> dict[str, Any]:
        return unlisted(value)

    @field_validator("kpts")
    @classmethod
    def _positive_mesh(cls, value: dict[str, KMesh]) -> dict[str, KMesh]:
        check_meshes(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.constraint is not None and self.spins == "collinear":
            raise ValueError("constraint: VASP holds moments in non-collinear runs; state spins: noncollinear as well")
        clean(self.incar, self.spins)
        if holds_occupations("\n".join(f"{tag} = {value}" for tag, value in self.incar_unlisted.items())):
            raise ValueError(
                "incar_unlisted: while occupations are held, energies belong to no state; put the matrices on "
                "configurations (occupations), and state occupation_control: true"
            )
        unnamed = sorted(set(self.potcar_hashes) - set(self.potcars))
        if unnamed:
            raise ValueError(f"potcar_hashes names {', '.join(unnamed)}, potcars does not")
        return self

    def tags(self) -> dict[str, Any]:
        """INCAR of a single point, without the tags that follow from the configuration."""
        f_shell = any(Element(e).Z > _F_ELECTRONS for e in self.potcars)
        own = {"ENCUT": self.encut, "LMAXMIX": 6 if f_shell else 4, **self._spin_tags()}
        merged = {**PAPER, **own, **clean(self.incar, self.spins), **self.incar_unlisted}
        return {tag: value for tag, value in sorted(merged.items()) if value is not None}

    def constraint_tags(self) -> dict[str, Any]:
        """What switches the penalty on, for a configuration whose moments are held."""
        if self.constraint is None:
            return {}
        return {"I_CONSTRAINED_M": 1 if self.constraint.mode == "direction" else 2, "LAMBDA": self.constraint.penalty}

    def mesh(self, config: SpinConfig) -> KMesh:
        """Divisions of the Gamma-centred mesh: of the table by cell type, else by density in the *parent's* cell.

        A mesh that follows the strain jumps, and so does the energy. Raises LabelError (refused) for a deformed
        configuration that does not say what its parent was.
        """
        if config.cell in self.kpts:
            return self.kpts[config.cell]
        if config.parent_lattice is None and config.deformation != "none":
            raise LabelError(
                f"no k mesh for cell {config.cell!r}: it is deformed and has no parent_lattice; give it one or add "
                f"{config.cell!r} to the engine's kpts",
                "refused",
            )
        parent = Lattice(config.lattice if config.parent_lattice is None else config.parent_lattice)
        whole = Structure(parent, config.species, config.to_structure().frac_coords)
        a, b, c = Kpoints.automatic_density_by_vol(whole, self.kppvol, force_gamma=True).kpts[0]
        return int(a), int(b), int(c)

    def kpts_rule(self) -> dict[str, Any]:
        """What gives the mesh of a configuration, for the level of theory and the first line of KPOINTS."""
        table = {cell: list(mesh) for cell, mesh in sorted(self.kpts.items())}
        return {"kppvol": self.kppvol, "lattice": "parent", "centre": "gamma"} | ({"cells": table} if table else {})

    def hubbard(self, element: str) -> Hubbard:
        """+U on one element: on the shell of its block in the periodic table, J = 0."""
        return Hubbard(self.hubbard_u.get(element, 0.0), 0.0, SHELLS[Element(element).block])

    def level_of_theory(self) -> dict[str, Any]:
        """Everything that decides the numbers, as it is for runs of others (:mod:`workflows.engines.vasp.levels`).

        How moments are held is not in it: a label is refused where that takes more than 1 meV/atom.
        Raises EngineError where a POTCAR is neither installed nor its hash stated.
        """
        unknown = sorted(set(self.potcars) - set(self.potcar_hashes))
        if unknown:
            lacking = files.problems({e: self.potcars[e] for e in unknown}, self.potcar_functional, {})
            raise EngineError(
                f"the level of theory holds the hash of every POTCAR, and that of {', '.join(unknown)} is not known: "
                f"state potcar_hashes, or install them{f' ({lacking[0]})' if lacking else ''}"
            )
        names = {e: {"symbol": self.potcars[e], "sha256": self.potcar_hashes[e]} for e in self.potcars}
        plus_u = {element: self.hubbard(element) for element in self.potcars}
        return level_of_run(self.tags(), plus_u, names, self.kpts_rule())

    def _spin_tags(self) -> dict[str, Any]:
        if self.spins == "collinear":
            return {"ISPIN": 2, "ISYM": 0}
        # Time reversal relates k and -k of a collinear magnet only: no symmetry is left to use.
        vectors = {"ISPIN": 2, "ISYM": -1, "LNONCOLLINEAR": True, "SAXIS": [0, 0, 1]}
        return {**vectors, "LSORBIT": True} if self.spins == "spin-orbit" else vectors


def _with_encut(data: dict[str, Any]) -> dict[str, Any]:
    incar = data.get("incar")
    key = next((k for k in incar if str(k).strip().upper() == "ENCUT"), None) if isinstance(incar, dict) else None
    if key is None or incar is None or incar[key] is None:
        return data
    cutoff = typed("ENCUT", incar[key])
    if "encut" in data and typed("ENCUT", data["encut"]) != cutoff:
        raise ValueError(f"encut is {data['encut']} and incar's ENCUT {incar[key]}; state one of them")
    rest = {k: value for k, value in incar.items() if k != key}
    return {**data, "encut": cutoff, "incar": rest}
