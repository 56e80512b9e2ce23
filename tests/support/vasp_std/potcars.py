"""Invented POTCARs in the form that VASP, pymatgen and this program read: no potential, no licensed content.

Of a real one they share the element, the name and the number of valence electrons. Every other number is made up, so
pymatgen warns that it does not know them.
"""

from pathlib import Path

FOLDERS = {
    "PBE": "POT_GGA_PAW_PBE",
    "PBE_52": "POT_GGA_PAW_PBE_52",
    "PBE_54": "POT_GGA_PAW_PBE_54",
    "PBE_64": "POT_PAW_PBE_64",
}
"""Folder of each edition below PMG_VASP_PSP_DIR, as pymatgen looks for it."""

DATES = {"PBE": "01Jan2000", "PBE_52": "01Jan2012", "PBE_54": "01Jan2015", "PBE_64": "01Jan2024"}
"""Invented, and different: two editions are two levels of theory."""

VALENCE = {
    **{"Mn": 7, "Mn_pv": 13, "Mn_sv": 15, "Fe": 8, "Fe_pv": 14, "Co": 9, "Co_pv": 15, "Ni": 10, "Ni_pv": 16},
    **{"O": 6, "O_s": 6, "O_h": 6, "Mg": 2, "Mg_pv": 8, "Si": 4, "Al": 3, "Li": 1, "Li_sv": 3, "Cu": 11, "Zn": 12},
    **{"Ti": 4, "Ti_pv": 10, "V": 5, "V_pv": 11, "Cr": 6, "Cr_pv": 12, "Ca_sv": 10, "S": 6, "F": 7, "N": 5},
}
"""Name of the POTCAR -> valence electrons."""

MASSES = {
    **{"Mn": 54.938, "Fe": 55.845, "Co": 58.933, "Ni": 58.693, "O": 15.999, "Mg": 24.305, "Si": 28.085, "Al": 26.982},
    **{"Li": 6.94, "Cu": 63.546, "Zn": 65.38, "Ti": 47.867, "V": 50.942, "Cr": 51.996, "Ca": 40.078, "S": 32.06},
    **{"F": 18.998, "N": 14.007},
}

_TEMPLATE = """\
  PAW_PBE {name} {date}
   {valence:.10f}
 parameters from PSCTR are:
   VRHFIN ={element}: invented for tests
   LEXCH  = PE
   EATOM  =   100.0000 eV,    7.3500 Ry

   TITEL  = PAW_PBE {name} {date}
   LULTRA =        F    use ultrasoft PP ?
   IUNSCR =        1    unscreen: 0-lin 1-nonlin 2-no
   RPACOR =    1.500    partial core radius
   POMASS = {mass:8.3f}; ZVAL   = {valence:8.3f}    mass and valenz
   RCORE  =    {radius:.3f}    outmost cutoff radius
   RWIGS  =    {radius:.3f}; RWIGS  =    {radius:.3f}    wigner-seitz radius (au A)
   ENMAX  =  {cutoff:.3f}; ENMIN  =  200.000 eV
   ICORE  =        2    local potential
   LCOR   =        T    correct aug charges
   LPAW   =        T    paw PP
   EAUG   =  500.000
   DEXC   =    0.000
   RMAX   =    2.000    core radius for proj-oper
   RAUG   =    1.300    factor for augmentation sphere
   RDEP   =    2.000    radius for radial grids
   RDEPT  =    1.500    core radius for aug-charge

   Atomic configuration
    1 entries
     n  l   j            E        occ.
     3  0  0.50      -10.0000  {valence:8.4f}
   Description
     l       E           TYP  RCUT    TYP  RCUT
     0    -10.0000000     23  1.500
   Error from kinetic energy argument (eV)
   NDATA  =      100
   STEP   =   20.000   1.050
  10.0      10.0      10.0      10.0      10.0      10.0      10.0
END of PSCTR-controll parameters
 local part
  1.0000000000000
  0.1000000000E+01  0.2000000000E+01  0.3000000000E+01
 End of Dataset
"""


def potcar(name: str, edition: str = "PBE") -> str:
    """Text of one POTCAR such as ``Ni_pv``."""
    element, valence = name.split("_")[0], VALENCE[name]
    metal = element not in ("O", "S", "F", "N")
    return _TEMPLATE.format(
        name=name,
        element=element,
        date=DATES[edition],
        valence=float(valence),
        mass=MASSES[element],
        radius=1.3 if metal else 0.8,
        cutoff=300.0 if metal else 400.0,
    )


def write_potcars(folder: Path) -> Path:
    """A tree to point PMG_VASP_PSP_DIR at: every edition of FOLDERS with every name of VALENCE. Returns ``folder``."""
    for edition, subfolder in FOLDERS.items():
        for name in VALENCE:
            place = folder / subfolder / name
            place.mkdir(parents=True, exist_ok=True)
            (place / "POTCAR").write_text(potcar(name, edition))
    return folder
