# ruff: noqa: E501 - lines are as long as VASP's
"""The OUTCAR up to the first electronic step: what the run was told, and what became of it."""

import time

import numpy as np

from tests.support.vasp_std.bands import band_count
from tests.support.vasp_std.inputs import Inputs, Potcar
from tests.support.vasp_std.style import Style, truth

RULE = "-" * 104
SECTION = f"\n\n{RULE}\n\n\n"


def head(inputs: Inputs, style: Style) -> str:
    parts = [_machine(style), SECTION, _incar(inputs, style)]
    titles = [f" POTCAR:    {p.title:<38}\n" for p in inputs.potcars]
    parts += (
        [title + _potcar(p) for title, p in zip(titles, inputs.potcars, strict=True)]
        if style.major == 6
        else [*titles, *(title + _potcar(p) for title, p in zip(titles, inputs.potcars, strict=True))]
    )
    parts += [_poscar(inputs), SECTION, _symmetry(inputs), SECTION, _mesh(inputs), SECTION, _dimensions(inputs)]
    parts += [_start(inputs), _ionic(inputs), _species(inputs), _electronic(inputs), _flags(inputs, style)]
    parts += [
        _hubbard(inputs),
        _functional(style),
        SECTION,
        _plan(inputs),
        SECTION,
        cell(inputs.lattice, inputs.cutoff),
    ]
    parts += [_points(inputs), _positions(inputs), SECTION, _waves(inputs), SECTION, _charge(inputs), SECTION]
    return "".join(parts)


def _machine(style: Style) -> str:
    now = time.strftime("%Y.%m.%d  %H:%M:%S")
    if style.major == 5:
        cores = " running on    1 total cores\n"
        bands = " distr:  one band on NCORES_PER_BAND=   1 cores,    1 groups\n"
        where = f" executed on             LinuxGNU date {now}\n"
    else:
        cores = " running    1 mpi-ranks, with    1 threads/rank, on    1 nodes\n"
        bands = " distr:  one band on NCORE=   1 cores,    1 groups\n"
        where = f" executed on    LinuxGNU date {now}\n"
    return f"{style.title}\n \n{where}{cores} distrk:  each k-point on    1 cores,    1 groups\n{bands}"


def _incar(inputs: Inputs, style: Style) -> str:
    echo = "".join(f"   {tag} = {value}\n" for tag, value in inputs.incar.items()) if style.major == 6 else ""
    titles = "".join(f" POTCAR:    {p.title:<38}\n" for p in inputs.potcars) if style.major == 6 else ""
    return f" INCAR:\n{echo}\n{titles}"


def _potcar(potcar: Potcar) -> str:
    lines = "".join(f"{line:<97}\n" for line in potcar.header)
    return f"{lines}  local pseudopotential read in\n    PAW grid and wavefunctions read in\n \n"


def _poscar(inputs: Inputs) -> str:
    atoms = "".join(
        f"  {p.title:<38}:\n energy of atom{i:3d}       EATOM= -100.0000\n" for i, p in enumerate(inputs.potcars, 1)
    )
    return (
        f"{atoms} \n \n POSCAR: {inputs.comment}\n  positions in direct lattice\n  No initial velocities read in\n"
        " exchange correlation table for  LEXCH =        8\n"
    )


def _symmetry(inputs: Inputs) -> str:
    neighbours = "".join(
        f"{i:4d}{x:7.3f}{y:7.3f}{z:7.3f}-\n"
        for i, (x, y, z) in enumerate(inputs.positions @ np.linalg.inv(inputs.lattice), 1)
    )
    lattice = "".join(f" A{i} = ({a:15.10f},{b:15.10f},{c:15.10f})\n" for i, (a, b, c) in enumerate(inputs.lattice, 1))
    return f" ion  position               nearest neighbor table\n{neighbours} \n  Lattice vectors:\n  \n{lattice}"


