"""A SpinConfig as input files of VASP: one block per species, moments and U in the order of the sites.

The generators are atomate2's with our settings in place of theirs, so that any Maker of atomate2 can use them. What
they write is read back and compared with the configuration (:mod:`workflows.engines.vasp.check`) before anything runs.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from atomate2.vasp.sets.base import VaspInputGenerator
from pymatgen.core import Element, Structure
from pymatgen.io.vasp import Kpoints, Poscar, Potcar, VaspInput

from datastore.schema import PROVENANCE, FloatArray, MomentRole, SpinConfig
from workflows.engines.interface import EngineError, LabelError, TryLaterError
from workflows.engines.vasp import potcars as files
from workflows.engines.vasp.check import check_inputs
from workflows.engines.vasp.levels import COST_TAGS, kpoints_comment
from workflows.engines.vasp.occupations import FILE, HELD, RELEASED, matched, written
from workflows.engines.vasp.settings import VaspSettings
from workflows.engines.vasp.tags import OWNED

ORDER_FILE = "site_order.json"
"""Beside the inputs: the caller's site of each site in POSCAR. emmet's TaskDoc keeps it as additional JSON."""

ISIF = {"all": 3, "cell": 6, "volume": 7}
"""What moves -> ISIF: cell and atoms, cell alone, volume alone."""


_OURS = """
    config_dict user_incar_settings user_potcar_functional sort_structure validate_magmom inherit_incar auto_ismear
"""
_ATOMATE2 = {
    each.name: each.default if each.default_factory is MISSING else each.default_factory()
    for each in fields(VaspInputGenerator)
    if each.name not in _OURS.split() and not each.name.startswith("_")
}
"""Options of atomate2's generators that are not looked at here, with their defaults."""


@dataclass(frozen=True)
class Ordered:
    """A structure with one block per species; ``order[k]`` is the caller's site of its site k."""

    structure: Structure
    order: list[int]


def ordered(config: SpinConfig) -> Ordered:
    """Sites by electronegativity of their species, then in the caller's order; ``magmom`` site property in muB.

    VASP has one U and one POTCAR per block of equal species, and atomate2 0.1.5 does not sort. A left-handed lattice
    has its vectors reversed, which spans the same lattice: VASP refuses it, and pymatgen would invert the positions.
    """
    order = sorted(range(len(config.species)), key=lambda site: _species_key(config.species[site]))
    lattice = config.lattice * np.sign(np.linalg.det(config.lattice))
    moments = config.magmoms_in[order]
    structure = Structure(
        lattice,
        [config.species[site] for site in order],
        config.positions[order],
        coords_are_cartesian=True,
        site_properties={"magmom": moments.tolist()},
        properties={name: value for name in PROVENANCE if (value := getattr(config, name)) is not None},
    )
    return Ordered(structure, order)


def magmoms(config: SpinConfig, vectors: bool) -> FloatArray:
    """The moments as VASP is given them: (N,), or (N, 3) with collinear ones along z. muB, in the caller's order."""
    if not vectors or config.magmoms_in.ndim == 2:
        return config.magmoms_in
    return np.outer(config.magmoms_in, (0.0, 0.0, 1.0)) + 0.0  # no -0.0


def _species_key(symbol: str) -> tuple[float, str]:
    return float(Element(symbol).X), symbol


class CheckedInput(VaspInput):
    """Input files that are read back and compared with their configuration as soon as they are written."""

    config: SpinConfig
    settings: VaspSettings
    updates: dict[str, Any]
    order: list[int]
    spec: bool

    def write_input(self, output_dir: Any = ".", *args: Any, **kwargs: Any) -> None:
        """Write, then check. Raises LabelError (refused) that lists what differs; the files stay to be looked at."""
        super().write_input(output_dir, *args, **kwargs)
        found = check_inputs(Path(output_dir), self.config, self.settings, self.updates, self.spec)
        if found != self.order:
            raise LabelError(f"sites of POSCAR are those of the caller in order {found}, not {self.order}", "refused")
        Path(output_dir, ORDER_FILE).write_text(json.dumps({"order": found}))


