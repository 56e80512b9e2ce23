"""Ways in which VASP's input files can say something else than the configuration, one at a time.

Each is applied to files that are right; the check of the inputs has to catch all of them. They are what other workflows
were seen to do (missing MAGMOM, moments by element, sites that moved, U of the neighbouring block) and what a slip in a
template does. ``python benchmarks/vasp_input_mutations.py`` prints the table of docs/vasp.md.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datastore.schema import SpinConfig
from tests.support.vasp_std.potcars import potcar
from workflows.engines.vasp.settings import VaspSettings
from workflows.structures import rocksalt

SPECIES = ["Mn", "Ni", "Mn", "O", "O", "Ni", "O", "O"]
MOMENTS = [3.0, -2.5, -3.1, 0.0, 0.0, 2.6, 0.0, 0.0]
"""Of an eight-atom cell whose species alternate: Mn Ni Mn O O Ni O O."""


@dataclass(frozen=True)
class Mutation:
    """``apply`` changes the files in a folder; ``says``: what the message has to name."""

    name: str
    apply: Callable[[Path], None]
    says: str
    vectors: bool = False

    def __str__(self) -> str:
        return self.name


def configuration(vectors: bool = False) -> SpinConfig:
    """Eight atoms, collinear, or held vectors."""
    plain = rocksalt("Ni", lattice_constant=4.3, cell="all8")
    sites = [0, 1, 2, 4, 5, 3, 6, 7]  # metals come first in the cell
    moments = np.array(MOMENTS)
    if vectors:
        moments = np.outer(moments, (0.6, 0.0, 0.8))
    return SpinConfig(
        species=SPECIES,
        lattice=plain.lattice.matrix,
        positions=plain.cart_coords[sites],
        magmoms_in=moments,
        moment_role="constraint" if vectors else "guess",
        ordering="custom",
        cell="all8",
    )


def settings(vectors: bool = False) -> VaspSettings:
    """To be made where the invented POTCARs are installed."""
    more = {"spins": "noncollinear", "constraint": {}} if vectors else {}
    return VaspSettings.model_validate({"kpts": {"all8": [4, 2, 2]}, **more})


def tag(name: str, value: str | None) -> Callable[[Path], None]:
    """Set, add or (None) drop a tag of INCAR."""

    def apply(folder: Path) -> None:
        lines = [line for line in (folder / "INCAR").read_text().splitlines() if line.split(" ")[0] != name]
        (folder / "INCAR").write_text("\n".join([*lines, *([] if value is None else [f"{name} = {value}"])]) + "\n")

    return apply


def text(file: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    """Change a file as text; a change that changes nothing is a mistake here."""

    def apply(folder: Path) -> None:
        before = (folder / file).read_text()
        after = change(before)
        assert after != before
        (folder / file).write_text(after)

    return apply


def rows(*order: int, symbols: str = "Mn Ni O", counts: str = "2 2 4") -> Callable[[Path], None]:
    """The sites of POSCAR in another ``order``, under another header."""

    def change(before: str) -> str:
        lines = before.splitlines()
        sites = [lines[8 + site] for site in order]
        return "\n".join([*lines[:5], symbols, counts, lines[7], *sites]) + "\n"

    return text("POSCAR", change)


def _scaled(before: str) -> str:
    lines = before.splitlines()
    return "\n".join([lines[0], "1.01", *lines[2:]]) + "\n"


def _displaced(before: str) -> str:
    lines = before.splitlines()
    x, *rest = lines[9].split()
    return "\n".join([*lines[:9], " ".join([f"{float(x) + 1e-4:.16f}", *rest]), *lines[10:]]) + "\n"


def _axes(before: str) -> str:
    lines = before.splitlines()
    return "\n".join([*lines[:2], lines[3], lines[2], *lines[4:]]) + "\n"


def _selective(before: str) -> str:
    lines = before.splitlines()
    return "\n".join([*lines[:7], "Selective dynamics", lines[7], *(f"{line} F F F" for line in lines[8:16])]) + "\n"


def _parts(*names: str, edition: str = "PBE") -> Callable[[Path], None]:
    return text("POTCAR", lambda _: "".join(potcar(name, edition) for name in names))


def _without(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def _kpoints(style: str = "Gamma", mesh: str = "4 2 2", shift: str = "0 0 0") -> Callable[[Path], None]:
    return text("KPOINTS", lambda _: f"mesh\n0\n{style}\n{mesh}\n{shift}\n")


def _vector(name: str, values: np.ndarray) -> Callable[[Path], None]:
    return tag(name, " ".join(f"{value:.6f}" for value in values.ravel()))


def _held() -> np.ndarray:
    """Vectors in the order of POSCAR: Mn Mn Ni Ni O O O O."""
    return np.outer(np.array(MOMENTS)[[0, 2, 1, 5, 3, 4, 6, 7]], (0.6, 0.0, 0.8))


def _shifted(before: str) -> str:
    lines = before.splitlines()
    x, *rest = lines[9].split()
    return "\n".join([*lines[:9], " ".join([f"{float(x) - 1:.16f}", *rest]), *lines[10:]]) + "\n"


def _oxygens(before: str) -> str:
    lines = before.splitlines()
    assert re.search("O$", lines[12])
    return "\n".join([*lines[:12], *reversed(lines[12:])]) + "\n"


MUTATIONS = [
    Mutation("MAGMOM dropped", tag("MAGMOM", None), "MAGMOM: expected 8 numbers, found nothing"),
    Mutation("one MAGMOM too few", tag("MAGMOM", "3 -3.1 -2.5 2.6 3*0"), "MAGMOM: expected 8 numbers, found 7"),
    Mutation("one MAGMOM too many", tag("MAGMOM", "3 -3.1 -2.5 2.6 5*0"), "MAGMOM: expected 8 numbers, found 9"),
    Mutation("one sign changed", tag("MAGMOM", "3 -3.1 2.5 2.6 4*0"), "MAGMOM of site 3"),
    Mutation("all moments up (AFM becomes FM)", tag("MAGMOM", "3 3.1 2.5 2.6 4*0"), "MAGMOM of site 2"),
    Mutation("all moments reversed", tag("MAGMOM", "-3 3.1 2.5 -2.6 4*0"), "MAGMOM of site 1"),
    Mutation("moments by element", tag("MAGMOM", "2*3 2*2.5 4*0"), "MAGMOM of site 2"),
    Mutation("0.6 where there was no moment", tag("MAGMOM", "3 -3.1 -2.5 2.6 4*0.6"), "MAGMOM of site 5"),
    Mutation("moments in the caller's order", tag("MAGMOM", "3 -2.5 -3.1 0 0 2.6 0 0"), "MAGMOM of site 2"),
    Mutation("two moments exchanged", tag("MAGMOM", "-3.1 3 -2.5 2.6 4*0"), "MAGMOM of site 1"),
    Mutation("a list VASP cannot read (-2*5)", tag("MAGMOM", "3 -2*3 -2.5 2.6 4*0"), "is no number"),
    Mutation(
        "a tag stated twice",
        text("INCAR", lambda before: "MAGMOM = 2*3 2*2.5 4*0\n" + before),
        "MAGMOM: expected stated once",
    ),
    Mutation("two sites of one species exchanged", rows(1, 0, 2, 3, 4, 5, 6, 7), "MAGMOM of site 1"),
    Mutation("two sites of two species exchanged", rows(2, 1, 0, 3, 4, 5, 6, 7), "place of site 1 (Mn)"),
    Mutation("blocks exchanged", rows(2, 3, 0, 1, 4, 5, 6, 7, symbols="Ni Mn O"), "LDAUU of Ni"),
    Mutation(
        "repeated blocks",
        rows(0, 2, 1, 3, 4, 5, 6, 7, symbols="Mn Ni Mn Ni O", counts="1 1 1 1 4"),
        "blocks: expected one per species",
    ),
    Mutation(
        "a block in two parts",
        rows(0, 1, 2, 3, 4, 5, 6, 7, symbols="Mn Ni O O", counts="2 2 1 3"),
        "blocks: expected one per species",
    ),
    Mutation("a site left out", rows(0, 1, 2, 3, 4, 5, 6, counts="2 2 3"), "POSCAR, species"),
    Mutation("species renamed", rows(*range(8), symbols="Mn Co O"), "POSCAR, species"),
    Mutation("a site displaced by 0.0003 Angstrom", text("POSCAR", _displaced), "place of site 2"),
    Mutation("lattice scaled by 1 %", text("POSCAR", _scaled), "POSCAR, lattice"),
    Mutation("two lattice vectors exchanged", text("POSCAR", _axes), "POSCAR, lattice"),
    Mutation("sites that may not move", text("POSCAR", _selective), "selective dynamics"),
    Mutation("POSCAR missing", _without("POSCAR"), "POSCAR is not there"),
    Mutation("LDAUU shifted by one block", tag("LDAUU", "0 3.9 6.2"), "LDAUU of Mn"),
    Mutation("LDAUU of other sites first", tag("LDAUU", "6.2 3.9 0"), "LDAUU of Ni"),
    Mutation("LDAUU one too few", tag("LDAUU", "3.9 6.2"), "LDAUU: expected 3 numbers"),
    Mutation("LDAUU dropped", tag("LDAUU", None), "LDAUU: expected 3 numbers"),
    Mutation("LDAUU per site", tag("LDAUU", "2*3.9 2*6.2 4*0"), "LDAUU: expected 3 numbers"),
    Mutation("U on another shell", tag("LDAUL", "2 -1 -1"), "LDAUL of Ni"),
    Mutation("LDAUJ on one block", tag("LDAUJ", "0 1 0"), "LDAUJ of Ni"),
    Mutation("LDAU off", tag("LDAU", "False"), "LDAU: expected True"),
    Mutation("another form of +U", tag("LDAUTYPE", "1"), "LDAUTYPE: expected 2"),
    Mutation("not spin-polarised", tag("ISPIN", "1"), "ISPIN: expected 2, found 1"),
    Mutation("another cutoff", tag("ENCUT", "400"), "ENCUT: expected 520.0, found 400"),
    Mutation("PBEsol in place of PBE", tag("GGA", "PS"), "GGA"),
    Mutation("a meta-GGA", tag("METAGGA", "SCAN"), "METAGGA: expected nothing"),
    Mutation("tetrahedra in place of Gaussians", tag("ISMEAR", "-5"), "ISMEAR: expected 0"),
    Mutation("a wider smearing", tag("SIGMA", "0.2"), "SIGMA: expected 0.05"),
    Mutation("symmetry on", tag("ISYM", "2"), "ISYM: expected 0"),
    Mutation("LASPH dropped", tag("LASPH", None), "LASPH: expected True, found nothing"),
    Mutation("LMAXMIX 2", tag("LMAXMIX", "2"), "LMAXMIX: expected 4"),
    Mutation("loose convergence", tag("EDIFF", "1e-3"), "EDIFF"),
    Mutation("total moment fixed", tag("NUPDOWN", "0"), "NUPDOWN: expected nothing"),
    Mutation("density of another run", tag("ICHARG", "11"), "ICHARG: expected 2"),
    Mutation("wavefunctions of another run", tag("ISTART", "1"), "ISTART: expected 0"),
    Mutation("atoms that move", tag("NSW", "10"), "NSW: expected 0"),
    Mutation("a relaxation that ends at once", tag("IBRION", "2"), "IBRION: expected nothing"),
    Mutation("pressure", tag("PSTRESS", "100"), "PSTRESS: expected nothing"),
    Mutation("molecular dynamics", tag("TEBEG", "300"), "TEBEG: expected nothing"),
    Mutation("no electronic minimisation", tag("ALGO", "None"), "ALGO: expected one of Normal"),
    Mutation("no stress", tag("ISIF", "0"), "ISIF: expected nothing"),
    Mutation("no moments of sites", tag("LORBIT", "0"), "LORBIT: expected 11"),
    Mutation("one electron more", tag("NELECT", "83"), "NELECT: expected 82"),
    Mutation("a tenth of an electron more", tag("NELECT", "82.1"), "NELECT: expected 82"),
    Mutation("too few bands", tag("NBANDS", "30"), "NBANDS: expected at least 41"),
    Mutation("a constraint that nobody asked for", tag("M_CONSTR", "24*0"), "M_CONSTR: expected nothing"),
    Mutation("INCAR missing", _without("INCAR"), "INCAR is not there"),
    Mutation("another mesh", _kpoints(mesh="4 2 1"), "mesh: expected [4, 2, 2]"),
    Mutation("Monkhorst-Pack in place of Gamma", _kpoints("Monkhorst"), "style: expected Gamma"),
    Mutation("a shifted mesh", _kpoints(shift="0.5 0.5 0.5"), "shift"),
    Mutation("a shift below an empty line", _kpoints(shift="\n0.5 0.5 0.5"), "shift"),
    Mutation("KPOINTS missing", _without("KPOINTS"), "KPOINTS is not there"),
    Mutation("KSPACING in its place", tag("KSPACING", "0.2"), "KSPACING: expected nothing"),
    Mutation("POTCARs in another order", _parts("Ni_pv", "Mn_pv", "O"), "POTCAR, elements: expected Mn Ni O"),
    Mutation("POTCAR of another edition", _parts("Mn_pv", "Ni_pv", "O", edition="PBE_54"), "POTCAR of Mn, hash"),
    Mutation("POTCAR without semicore states", _parts("Mn", "Ni_pv", "O"), "POTCAR of Mn, hash"),
    Mutation("a POTCAR left out", _parts("Mn_pv", "O"), "POTCAR, elements"),
    Mutation("POTCAR missing", _without("POTCAR"), "POTCAR is not there"),
    Mutation(
        "one number of a POTCAR changed",
        text("POTCAR", lambda before: before.replace("0.2000000000E+01", "0.2000000001E+01", 1)),
        "POTCAR of Mn, hash",
    ),
    Mutation(
        "POTCAR of LDA", text("POTCAR", lambda before: before.replace("= PE", "= CA")), "functional: expected PBE"
    ),
    Mutation("vectors turned", _vector("MAGMOM", _held()[:, [1, 0, 2]]), "MAGMOM of site 1", vectors=True),
    Mutation("one vector reversed", _vector("MAGMOM", _held() * ([-1], *[[1]] * 7)), "MAGMOM of site 1", vectors=True),
    Mutation("one number per site", tag("MAGMOM", "3 -3.1 -2.5 2.6 4*0"), "expected 24 numbers, found 8", vectors=True),
    Mutation("collinear", tag("LNONCOLLINEAR", "False"), "LNONCOLLINEAR: expected True", vectors=True),
    Mutation("spin-orbit coupling", tag("LSORBIT", "True"), "LSORBIT: expected nothing", vectors=True),
    Mutation("another axis", tag("SAXIS", "1 0 0"), "SAXIS", vectors=True),
    Mutation("moments held elsewhere", _vector("M_CONSTR", -_held()), "M_CONSTR of site 1", vectors=True),
    Mutation("no constraint", tag("I_CONSTRAINED_M", None), "I_CONSTRAINED_M: expected 2", vectors=True),
    Mutation("another penalty", tag("LAMBDA", "1"), "LAMBDA: expected 10", vectors=True),
    Mutation("other spheres", tag("RWIGS", "1.3 0.8 1.3"), "RWIGS of Ni", vectors=True),
]

HARMLESS = [
    Mutation("parallelisation", tag("NCORE", "4"), ""),
    Mutation("another algorithm", tag("ALGO", "Fast"), ""),
    Mutation("repeats written out", tag("MAGMOM", "3.0 -3.1 -2.5E0 26d-1 0 0 0.0 -0"), ""),
    Mutation("repeats written short", tag("MAGMOM", "1*3 1*-3.1 -2.5 2.6 2*2*0"), ""),
    Mutation("a comment", text("INCAR", lambda before: "# MAGMOM = 8*5\n" + before), ""),
    Mutation("a continued line", tag("MAGMOM", "3 -3.1 \\\n -2.5 2.6 4*0"), ""),
    Mutation("two tags in a line", text("INCAR", lambda before: before + "NCORE = 4; KPAR = 2\n"), ""),
    Mutation("the neutral number of electrons", tag("NELECT", "82"), ""),
    Mutation("more bands", tag("NBANDS", "60"), ""),
    Mutation("VASP's default for IBRION without steps", tag("IBRION", "-1"), ""),
    Mutation("a site one lattice vector away", text("POSCAR", _shifted), ""),
    Mutation("sites of a block in another order", text("POSCAR", _oxygens), ""),
]
"""Other ways to say the same, and tags of cost: none of them may stop a run."""