def _mesh(inputs: Inputs) -> str:
    mesh, reciprocal = inputs.mesh, np.linalg.inv(inputs.lattice).T
    blocks = []
    for title, points in (("reciprocal", mesh.points), ("cartesian", mesh.points @ reciprocal)):
        table = "".join(
            f"{x:10.6f}{y:10.6f}{z:10.6f}{w:14.6f}\n"
            for (x, y, z), w in zip(points, mesh.weights / mesh.weights.min(), strict=True)
        )
        blocks.append(f" Following {title} coordinates:\n            Coordinates               Weight\n{table} \n")
    kind = "Automatic generation of k-mesh.\n" if all(mesh.divisions) else ""
    return (
        f" \n KPOINTS: {mesh.comment}\n\n{kind}\n Subroutine IBZKPT returns following result:\n"
        f" ===========================================\n\n Found{len(mesh.points):7d} irreducible k-points:\n \n"
        + "".join(blocks)
    )


def _dimensions(inputs: Inputs) -> str:
    points = len(inputs.mesh.points)
    kinds = "".join(f"{count:4d}" for count in inputs.counts)
    return (
        " Dimension of arrays:\n"
        f"   k-points           NKPTS ={points:7d}   k-points in BZ     NKDIM ={points:7d}   number of bands    NBANDS={band_count(inputs):7d}\n"
        f"   number of dos      NEDOS ={inputs.integer('NEDOS', 301):7d}   number of ions     NIONS ={inputs.n:7d}\n"
        "   total plane-waves  NPLWV =  16000\n"
        "   dimension x,y,z NGX =    40 NGY =   20 NGZ =   20\n"
        "   dimension x,y,z NGXF=    80 NGYF=   40 NGZF=   40\n"
        f"   ions per type =            {kinds}\n\n"
        f" SYSTEM =  {inputs.text('SYSTEM', 'unknown system'):<40}\n POSCAR =  {inputs.comment:<40}\n\n"
    )


def _start(inputs: Inputs) -> str:
    soc, vectors = inputs.logical("LSORBIT"), inputs.spin == 4
    restart = inputs.integer("ISTART", 0)
    return (
        " Startparameter for this run:\n"
        "   NWRITE =      2    write-flag & timer\n"
        f"   PREC   = {inputs.text('PREC', 'normal').lower()[:6]:<6}    normal or accurate (medium, high low for compatibility)\n"
        f"   ISTART = {restart:6d}    job   : 0-new  1-cont  2-samecut\n"
        f"   ICHARG = {inputs.integer('ICHARG', 0 if restart else 2):6d}    charge: 1-file 2-atom 10-const\n"
        f"   ISPIN  = {2 if inputs.spin == 2 else 1:6d}    spin polarized calculation?\n"
        f"   LNONCOLLINEAR = {truth(vectors):>6} non collinear calculations\n"
        f"   LSORBIT = {truth(soc):>6}    spin-orbit coupling\n"
        "   INIWAV =      1    electr: 0-lowe 1-rand  2-diag\n"
        f"   LASPH  = {truth(inputs.logical('LASPH')):>6}    aspherical Exc in radial PAW\n"
        " Electronic Relaxation 1\n"
        f"   ENCUT  = {inputs.cutoff:6.1f} eV {inputs.cutoff / 13.605826:6.2f} Ry  {(inputs.cutoff / 13.605826) ** 0.5:6.2f} a.u.   9.26  4.63  4.63*2*pi/ulx,y,z\n"
        f"   ENINI  = {inputs.cutoff:6.1f}     initial cutoff\n"
        f"   NELM   = {inputs.integer('NELM', 60):6d};   NELMIN={inputs.integer('NELMIN', 2):3d}; NELMDL= -5     # of ELM steps \n"
        f"   EDIFF  = {inputs.real('EDIFF', 1e-4):7.1E}   stopping-criterion for ELM\n"
        f"   LREAL  = {truth(False):>6}    real-space projection\n"
        f"   LMAXMIX     = {inputs.integer('LMAXMIX', 2):4d} max onsite mixed and CHGCAR\n"
    )


