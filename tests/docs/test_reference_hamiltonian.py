"""The page on the reference Hamiltonians: its Python runs, and its numbers are those of the tables."""

import re
from pathlib import Path

import numpy as np
import pytest

from workflows.engines.spin_lattice.artificial import TABLES
from workflows.engines.spin_lattice.delafossite import Delafossite
from workflows.engines.spin_lattice.perovskite import HEISENBERG, HIGH_ORDER

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference-hamiltonian.md").read_text()


def cells(name: str) -> list[str]:
    """Cells of the table row that starts with ``name``."""
    row = re.search(rf"^\| {re.escape(name)} \|(.*)\|$", PAGE, re.MULTILINE)
    assert row, name
    return [cell.strip() for cell in row[1].split("|")]


def test_its_python_runs(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert blocks
    exec(compile("\n".join(blocks), "docs/reference-hamiltonian.md", "exec"), {})
    assert "accepted" in capsys.readouterr().out


def test_constants_of_the_delafossite_are_those_of_the_table():
    table = Delafossite()
    for name, constants in {"J (meV)": table.exchange, "K (meV)": table.biquadratic}.items():
        found = {n + 1: float(text) for n, text in enumerate(cells(name)) if text}
        assert found == {n: pytest.approx(1e3 * value) for n, value in constants.items()}
    assert f"L = {1e3 * table.four_spin:g} meV" in PAGE
    assert f"a = {table.a:g} and c = {table.c:g} Angstrom" in PAGE
    assert [int(n) for n in cells("neighbours")] == table.shells()[1].tolist()
    assert np.all(np.diff(table.shells()[0]) > 0)


def test_every_hamiltonian_is_described():
    for name, table in TABLES.items():
        row = cells(f"`{name}`")
        if table in (HEISENBERG, HIGH_ORDER):
            assert f"{table.cutoff:g} Angstrom" in row[3]
