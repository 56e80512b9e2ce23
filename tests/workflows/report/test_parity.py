"""Values of parity plots: units of the report, one zero per material, moments along the calculated ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workflows.report.collect import Material, collect
from workflows.report.parity import along, ends, parity_data


@pytest.fixture(scope="module")
def material(trained: Any) -> Material:
    return collect(trained.options, trained.store, trained.evaluated)


def test_parity_data_has_report_units(material: Material) -> None:
    model = material.results["model"]
    energy = parity_data(model, "energy")
    assert min(values[0].min() for values in energy.values()) == 0.0
    error = np.concatenate([np.abs(values[1] - values[0]) for values in energy.values()]).mean()
    assert error == pytest.approx(model["overall"]["energy"]["mae"], rel=1e-6)
    for task in ("forces", "moments", "stress"):
        found = parity_data(model, task)
        assert sum(values.shape[1] for values in found.values()) == model["overall"][task]["n"]


def test_energies_of_different_materials_share_one_plot() -> None:
    def item(symbols: list[str], label: float) -> dict[str, Any]:
        return {"symbols": symbols, "ordering": "FM", "energy": {"label": label, "predicted": label + 0.001}}

    result = {"structures": [item(["Ni", "O"], -5.0), item(["Ni", "O"], -4.98), item(["Mn", "O"], -8.0)]}
    np.testing.assert_allclose(parity_data(result, "energy")["FM"], [[0, 20, 0], [1, 21, 1]], atol=1e-9)


def test_magnetic_sites_only() -> None:
    task = {"label": [[0.1, 0.0, 0.0], [5.0, 5.0, 5.0]], "predicted": [[0.2, 0.0, 0.0], [6.0, 6.0, 6.0]]}
    result = {"structures": [{"magnetic": [True, False], "ordering": "FM", "magnetic_forces": task}]}
    np.testing.assert_allclose(parity_data(result, "magnetic_forces")["FM"], [[0.1, 0, 0], [0.2, 0, 0]])


@pytest.mark.parametrize("task", ["moments", "magnetic_forces"])
def test_structures_without_magnetic_sites_have_no_moments_to_show(task: str) -> None:
    values = {"label": [1.0, 0.0], "predicted": [0.9, 0.0]}
    magnetic = {"magnetic": [True, False], "ordering": "FM", task: values}
    none = {"magnetic": [False, False], "ordering": "NM", task: values}
    found = parity_data({"structures": [none, magnetic]}, task)
    assert set(found) == {"FM"}
    np.testing.assert_allclose(found["FM"], [[1.0], [0.9]])
    assert parity_data({"structures": [none, none]}, task) == {}


def test_flipped_moment_is_negative() -> None:
    length, predicted = along(np.array([1.8, -1.8]), np.array([1.7, 1.7]))
    np.testing.assert_allclose(length, [1.8, 1.8])
    np.testing.assert_allclose(predicted, [1.7, -1.7])


def test_vector_moments_are_projected() -> None:
    length, predicted = along(np.array([[0.0, 0.0, 2.0]]), np.array([[1.0, 0.0, 1.5]]))
    np.testing.assert_allclose([length[0], predicted[0]], [2.0, 1.5])


def test_axes_hold_all_values() -> None:
    low, high = ends(np.array([1.0, 3.0]))
    assert low < 1.0 < 3.0 < high
    assert ends(np.zeros(3)) == (-1.0, 1.0)
