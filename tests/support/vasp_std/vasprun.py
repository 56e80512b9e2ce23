"""vasprun.xml, written step by step."""

import time
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from tests.support.vasp_std.bands import Bands
from tests.support.vasp_std.inputs import Inputs
from tests.support.vasp_std.parameters import groups, incar_items
from tests.support.vasp_std.physics import KB
from tests.support.vasp_std.steps import Electronic, Ionic
from tests.support.vasp_std.style import Style, truth


class Vasprun:
    """Opened with all that precedes the first <calculation>."""

    def __init__(self, inputs: Inputs, style: Style):
        self.inputs, self.style = inputs, style
        self.file = Path("vasprun.xml").open("w")  # noqa: SIM115 - open as long as the program runs
        self.began = time.perf_counter()
        fractional = inputs.positions @ np.linalg.inv(inputs.lattice)
        self.add('<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n' + self._generator())
        self.add(" <incar>\n" + "".join(item(*pair, 2) for pair in incar_items(inputs)) + " </incar>\n")
        primitive = structure(inputs.lattice, fractional, 1, "primitive_cell")
        index = "".join(f'  <v type="int" >{i:9d} </v>\n' for i in range(1, inputs.n + 1))
        primitive += f' <varray name="primitive_index" >\n{index} </varray>\n'
        self.add(f" <primitive_cell>\n{primitive} </primitive_cell>\n" if style.major == 6 else primitive)
        self.add(
            _kpoints(inputs) + " <parameters>\n" + "".join(_group(*g, 2) for g in groups(inputs)) + " </parameters>\n"
        )
        self.add(_atoms(inputs) + structure(inputs.lattice, fractional, 1, "initialpos"))

    def add(self, text: str) -> None:
        self.file.write(text)
        self.file.flush()

    def _generator(self) -> str:
        values = {
            "program": "vasp ",
            "version": f"{self.style.version}  ",
            "subversion": f"{self.style.subversion}            parallel ",
            "platform": "LinuxGNU ",
            "date": time.strftime("%Y %m %d "),
            "time": time.strftime("%H:%M:%S "),
        }
        return " <generator>\n" + "".join(_text(k, v, 2) for k, v in values.items()) + " </generator>\n"

    def electronic(self, step: Electronic) -> None:
        """A step; VASP writes the parts of the energy in the first and the last."""
        parts = {"eentropy": -step.entropy, "bandstr": step.free + step.entropy, "atom": 0.0}
        energies = {"e_fr_energy": step.free, "e_wo_entrp": step.without_entropy, "e_0_energy": step.sigma_zero}
        shown = {**(parts if step.number == 1 or step.last else {}), **energies}
        start = "" if step.number > 1 else " <calculation>\n"
        self.add(start + "  <scstep>\n" + self._time("total", 3) + _energy(shown, 3) + "  </scstep>\n")

    def _time(self, name: str, indent: int) -> str:
        seconds = time.perf_counter() - self.began
        return f'{" " * indent}<time name="{name}">{seconds:8.2f}{seconds:8.2f}</time>\n'

    def ionic(self, step: Ionic, bands: Bands | None) -> None:
        """Geometry, forces, stress (kB, VASP's sign) and energies; bands are written in the last step only."""
        last = step.last
        energies = {"e_fr_energy": last.free, "e_wo_entrp": last.without_entropy, "e_0_energy": last.sigma_zero}
        if self.style.major == 5:  # as VASP 5 does: E0 under another name, and minus the entropy under E0's
            energies = {"e_fr_energy": last.free, "e_wo_entrp": last.sigma_zero, "e_0_energy": -last.entropy}
        self.add(
            structure(step.lattice, step.fractional, 2)
            + _varray("forces", step.state.forces, 2)
            + _varray("stress", -KB * step.state.stress, 2)
            + _energy(energies, 2)
            + self._time("totalsc", 2)
            + ("" if bands is None else _eigenvalues(bands) + _dos(bands, self.inputs.integer("NEDOS", 301)))
            + " </calculation>\n"
        )

    def end(self, lattice: np.ndarray, fractional: np.ndarray) -> None:
        self.add(structure(lattice, fractional, 1, "finalpos") + "</modeling>\n")
        self.file.close()


def item(tag: str, value: Any, indent: int) -> str:
    """One tag as VASP writes it: the attribute ``type`` is left out for reals."""
    many = isinstance(value, list)
    values = value if many else [value]
    if isinstance(values[0], bool):
        kind, text = 'type="logical" ', "".join(f" {truth(v)}  " for v in values)
    elif isinstance(values[0], int):
        kind, text = 'type="int" ', "".join(f"{v:6d}" for v in values)
    elif isinstance(values[0], str):
        kind, text = 'type="string" ', escape(values[0])
    else:
        kind, text = "", "".join(f"{v:16.8f}" for v in values)
    element = "v" if many else "i"
    return f'{" " * indent}<{element} {kind}name="{tag}">{text}</{element}>\n'


def _text(name: str, value: str, indent: int) -> str:
    return f'{" " * indent}<i name="{name}" type="string">{escape(value)}</i>\n'


def _group(name: str, content: list[Any], indent: int) -> str:
    inner = "".join(
        _group(key, value, indent + (1 if name else 0))
        if isinstance(value, list) and value and isinstance(value[0], tuple)
        else item(key, value, indent + (1 if name else 0))
        for key, value in content
    )
    pad = " " * indent
    return f'{pad}<separator name="{name}" >\n{inner}{pad}</separator>\n' if name else inner


def _varray(name: str, matrix: np.ndarray, indent: int) -> str:
    pad = " " * indent
    lines = "".join(f"{pad} <v> {_numbers(row)} </v>\n" for row in matrix)
    return f'{pad}<varray name="{name}" >\n{lines}{pad}</varray>\n'