def _ionic(inputs: Inputs) -> str:
    return (
        " Ionic relaxation\n"
        f"   EDIFFG = {inputs.real('EDIFFG', 10 * inputs.real('EDIFF', 1e-4)):7.1E}   stopping-criterion for IOM\n"
        f"   NSW    = {inputs.integer('NSW', 0):6d}    number of steps for IOM\n"
        f"   IBRION = {ibrion(inputs):6d}    ionic relax: 0-MD 1-quasi-New 2-CG\n"
        f"   ISIF   = {inputs.integer('ISIF', 2):6d}    stress and relaxation\n"
        f"   ISYM   = {inputs.integer('ISYM', 2):6d}    0-nonsym 1-usesym 2-fastsym\n"
        "\n"
        f"   POTIM  = {inputs.real('POTIM', 0.5):6.4f}    time-step for ionic-motion\n"
        "   TEIN   =    0.0    initial temperature\n"
        "   PSTRESS=    0.0 pullay stress\n\n"
    )


def ibrion(inputs: Inputs) -> int:
    return inputs.integer("IBRION", -1 if inputs.integer("NSW", 0) == 0 else 0)


def _species(inputs: Inputs) -> str:
    def line(values: list[float]) -> str:
        return "".join(f"{v:6.2f}" for v in values)

    return (
        f"  Mass of Ions in am\n   POMASS = {line([p.mass for p in inputs.potcars])}\n"
        f"  Ionic Valenz\n   ZVAL   = {line([p.valence for p in inputs.potcars])}\n"
        f"  Atomic Wigner-Seitz radii\n   RWIGS  = {line([-1.0] * len(inputs.potcars))}\n"
        f"  virtual crystal weights \n   VCA    = {line([1.0] * len(inputs.potcars))}\n"
        f"   NELECT = {inputs.electrons:12.4f}    total number of electrons\n"
        f"   NUPDOWN= {inputs.real('NUPDOWN', -1.0):12.4f}    fix difference up-down\n\n"
        " DOS related values:\n"
        "   EMIN   =  10.00;   EMAX   =-10.00  energy-range for DOS\n"
        "   EFERMI =   0.00\n"
        f"   ISMEAR ={inputs.integer('ISMEAR', 1):6d};   SIGMA  = {inputs.real('SIGMA', 0.2):6.2f}  broadening in eV -4-tet -1-fermi 0-gaus\n\n"
    )


def _electronic(inputs: Inputs) -> str:
    algorithm = {"N": 38, "V": 48, "F": 68, "A": 58, "D": 53}.get(inputs.text("ALGO", "Normal")[:1].upper(), 38)
    volume = abs(float(np.linalg.det(inputs.lattice))) / inputs.n
    return (
        " Electronic relaxation 2 (details)\n"
        f"   IALGO  = {algorithm:6d}    algorithm\n"
        "   LDIAG  =      T    sub-space diagonalisation (order eigenvalues)\n"
        "   IMIX   =      4    mixing-type and parameters\n"
        f"     AMIX     ={inputs.real('AMIX', 0.4):7.2f};   BMIX     ={inputs.real('BMIX', 1.0):6.2f}\n"
        f"     AMIN     ={inputs.real('AMIN', 0.1):7.2f}\n\n"
        f"  volume/ion in A,a.u.               ={volume:11.2f}{volume / 0.14818471:13.2f}\n \n"
    )


def _flags(inputs: Inputs, style: Style) -> str:
    return (
        " Write flags\n"
        f"   LWAVE        = {truth(inputs.logical('LWAVE', True)):>6}    write WAVECAR\n"
        f"   LCHARG       = {truth(inputs.logical('LCHARG', True)):>6}    write CHGCAR\n"
        f"   LORBIT       = {inputs.integer('LORBIT', 0):6d}    0 simple, 1 ext, 2 COOP (PROOUT), +10 PAW based schemes\n\n\n"
        " Dipole corrections\n"
        "   LMONO  =      F    monopole corrections only (constant potential shift)\n"
        "   LDIPOL =      F    correct potential (dipole corrections)\n\n"
    )


def _hubbard(inputs: Inputs) -> str:
    blocks = inputs.hubbard()
    if not blocks:
        return ""
    return (
        f" LDA+U is selected, type is set to LDAUTYPE = {inputs.integer('LDAUTYPE', 2):2d}\n"
        "   angular momentum for each species LDAUL = " + "".join(f"{b[1]:5d}" for b in blocks) + "\n"
        "   U (eV)           for each species LDAUU = " + "".join(f"{b[2]:5.1f}" for b in blocks) + "\n"
        "   J (eV)           for each species LDAUJ = " + "".join(f"{b[3]:5.1f}" for b in blocks) + "\n"
    )


