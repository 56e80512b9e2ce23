"""Small labels for the tests of the data layer, and hypothesis strategies for arbitrary ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import strategies as st

from datastore.schema import SpinFailure, SpinPoint
from datastore.stores import SpinStore, open_store

LEVEL = {"engine": "test", "U": {"Ni": 6.2}}
KINDS = ("local", "memory", "mongodb")
"""Of stores."""


@contextmanager
def new_store(kind: str, folder: Path) -> Iterator[SpinStore]:
    """An empty store of one of KINDS; in MongoDB, which is skipped where none is named, a database that is dropped."""
    if kind == "mongodb":
        base = os.environ.get("SPINMULTINET_TEST_MONGO_URI", "")
        if not base:
            pytest.skip("SPINMULTINET_TEST_MONGO_URI names no MongoDB server")
        uri = f"{base.rstrip('/')}/test_{uuid4().hex[:8]}"
    else:
        uri = {"local": f"local:{folder / 'data'}", "memory": "memory:"}[kind]
    with open_store(uri) as opened:
        yield opened
        if kind == "mongodb":
            opened.points._collection.database.client.drop_database(opened.points.database)


def make_fields(**changes: Any) -> dict[str, Any]:
    """Fields of a valid NiO AFM configuration, 4 atoms."""
    fields: dict[str, Any] = {
        "species": ["Ni", "Ni", "O", "O"],
        "lattice": np.array([[2.085, -2.085, 0.0], [0.0, 2.085, -2.085], [4.17, 2.085, 2.085]]),
        "positions": np.array([[0.0, 0.0, 0.0], [2.1, 0.01, 2.0], [2.085, 0.0, 0.0], [4.17, 0.0, 2.085]]),
        "magmoms_in": np.array([2.5, -2.5, 0.0, 0.0]),
        "ordering": "AFM-II",
        "cell": "rhombohedral4",
        "engine": "test",
        "engine_version": "1.0",
        "level_of_theory": LEVEL,
    }
    return fields | changes


def make_point(**changes: Any) -> SpinPoint:
    """A valid accepted NiO label; ``changes`` are fields, ``shift`` moves an atom to make another geometry."""
    shift = changes.pop("shift", 0.0)
    fields = make_fields(
        energy=-25.4,
        free_energy=-25.5,
        forces=np.array([[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, -0.2, 0.0]]),
        stress=np.diag([-0.08, -0.07, -0.07]),
        magmoms_out=np.array([1.8, -1.8, 0.01, -0.01]),
        total_moment=0.0,
        ordering_found="AFM-II",
        verdict="accepted",
    )
    fields["positions"] = fields["positions"] + np.outer([0, 1, 0, 0], [shift, 0, 0])
    return SpinPoint(**(fields | changes))


def make_failure(**changes: Any) -> SpinFailure:
    """The failure of the calculation that ``make_point`` (same changes) labels."""
    shift = changes.pop("shift", 0.0)
    fields = make_fields(error="no convergence in 333 steps", error_type="not-converged")
    fields["positions"] = fields["positions"] + np.outer([0, 1, 0, 0], [shift, 0, 0])
    return SpinFailure(**(fields | changes))


_number = st.floats(-1e3, 1e3, allow_nan=False).map(lambda x: x + 0.0)
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
# Texts that readers of extended XYZ like to take for something else.
_hostile = st.sampled_from(
    ["", "1234", "12e34", "T", "false", "1 2 3", 'a"b', "a\\b", "[1, 2]", "{x}", "a=b", "_JSON 1", "\n"]
)
_name = st.one_of(_text, _hostile)
# MongoDB takes no null characters in the names of fields, and keeps the dollar sign for its operators.
_key = _name.filter(lambda name: "\0" not in name and not name.startswith("$"))


def _matrix(n: int, *columns: int) -> st.SearchStrategy[np.ndarray]:
    size = n * int(np.prod(columns))
    return st.lists(_number, min_size=size, max_size=size).map(lambda v: np.array(v).reshape(n, *columns))


@st.composite
def points(draw: st.DrawFn) -> SpinPoint:
    """Any valid label: collinear or vector moments, any text, any finite numbers."""
    n = draw(st.integers(1, 4))
    shape: tuple[int, ...] = draw(st.sampled_from([(), (3,)]))
    half = draw(_matrix(3, 3))
    return make_point(
        species=draw(st.lists(st.sampled_from(["Ni", "O", "Mn", "Co"]), min_size=n, max_size=n)),
        lattice=np.eye(3) * 4 + draw(_matrix(3, 3)) * 1e-4,
        positions=draw(_matrix(n, 3)),
        magmoms_in=draw(_matrix(n, *shape)),
        magmoms_out=draw(_matrix(n, *shape)),
        forces=draw(_matrix(n, 3)),
        stress=half + half.T,
        energy=draw(_number),
        free_energy=draw(_number),
        total_moment=draw(_number),
        magnetic_forces=draw(st.none() | _matrix(n, *shape)),
        band_gap=draw(st.none() | st.floats(0, 10)),
        ordering=draw(_name),
        ordering_found=draw(_name),
        pair_id=draw(_name),
        campaign=draw(_name),
        calculated_by=draw(_name),
        cell=draw(_name),
        parent_lattice=draw(st.none() | st.just(np.eye(3) * 4.17)),
        deformation_parameters=draw(st.dictionaries(_key, _number | _name, max_size=3)),
        corrections=draw(st.lists(_name, max_size=2)),
        timings=draw(st.dictionaries(st.sampled_from(["wall", "cpu"]), st.floats(0, 1e5), max_size=2)),
        kpoints=draw(st.none() | st.just([4, 4, 2])),
        generation=draw(st.integers(0, 9)),
        salvaged_from=draw(_name),
        salvage_reason=draw(_name),
        decision=draw(_name),
        overruled=draw(st.lists(_name, max_size=2)),
        moment_role=draw(st.sampled_from(["guess", "constraint"])),
        start=draw(_name),
        occupations=draw(_name),
        excitation=draw(st.none() | _number),
        ground=draw(_name),
    )
