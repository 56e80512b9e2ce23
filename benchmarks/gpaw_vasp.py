"""The same twelve configurations through GPAW and through the inputs of the VASP engine: what differs by construction.

``python benchmarks/gpaw_vasp.py [--keep FILE]`` (about 6 minutes; with ``--keep`` what is finished is not done again).
Prints the Markdown of docs/results/gpaw-vasp.md. VASP itself does not run: its POTCARs have to be installed
(pymatgen's PMG_VASP_PSP_DIR), or the invented ones of the tests stand in (``--invented``), whose names, elements and
numbers of valence electrons are those of the real ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.io.vasp import Incar, Kpoints, Poscar

from datastore.schema import SpinConfig
from workflows.engines import get_engine
from workflows.engines.vasp import potcars
from workflows.engines.vasp.inputs import ORDER_FILE, SpinStaticSetGenerator
from workflows.engines.vasp.settings import VaspSettings
from workflows.finished import Finished
from workflows.structures import apply_ordering, deform, rocksalt

LATTICE = {"Ni": 4.17, "Mn": 4.44, "Co": 4.26}
"""Conventional lattice constants, Angstrom."""
AMPLITUDES = (0.0, 0.06)
"""Angstrom, random displacements."""
ORDERINGS = ("FM", "AFM-II")


def configurations() -> Iterator[tuple[str, SpinConfig]]:
    """Name and configuration: three oxides, ideal and displaced, in two orderings of one cell."""
    for element, constant in LATTICE.items():
        for amplitude in AMPLITUDES:
            parent = rocksalt(element, lattice_constant=constant, cell="rhombohedral4")
            moved = deform(parent, "displacement", amplitude, seed=1)[0] if amplitude else parent
            for ordering in ORDERINGS:
                kind = "displaced" if amplitude else "ideal"
                config = SpinConfig.from_structure(apply_ordering(moved, ordering), ordering)
                yield f"{element}O, {kind}, {ordering}", config


def through_gpaw(config: SpinConfig) -> dict[str, Any]:
    """What GPAW was given and gave."""
    engine = get_engine("gpaw")
    label = engine.label(config)
    return {
        "mesh": label.kpoints,
        "electrons": gpaw_electrons(config.species),
        "total": label.total_moment,
        "moments": label.magmoms_out.tolist(),
        "energy": label.free_energy,
        "gap": label.band_gap,
    }


def gpaw_electrons(species: list[str]) -> int:
    from gpaw.setup_data import SetupData

    return sum(int(SetupData(symbol, "PBE").Nv) for symbol in species)


def through_vasp(config: SpinConfig, settings: VaspSettings) -> dict[str, Any]:
    """What the files say that the VASP engine would run, back in the order of the configuration's sites."""
    with tempfile.TemporaryDirectory() as folder:
        SpinStaticSetGenerator(settings=settings).input_for(config).write_input(folder)
        incar, kpoints = Incar.from_file(f"{folder}/INCAR"), Kpoints.from_file(f"{folder}/KPOINTS")
        poscar = Poscar.from_file(f"{folder}/POSCAR", check_for_potcar=False)
        order = read_order(Path(folder, ORDER_FILE))
    back = np.argsort(order)
    symbols = [site.specie.symbol for site in poscar.structure]
    blocks = poscar.site_symbols
    u = dict(zip(blocks, incar["LDAUU"], strict=True))
    names = [settings.potcars[symbol] for symbol in symbols]
    return {
        "species": [symbols[k] for k in back],
        "magmoms": [float(incar["MAGMOM"][k]) for k in back],
        "u": [u[symbols[k]] for k in back],
        "positions": poscar.structure.cart_coords[back].tolist(),
        "mesh": [int(n) for n in kpoints.kpts[0]],
        "electrons": round(sum(potcars.read(name, settings.potcar_functional).zval for name in names)),
    }


def read_order(path: Path) -> list[int]:
    return list(json.loads(path.read_text())["order"])


def check_same(config: SpinConfig, found: dict[str, Any], hubbard_u: dict[str, float]) -> None:
    """Both programs were asked for the same: AssertionError where not."""
    assert found["species"] == config.species
    np.testing.assert_allclose(found["magmoms"], config.magmoms_in, atol=1e-9)
    np.testing.assert_allclose(found["positions"], config.positions, atol=1e-6)
    assert found["u"] == [hubbard_u.get(symbol, 0.0) for symbol in config.species]