def _numbers(row: Any) -> str:
    return "".join(f"{x:17.8f}" for x in row)[1:]


def structure(lattice: np.ndarray, fractional: np.ndarray, indent: int, name: str | None = None) -> str:
    pad = " " * indent
    title = f'{pad}<structure name="{name}" >\n' if name else f"{pad}<structure>\n"
    volume = f'{pad}  <i name="volume">{abs(np.linalg.det(lattice)):16.8f} </i>\n'
    crystal = (
        _varray("basis", lattice, indent + 2) + volume + _varray("rec_basis", np.linalg.inv(lattice).T, indent + 2)
    )
    positions = _varray("positions", fractional, indent + 1)
    return f"{title}{pad} <crystal>\n{crystal}{pad} </crystal>\n{positions}{pad}</structure>\n"


def _kpoints(inputs: Inputs) -> str:
    mesh = inputs.mesh
    generation = ""
    if all(mesh.divisions):
        shift = 0.5 if mesh.style == "Monkhorst-Pack" else 0.0
        divisions = "".join(f"{n:9d}" for n in mesh.divisions)
        vectors = {"usershift": [0.0, 0.0, 0.0]}
        vectors |= {f"genvec{i + 1}": list(np.eye(3)[i] / n) for i, n in enumerate(mesh.divisions)}
        vectors["shift"] = [shift if n % 2 == 0 else 0.0 for n in mesh.divisions]
        lines = "".join(f'   <v name="{k}">{_numbers(v)} </v>\n' for k, v in vectors.items())
        lines = f'   <v type="int" name="divisions">{divisions} </v>\n{lines}'
        generation = f'  <generation param="{mesh.style}">\n{lines}  </generation>\n'
    points = _varray("kpointlist", mesh.points, 2) + _varray("weights", mesh.weights[:, None], 2)
    return f" <kpoints>\n{generation}{points} </kpoints>\n"


def _atoms(inputs: Inputs) -> str:
    sites = "".join(
        f"    <rc><c>{s:<2}</c><c>{b + 1:4d}</c></rc>\n" for s, b in zip(inputs.species, inputs.blocks, strict=True)
    )
    types = "".join(
        f"    <rc><c>{count:4d}</c><c>{p.element:<2}</c><c>{p.mass:17.8f}</c><c>{p.valence:17.8f}</c>"
        f"<c>  {p.title:<38}</c></rc>\n"
        for count, p in zip(inputs.counts, inputs.potcars, strict=True)
    )
    return (
        f" <atominfo>\n  <atoms>{inputs.n:8d} </atoms>\n  <types>{len(inputs.counts):8d} </types>\n"
        '  <array name="atoms" >\n   <dimension dim="1">ion</dimension>\n   <field type="string">element</field>\n'
        f'   <field type="int">atomtype</field>\n   <set>\n{sites}   </set>\n  </array>\n'
        '  <array name="atomtypes" >\n   <dimension dim="1">type</dimension>\n'
        '   <field type="int">atomspertype</field>\n'
        '   <field type="string">element</field>\n   <field>mass</field>\n   <field>valence</field>\n'
        f'   <field type="string">pseudopotential</field>\n   <set>\n{types}   </set>\n  </array>\n </atominfo>\n'
    )


def _energy(values: dict[str, float], indent: int) -> str:
    pad = " " * indent
    return (
        f"{pad}<energy>\n"
        + "".join(f'{pad} <i name="{k}">{v:16.8f} </i>\n' for k, v in values.items())
        + f"{pad}</energy>\n"
    )


def _eigenvalues(bands: Bands) -> str:
    text = "  <eigenvalues>\n   <array>\n"
    text += "".join(
        f'    <dimension dim="{i}">{name}</dimension>\n' for i, name in enumerate(("band", "kpoint", "spin"), 1)
    )
    text += "    <field>eigene</field>\n    <field>occ</field>\n    <set>\n"
    for spin, (energies, occupied) in enumerate(zip(bands.energies, bands.occupations, strict=True), 1):
        text += f'     <set comment="spin {spin}">\n'
        for k, (row, occ) in enumerate(zip(energies, occupied, strict=True), 1):
            lines = "".join(f"       <r>{e:11.4f}{o:10.4f} </r>\n" for e, o in zip(row, occ, strict=True))
            text += f'      <set comment="kpoint {k}">\n{lines}      </set>\n'
        text += "     </set>\n"
    return text + "    </set>\n   </array>\n  </eigenvalues>\n"


def _dos(bands: Bands, points: int) -> str:
    """Total only: number of states below each energy, and its slope."""
    grid = np.linspace(bands.energies.min() - 1, bands.energies.max() + 1, points)
    text = f'  <dos>\n   <i name="efermi">{bands.fermi:16.8f} </i>\n   <total>\n    <array>\n'
    text += '     <dimension dim="1">gridpoints</dimension>\n     <dimension dim="2">spin</dimension>\n'
    text += "".join(f"     <field>{name}</field>\n" for name in ("energy", "total", "integrated")) + "     <set>\n"
    for spin, energies in enumerate(bands.energies, 1):
        below = np.searchsorted(np.sort(energies.ravel()), grid) / len(energies)
        rows = zip(grid, np.gradient(below, grid), below, strict=True)
        lines = "".join(f"       <r>{e:11.4f}{d:11.4f}{n:11.4f} </r>\n" for e, d, n in rows)
        text += f'      <set comment="spin {spin}">\n{lines}      </set>\n'
    return text + "     </set>\n    </array>\n   </total>\n  </dos>\n"
