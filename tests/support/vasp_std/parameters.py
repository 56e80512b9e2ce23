"""The block <parameters> of vasprun.xml: the settings a run ended up with, in VASP's groups."""

from typing import Any

from tests.support.vasp_std.bands import band_count
from tests.support.vasp_std.inputs import Inputs
from tests.support.vasp_std.messages import StopError
from tests.support.vasp_std.outcar_head import ibrion

INTEGERS = {
    **dict.fromkeys(
        ("ISPIN", "NELM", "NELMIN", "NELMDL", "NSW", "ISMEAR", "LMAXMIX", "LORBIT", "LDAUTYPE", "LDAUPRINT")
    ),
    **dict.fromkeys(("ISTART", "ICHARG", "IBRION", "ISIF", "ISYM", "NBANDS", "NEDOS", "NPAR", "NCORE", "KPAR", "NSIM")),
    **dict.fromkeys(("I_CONSTRAINED_M", "NWRITE", "IMIX", "MAXMIX", "IALGO", "NBLOCK", "NFREE", "INIMIX", "IVDW")),
}
"""Tags that VASP reads as integers; it writes them with their type."""
TEXTS = ("PREC", "ALGO", "SYSTEM", "GGA", "METAGGA", "LREAL", "EFERMI")


def incar_items(inputs: Inputs) -> list[tuple[str, Any]]:
    """The INCAR's tags with values of VASP's types; lists where a tag holds several."""
    items: list[tuple[str, Any]] = []
    for tag, value in inputs.incar.items():
        if tag in TEXTS and value.strip(".").upper()[:1] not in "TF":
            items.append((tag, value))
        elif tag == "LDAU" or (tag.startswith("L") and not tag.startswith(("LDAU", "LMAX", "LORBIT", "LAMBDA"))):
            items.append((tag, inputs.logical(tag)))
        elif tag in INTEGERS:
            items.append((tag, inputs.integer(tag, 0)))
        else:
            items.append((tag, _numbers(inputs, tag)))
    return items


def _numbers(inputs: Inputs, tag: str) -> Any:
    widths = {"MAGMOM": inputs.n * (3 if inputs.spin == 4 else 1), "M_CONSTR": 3 * inputs.n, "SAXIS": 3}
    if tag in ("LDAUU", "LDAUJ", "LDAUL", "RWIGS"):
        values = inputs.reals(tag, len(inputs.counts), [])
        return [int(v) for v in values] if tag == "LDAUL" else values
    if tag in widths:
        return inputs.reals(tag, widths[tag], [])
    try:
        return inputs.real(tag, 0.0)
    except StopError:  # a tag that the program does not know: as text, as it stands
        return inputs.incar[tag]


def groups(inputs: Inputs) -> list[tuple[str, list[Any]]]:
    """Name of each separator with its tags; a nested separator is a pair of the same kind in the list."""
    u = inputs.hubbard()
    guess = [float(x) for x in inputs.guess().ravel()]
    tolerance = inputs.real("EDIFF", 1e-4)
    smearing = [("ISMEAR", inputs.integer("ISMEAR", 1)), ("SIGMA", inputs.real("SIGMA", 0.2))]
    smearing += [("KSPACING", inputs.real("KSPACING", 0.5)), ("KGAMMA", inputs.logical("KGAMMA", True))]
    startup = [("ISTART", inputs.integer("ISTART", 0)), ("ICHARG", inputs.integer("ICHARG", 2)), ("INIWAV", 1)]
    spin = [
        ("ISPIN", 2 if inputs.spin == 2 else 1),
        ("LNONCOLLINEAR", inputs.spin == 4),
        ("MAGMOM", guess),
        ("NUPDOWN", inputs.real("NUPDOWN", -1.0)),
        ("LSORBIT", inputs.logical("LSORBIT")),
        ("SAXIS", inputs.reals("SAXIS", 3, [0.0, 0.0, 1.0])),
    ]
    convergence = [("NELM", inputs.integer("NELM", 60)), ("NELMDL", -5), ("NELMIN", inputs.integer("NELMIN", 2))]
    electronic = [
        ("PREC", inputs.text("PREC", "normal").lower()[:6]),
        ("ENMAX", inputs.cutoff),
        ("EDIFF", tolerance),
        ("IALGO", {"N": 38, "V": 48, "F": 68, "A": 58}.get(inputs.text("ALGO", "N")[:1].upper(), 38)),
        ("NBANDS", band_count(inputs)),
        ("NELECT", inputs.electrons),
        ("electronic smearing", smearing),
        ("electronic projectors", [("LREAL", False), ("LMAXMIX", inputs.integer("LMAXMIX", 2))]),
        ("electronic startup", startup),
        ("electronic spin", spin),
        ("electronic exchange-correlation", [("LASPH", inputs.logical("LASPH")), ("LMETAGGA", False)]),
        ("electronic convergence", convergence),
        ("electronic mixer", [("AMIX", inputs.real("AMIX", 0.4)), ("BMIX", inputs.real("BMIX", 1.0)), ("AMIN", 0.1)]),
    ]
    ionic = [("NSW", inputs.integer("NSW", 0)), ("IBRION", ibrion(inputs)), ("ISIF", inputs.integer("ISIF", 2))]
    ionic += [("EDIFFG", inputs.real("EDIFFG", 10 * tolerance)), ("POTIM", inputs.real("POTIM", 0.5))]
    dos = [("LORBIT", inputs.integer("LORBIT", 0)), ("NEDOS", inputs.integer("NEDOS", 301)), ("EFERMI", 0.0)]
    writing = [("LWAVE", inputs.logical("LWAVE", True)), ("LCHARG", inputs.logical("LCHARG", True))]
    # VASP cuts LDAUL, LDAUU and LDAUJ to one value here.
    hubbard = [("LDAUTYPE", [2]), ("LDAUL", [u[0][1]]), ("LDAUU", [u[0][2]]), ("LDAUJ", [u[0][3]])] if u else []
    return [
        ("general", [("SYSTEM", inputs.text("SYSTEM", "unknown system")), ("LCOMPAT", False)]),
        ("electronic", electronic),
        ("grids", [("NGX", 40), ("NGY", 20), ("NGZ", 20), ("NGXF", 80), ("NGYF", 40), ("NGZF", 40)]),
        ("ionic", ionic),
        ("symmetry", [("ISYM", inputs.integer("ISYM", 2)), ("SYMPREC", inputs.real("SYMPREC", 1e-5))]),
        ("dos", dos),
        ("writing", writing),
        ("", [("GGA_COMPAT", inputs.logical("GGA_COMPAT", True)), ("LDAU", bool(u)), *hubbard]),
        ("electronic exchange-correlation", [("GGA", "--"), ("LHFCALC", False), ("AEXX", 0.0), ("HFSCREEN", 0.0)]),
        ("vdW DFT", [("LUSE_VDW", False)]),
        ("linear response parameters", [("LEPSILON", False)]),
    ]