def construction(settings: VaspSettings) -> str:
    """What the two level-of-theory documents say, beside each other."""
    gpaw, tags = get_engine("gpaw").level_of_theory(), settings.tags()
    electrons = {symbol: gpaw_electrons([symbol]) for symbol in ("Mn", "Co", "Ni", "O")}
    files = {e: potcars.read(settings.potcars[e], settings.potcar_functional).zval for e in electrons}
    rows = [
        ("core electrons", f"{gpaw['setups']}", f"POTCARs {', '.join(settings.potcars.values())}"),
        ("valence electrons", _pairs(electrons), _pairs(files)),
        ("plane waves", f"{gpaw['ecut']:g} eV", f"{settings.encut:g} eV"),
        ("U (eV)", _pairs(gpaw["hubbard_u"]), _pairs(settings.hubbard_u)),
        (
            "what U acts on",
            f"{gpaw['hubbard_projection']} projection within the augmentation sphere",
            f"LDAUTYPE 2, projectors of the POTCAR; LMAXMIX {tags['LMAXMIX']}, LASPH {tags['LASPH']}",
        ),
        (
            "smearing",
            f"{gpaw['smearing']['name']}, {gpaw['smearing']['width']:g} eV",
            f"ISMEAR {tags['ISMEAR']} (Gaussian), {tags['SIGMA']:g} eV",
        ),
        (
            "k points",
            f"table by cell, else {gpaw['kpoint_length']:g} Angstrom; Gamma",
            f"{settings.kppvol:g} per reciprocal volume of the parent; Gamma",
        ),
        ("moment of a site", "integral over the augmentation sphere", f"LORBIT {tags['LORBIT']}: PAW projections"),
        ("zero of the energy", "atoms of its setups", "atoms of its POTCARs (EATOM)"),
        ("convergence", _pairs(gpaw["convergence"]), f"EDIFF {tags['EDIFF']:g} eV"),
    ]
    lines = ["| | GPAW engine | VASP engine |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def table(rows: dict[str, tuple[SpinConfig, dict[str, Any], dict[str, Any]]]) -> str:
    lines = [
        "| configuration | MAGMOM asked of both | k mesh: GPAW, VASP | electrons: GPAW, VASP | GPAW: moments of the "
        "sites | their sum | total moment | E(FM) - E(AFM-II), meV/atom |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, (config, gpaw, vasp) in rows.items():
        other = rows[name.replace("AFM-II", "FM")][1]
        gap = "" if config.ordering == "FM" else f"{(other['energy'] - gpaw['energy']) / len(config.species) * 1e3:.1f}"
        cells = [
            name,
            _moments(vasp["magmoms"], 1),
            f"{_mesh(gpaw['mesh'])}, {_mesh(vasp['mesh'])}",
            f"{gpaw['electrons']}, {vasp['electrons']}",
            _moments(gpaw["moments"], 2),
            _moments([sum(gpaw["moments"])], 2),
            _moments([gpaw["total"]], 2),
            gap,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _moments(values: list[float], digits: int) -> str:
    return " ".join(f"{round(value, digits) + 0.0:.{digits}f}" for value in values)


def _mesh(mesh: list[int]) -> str:
    return "x".join(map(str, mesh))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="keep finished GPAW calculations in this file")
    parser.add_argument("--invented", action="store_true", help="use the tests' POTCARs (headers only)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.invented:
            install_invented(Path(folder))
        settings = VaspSettings()
        finished = Finished(options.keep, source=get_engine("gpaw").level_id())
        rows = {}
        for name, config in configurations():
            if config.config_id not in finished:
                finished.add(config.config_id, through_gpaw(config))
            vasp = through_vasp(config, settings)
            check_same(config, vasp, settings.hubbard_u)
            rows[name] = (config, finished[config.config_id], vasp)
        print(construction(settings), table(rows), sep="\n\n")


def install_invented(folder: Path) -> None:
    import pymatgen.core

    from tests.support.vasp_std.potcars import write_potcars

    pymatgen.core.SETTINGS["PMG_VASP_PSP_DIR"] = str(write_potcars(folder))


if __name__ == "__main__":
    main()