def _functional(style: Style) -> str:
    voskown = "   VOSKOWN =     0    Vosko" if style.major == 6 else "   VOSKOWN=      0    Vosko"
    return (
        " Exchange correlation treatment:\n"
        "   GGA     =    --    GGA type\n"
        "   LEXCH   =     8    internal setting for exchange type\n"
        f"{voskown} Wilk Nusair interpolation\n"
        "   LHFCALC =     F    Hartree Fock is set to\n"
        "   AEXX    =    0.0000 exact exchange contribution\n\n"
    )


def _plan(inputs: Inputs) -> str:
    ions = {-1: " Static calculation\n", 1: " quasi-Newton-method for relaxation of ions\n"}
    spin = " spin polarized calculation\n" if inputs.spin == 2 else " non-spin polarized calculation\n"
    sigma = inputs.real("SIGMA", 0.2)
    smearing = f" Gauss-broadening in eV      SIGMA  ={sigma:7.2f}\n" if inputs.integer("ISMEAR", 1) == 0 else ""
    return (
        ions.get(ibrion(inputs), " conjugate gradient relaxation of ions\n")
        + " charge density and potential will be updated during run\n"
        + spin
        + " perform sub-space diagonalisation\n    before iterative eigenvector-optimisation\n"
        + smearing
    )


def cell(lattice: np.ndarray, cutoff: float) -> str:
    reciprocal = np.linalg.inv(lattice).T
    both = "".join(
        "   " + "".join(f"{x:13.9f}" for x in (*a,)) + "   " + "".join(f"{x:13.9f}" for x in (*b,)) + "\n"
        for a, b in zip(lattice, reciprocal, strict=True)
    )
    lengths = [*np.linalg.norm(lattice, axis=1)], [*np.linalg.norm(reciprocal, axis=1)]
    norms = "   " + "   ".join("".join(f"{x:13.9f}" for x in part) for part in lengths)
    return (
        f"  energy-cutoff  : {cutoff:11.2f}\n  volume of cell : {abs(np.linalg.det(lattice)):11.2f}\n"
        f"      direct lattice vectors                 reciprocal lattice vectors\n{both}\n"
        f"  length of vectors\n{norms}\n\n\n"
    )


def _points(inputs: Inputs) -> str:
    mesh, reciprocal = inputs.mesh, np.linalg.inv(inputs.lattice).T
    titles = ("k-points in units of 2pi/SCALE and weight:", "k-points in reciprocal lattice and weights:")
    text = " \n"
    for title, points in zip(titles, (mesh.points @ reciprocal, mesh.points), strict=True):
        table = "".join(
            f"{x:13.8f}{y:12.8f}{z:12.8f}{w:12.3f}\n" for (x, y, z), w in zip(points, mesh.weights, strict=True)
        )
        text += f" {title} {mesh.comment:<40}\n{table} \n"
    return text


def _positions(inputs: Inputs) -> str:
    text = ""
    fractional = inputs.positions @ np.linalg.inv(inputs.lattice)
    titles = ("in fractional coordinates (direct lattice) ", "in cartesian coordinates  (Angst):")
    for title, points in zip(titles, (fractional, inputs.positions), strict=True):
        table = "".join(f"{x:13.8f}{y:12.8f}{z:12.8f}\n" for x, y, z in points)
        text += f" position of ions {title}\n{table} \n"
    return text


def _waves(inputs: Inputs) -> str:
    lines = "".join(
        f" k-point{k:4d} :{x:9.4f}{y:7.4f}{z:7.4f}  plane waves: {600:7d}\n"
        for k, (x, y, z) in enumerate(inputs.mesh.points, 1)
    )
    return f"{lines}\n maximum and minimum number of plane-waves per node : {600:9d}{600:9d}\n\n"


def _charge(inputs: Inputs) -> str:
    total = "".join(f"{x:15.7f}" for x in np.atleast_1d(inputs.guess().sum(axis=0))) if inputs.spin > 1 else ""
    return (
        " initial charge density was supplied:\n charge density of overlapping atoms calculated\n"
        f" number of electron {inputs.electrons:15.7f} magnetization {total}\n"
        " keeping initial charge density in first step\n"
    )