@dataclass
class SpinStaticSetGenerator(VaspInputGenerator):
    """Input set of one single point with spins, for atomate2's Makers and for our engine.

    ``settings`` take the place of atomate2's own defaults; ``moment_role`` says whether moments are held.
    ``user_incar_settings`` may hold tags of cost only: others are refused, and belong into ``settings``. So do all
    other options of atomate2's generators, for which there is an EngineError.
    """

    settings: VaspSettings = field(default_factory=VaspSettings)
    moment_role: MomentRole = "guess"
    user_potcar_functional: Any = None
    sort_structure: bool = False
    validate_magmom: bool = False
    inherit_incar: bool | list[str] = False
    auto_ismear: bool = False
    config_dict: dict[str, Any] = field(default_factory=lambda: {"INCAR": {}, "KPOINTS": {}, "POTCAR": {}})

    def __post_init__(self) -> None:
        """Nothing of atomate2's own tables is left. Raises EngineError for options that would have no effect."""
        self.config_dict = {
            "INCAR": {},
            "KPOINTS": {},
            "POTCAR": dict(self.settings.potcars),
            "POTCAR_FUNCTIONAL": self.settings.potcar_functional,
        }
        self.user_potcar_functional = self.user_potcar_functional or self.settings.potcar_functional
        self._check_options()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__post_init__()

    def get_input_set(
        self, structure: Structure | None = None, prev_dir: Any = None, potcar_spec: bool = False
    ) -> CheckedInput:
        """Files for ``structure``, whose ``magmom`` site property holds signed moments; sites in any order.

        Provenance in ``structure.properties`` pins the k mesh. ``prev_dir`` is refused: a wavefunction of another run
        brings its spin state along. Raises EngineError for a site without a moment.
        """
        if structure is None or prev_dir is not None:
            raise EngineError("a spin-polarised input starts from a structure with moments, not from an earlier run")
        if not structure.is_ordered:
            raise EngineError(
                f"sites of {structure.formula} are partly occupied; make ordered structures of it first, such as SQS"
            )
        try:
            config = SpinConfig.from_structure(structure, "custom", moment_role=self.moment_role)
        except ValueError as error:
            raise EngineError(str(error)) from None
        return self.input_for(config, potcar_spec)

    def input_for(self, config: SpinConfig, potcar_spec: bool = False) -> CheckedInput:
        """Files for a configuration. Raises LabelError (refused) where it does not suit the settings."""
        self._check_options()  # powerups of atomate2 set them late
        refuse(config, self.settings, potcar_spec)
        own = sorted(tag for tag in self.user_incar_settings if tag not in COST_TAGS - set(OWNED))
        if own:
            said = "; ".join(f"{tag}: {OWNED.get(tag, 'state it in settings.incar')}" for tag in own)
            raise LabelError(f"user_incar_settings cannot hold {said}", "refused")
        sites = ordered(config)
        content = CheckedInput(
            incar={**self.incar_of(config, sites), **self.user_incar_settings},
            kpoints=self.kpoints_of(config),
            poscar=Poscar(sites.structure),
            potcar=self._potcar(sites.structure, potcar_spec),
            potcar_spec=potcar_spec,
            optional_files=self.files_of(config, sites),
        )
        content.config, content.settings = config, self.settings
        content.updates, content.order, content.spec = self.incar_updates, sites.order, potcar_spec
        return content

    def _check_options(self) -> None:
        given = [name for name, default in _ATOMATE2.items() if getattr(self, name) != default]
        if self.user_potcar_functional != self.settings.potcar_functional:
            given.append("user_potcar_functional")
        if given:
            raise EngineError(
                f"{', '.join(sorted(given))}: atomate2's options have no effect on these inputs; state what you want "
                "in settings (kppvol or kpts, potcars, potcar_functional, incar)"
            )

    def incar_of(self, config: SpinConfig, sites: Ordered) -> dict[str, Any]:
        """All tags, those that follow from the configuration included."""
        vectors = self.settings.spins != "collinear"
        moments = magmoms(config, vectors)[sites.order]
        tags = {**self.settings.tags(), **self.incar_updates, "MAGMOM": moments.tolist()}
        tags |= self._hubbard(blocks(sites.structure))
        if config.moment_role == "constraint":
            tags |= self.settings.constraint_tags()
            tags |= {"M_CONSTR": moments.ravel().tolist(), "RWIGS": self._radii(blocks(sites.structure))}
        return tags

    def files_of(self, config: SpinConfig, sites: Ordered) -> dict[Any, object]:
        """Name -> text of files besides the usual ones."""
        return {}

    def kpoints_of(self, config: SpinConfig) -> Kpoints:
        """The pinned mesh; the first line says the rule, for whoever imports the folder."""
        return Kpoints(kpoints_comment(self.settings.kpts_rule()), kpts=[self.settings.mesh(config)])

    def _hubbard(self, symbols: list[str]) -> dict[str, Any]:
        plus_u = [self.settings.hubbard(symbol) for symbol in symbols]
        if not any(each.u for each in plus_u):
            return {}
        return {
            "LDAU": True,
            "LDAUTYPE": 2,
            "LDAUL": [each.l if each.u else -1 for each in plus_u],
            "LDAUU": [each.u for each in plus_u],
            "LDAUJ": [0.0] * len(plus_u),
        }

    def _radii(self, symbols: list[str]) -> list[float]:
        assert self.settings.constraint is not None
        stated = self.settings.constraint.radii
        found = []
        for symbol in symbols:
            file = None if symbol in stated else files.read(*self._file(symbol))
            if file is None and symbol not in stated:
                raise LabelError(f"no radius to hold the moment of {symbol} in: state constraint.radii", "refused")
            found.append(stated[symbol] if file is None else file.rwigs)
        return found

    def _potcar(self, structure: Structure, potcar_spec: bool) -> Potcar | str:
        names = [self.settings.potcars[symbol] for symbol in blocks(structure)]
        if potcar_spec:
            return "\n".join(names)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of POTCARs that pymatgen's table lacks: their hashes are compared
            return Potcar(names, functional=self.settings.potcar_functional)

    def _file(self, element: str) -> tuple[str, str]:
        return self.settings.potcars[element], self.settings.potcar_functional


