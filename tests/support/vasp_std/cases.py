"""Small runs to give the test program: structures of the spin-lattice model with the paper's INCAR."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.support.vasp_std.physics import PAPER_U
from tests.support.vasp_std.potcars import potcar

PAPER = {
    **{"ENCUT": "520", "EDIFF": "1E-6", "ISMEAR": "0", "SIGMA": "0.05", "ISPIN": "2", "LORBIT": "11", "ISYM": "0"},
    **{"LDAU": ".TRUE.", "LDAUTYPE": "2", "LASPH": ".TRUE.", "LMAXMIX": "4", "NSW": "0", "PREC": "Accurate"},
}


@dataclass(frozen=True)
class Case:
    """A cell of rocksalt cut in half, distorted. ``blocks``: POTCAR and number of sites, in the POSCAR's order."""

    blocks: list[tuple[str, int]]
    moments: list[float]
    """MAGMOM, as many numbers as the INCAR shall have."""
    tags: dict[str, str] = field(default_factory=dict)
    lattice: np.ndarray = field(default_factory=lambda: np.array([[0, 2.1, 2.1], [2.1, 0, 2.1], [4.25, 4.25, 0]]))
    fractional: np.ndarray = field(
        default_factory=lambda: np.array([[0.01, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0.25], [0.52, 0.5, 0.75]])
    )
    kpoints: str = "mesh\n0\nGamma\n4 4 2\n"
    edition: str = "PBE"

    @property
    def species(self) -> list[str]:
        return [name.split("_")[0] for name, count in self.blocks for _ in range(count)]

    @property
    def positions(self) -> np.ndarray:
        return self.fractional @ self.lattice

    def incar(self) -> dict[str, str]:
        elements = [name.split("_")[0] for name, _ in self.blocks]
        u = [PAPER_U.get(e, 0.0) for e in elements]
        hubbard = {
            "LDAUL": " ".join("2" if x else "-1" for x in u),
            "LDAUU": " ".join(str(x) for x in u),
            "LDAUJ": " ".join("0" for _ in u),
        }
        moments = {"MAGMOM": " ".join(str(m) for m in self.moments)} if self.moments else {}
        return {**PAPER, **hubbard, **moments, **self.tags}

    def write(self, folder: Path) -> Path:
        """The four input files."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "INCAR").write_text("".join(f"{tag} = {value}\n" for tag, value in self.incar().items()))
        (folder / "KPOINTS").write_text(self.kpoints)
        (folder / "POTCAR").write_text("".join(potcar(name, self.edition) for name, _ in self.blocks))
        names = " ".join(name.split("_")[0] for name, _ in self.blocks)
        counts = " ".join(str(count) for _, count in self.blocks)
        rows = [" ".join(f"{x:.16f}" for x in row) for row in (*self.lattice, *self.fractional)]
        lines = ["test", "1.0", *rows[:3], names, counts, "Direct", *rows[3:]]
        (folder / "POSCAR").write_text("\n".join(lines) + "\n")
        return folder


NIO = [("Ni_pv", 2), ("O", 2)]
CASES = {
    "collinear": Case(NIO, [2.0, -2.0, 0.0, 0.0]),
    "vectors": Case(NIO, [2.0, 0, 0, 1.4, 1.4, 0] + [0.0] * 6, {"LNONCOLLINEAR": ".TRUE."}),
    "spin-orbit": Case(NIO, [0.0, 0, 2.0, 0, 0, -2.0] + [0.0] * 6, {"LSORBIT": ".TRUE.", "ISYM": "-1"}),
    "repeated blocks": Case(
        [("Mn_pv", 1), ("O", 1), ("Ni_pv", 1), ("O", 1)],
        [4.0, 0.0, -2.0, 0.0],
        fractional=np.array([[0, 0, 0], [0.5, 0.5, 0.25], [0, 0, 0.5], [0.52, 0.5, 0.75]]),
    ),
    "relaxation": Case(NIO, [2.0, -2.0, 0.0, 0.0], {"NSW": "20", "IBRION": "2", "ISIF": "3", "EDIFFG": "-0.02"}),
    "non-magnetic": Case([("Ni", 2), ("O", 2)], [], {"ISPIN": "1"}),
    "tetrahedra": Case([("Co", 2), ("O", 2)], [3.0, 3.0, 0.0, 0.0], {"ISMEAR": "-5"}),
    "no table": Case(NIO, [2.0, -2.0, 0.0, 0.0], {"LORBIT": "0"}),
}
