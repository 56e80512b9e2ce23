"""What real VASP wrote on stdout when it failed, one file per failure, and a folder to fail in."""

import gzip
import json
import os
import shutil
from pathlib import Path

from tests.support.vasp_std.potcars import potcar

NO_DATA = "SPINMULTINET_TEST_DATA names no folder with VASP's outputs"
MAGMOM = "2*0 1*4 1*-2 4*0"
INCAR = f"""ALGO = Normal
EDIFF = 1e-06
ENCUT = 520
GGA = Pe
ICHARG = 2
ISMEAR = 0
ISPIN = 2
ISTART = 0
ISYM = 0
LASPH = True
LDAU = True
LDAUJ = 0 0 0 0
LDAUL = -1 2 2 -1
LDAUTYPE = 2
LDAUU = 0 4.0 6 0
LMAXMIX = 4
LORBIT = 11
LREAL = False
MAGMOM = {MAGMOM}
NELM = 100
NSW = 0
PREC = Accurate
SIGMA = 0.05
"""
"""The settings of our engine."""

HARSH = f"""ALGO = Fast
EDIFF = 0.0004
ENCUT = 520
ISMEAR = -5
ISPIN = 2
LDAU = True
LDAUJ = 0 0 0 0
LDAUL = 0 2 2 0
LDAUTYPE = 2
LDAUU = 0 4.0 6 0
LMAXMIX = 4
LORBIT = 11
LREAL = Auto
MAGMOM = {MAGMOM}
NELM = 100
NPAR = 1
NSW = 0
SIGMA = 0.05
SYMPREC = 1e-5
"""
"""Settings that give custodian something to change: those of the captures, of a single point."""

POSCAR = """Na2 Fe1 Ni1 O4
1.0
-2.816100 0.000000 0.000000
-0.000000 -4.877628 0.000000
-1.408050 0.812938 4.684533
Na Fe Ni O
2 1 1 4
direct
0.000000 0.000000 0.000000
0.500000 0.500000 0.000000
0.250000 0.250000 0.500000
0.750000 0.750000 0.500000
0.859265 0.380245 0.281470
0.359265 0.880245 0.281470
0.640735 0.119755 0.718530
0.140735 0.619755 0.718530
"""
INPUTS = ("INCAR", "KPOINTS", "POSCAR")


def captures() -> Path | None:
    """Folder of the captures, None where there is none."""
    root = os.environ.get("SPINMULTINET_TEST_DATA", "")
    place = Path(root, "vasp", "custodian_stdout_errors")
    return place if root and place.is_dir() else None


def expected() -> dict[str, list[str]]:
    """File -> custodian's names of the errors in it; empty without the folder."""
    folder = captures()
    if folder is None:
        return {}
    files = json.loads((folder / "expected_errors.json").read_text())["files"]
    return {name: content["errors"] for name, content in files.items()}


def said(name: str) -> str:
    """What VASP said."""
    raw = (captures() / name).read_bytes()
    return (gzip.decompress(raw) if name.endswith(".gz") else raw).decode(errors="replace")


def write_inputs(folder: Path, incar: str = INCAR, style: str = "Gamma", originals: bool = False) -> Path:
    """A folder ready to run; with ``originals`` as custodian leaves it once it has begun."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "INCAR").write_text(incar)
    (folder / "KPOINTS").write_text(f"eight\n0\n{style}\n8 2 2\n")
    (folder / "POSCAR").write_text(POSCAR)
    sodium = potcar("Li").replace("PAW_PBE Li", "PAW_PBE Na").replace("VRHFIN =Li", "VRHFIN =Na")
    (folder / "POTCAR").write_text(sodium + "".join(potcar(name) for name in ("Fe", "Ni", "O")))
    for name in INPUTS if originals else ():
        shutil.copy(folder / name, folder / f"{name}.orig")
    return folder