@dataclass
class SpinRelaxSetGenerator(SpinStaticSetGenerator):
    """Input set of a relaxation with spins.

    ``moves``: all, cell (shape and volume) or volume. ``fmax``: eV/Angstrom, largest force at the end (-EDIFFG).
    """

    moves: str = "all"
    fmax: float = 0.01
    steps: int = 100

    @property
    def incar_updates(self) -> dict[str, Any]:
        """Tags of the way of the ions; ISYM 2, magnetic symmetry included, keeps special positions special."""
        symmetry = {"ISYM": 2} if self.settings.spins == "collinear" else {}
        return {"IBRION": 2, "ISIF": ISIF[self.moves], "NSW": self.steps, "EDIFFG": -self.fmax, **symmetry}


@dataclass
class SpinOccupationSetGenerator(SpinStaticSetGenerator):
    """Input set of one of the two runs that start from occupation matrices: those are ``held``, or released."""

    held: bool = True

    @property
    def incar_updates(self) -> dict[str, Any]:
        """Tags of the one run or the other."""
        return dict(HELD if self.held else RELEASED)

    def files_of(self, config: SpinConfig, sites: Ordered) -> dict[Any, object]:
        """OCCMATRIX in POSCAR's order, for the first run. Raises LabelError (refused) for matrices that do not suit."""
        found = matched(config, self.settings)
        return {FILE: written(found, sites.order)} if self.held else {}


def blocks(structure: Structure) -> list[str]:
    """Symbols of the species blocks, in the order of POSCAR."""
    return Poscar(structure).site_symbols


def refuse(config: SpinConfig, settings: VaspSettings, potcar_spec: bool = False) -> None:
    """LabelError (refused) for what these settings cannot label: one line with the remedy.

    TryLaterError where this machine has no such POTCAR, or another file: the configuration has no part in it.
    """
    present = sorted(set(config.species))
    without = [symbol for symbol in present if symbol not in settings.potcars]
    if without:
        raise LabelError(
            f"engine 'vasp' has no POTCAR named for {', '.join(without)}; add it to potcars, beside "
            f"{{{', '.join(f'{e}: {s}' for e, s in settings.potcars.items())}}}",
            "refused",
        )
    if config.magmoms_in.ndim == 2 and settings.spins == "collinear":
        raise LabelError(
            "these settings of engine 'vasp' label collinear moments only; state spins: noncollinear", "refused"
        )
    if config.moment_role == "constraint" and settings.constraint is None:
        raise LabelError(
            "engine 'vasp' holds moments where it is told how: state spins: noncollinear and constraint: {}", "refused"
        )
    settings.mesh(config)
    if potcar_spec:
        return
    names = {symbol: settings.potcars[symbol] for symbol in present}
    problems = files.problems(names, settings.potcar_functional, settings.potcar_hashes)
    if problems:
        raise TryLaterError(problems[0])
