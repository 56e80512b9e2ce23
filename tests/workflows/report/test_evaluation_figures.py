"""Pictures of an evaluation: a panel per task, both kinds of spread, files that are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from tests.support.evaluation import committee_result
from workflows.report.evaluation_figures import MOST_ORDERINGS, parity_figure, reliability_figure, write_figures


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return committee_result()


def test_a_panel_for_each_task_and_one_for_pairs(result: dict[str, Any]) -> None:
    figure = parity_figure(result)
    assert figure is not None
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert [label.split(",")[0] for label in labels] == [
        "energy",
        "energy difference",
        "force component",
        "stress component",
        "moment",
    ]
    energy = figure.axes[0]
    drawn = sum(len(line.get_xdata()) for line in energy.get_lines()[1:])
    assert drawn == result["overall"]["energy"]["n"]
    assert f"MAE {result['overall']['energy']['mae']:.3g}" in energy.get_title(loc="left")
    assert energy.get_xlim() == energy.get_ylim()


def test_calibrated_points_are_moved_along_the_spread_only(result: dict[str, Any]) -> None:
    figure = reliability_figure(result)
    assert figure is not None
    raw, calibrated = (c.lines[0] for c in figure.axes[0].containers)
    found = result["uncertainty"]["energy"]
    np.testing.assert_allclose(raw.get_xdata(), [b["spread"] for b in found["bins"]])
    np.testing.assert_allclose(calibrated.get_xdata(), raw.get_xdata() * found["rms_sigma"] / found["rms_spread"])
    np.testing.assert_allclose(calibrated.get_ydata(), raw.get_ydata())
    assert "%" in figure.axes[0].get_title(loc="left")


def test_rare_orderings_share_grey(result: dict[str, Any]) -> None:
    many = dict(result)
    many["structures"] = [s | {"ordering": f"FiM[{k}]"} for k, s in enumerate(result["structures"])]
    many["pairs"] = None
    figure = parity_figure(many)
    assert figure is not None
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == MOST_ORDERINGS + 1


def test_files(result: dict[str, Any], tmp_path: Path) -> None:
    before = mpl.rcParams["font.size"]
    paths = write_figures(result, tmp_path / "new" / "plots")
    assert [path.name for path in paths] == ["parity.png", "reliability.png"]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["parity.png", "reliability.png"]
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 500
            assert np.asarray(image.convert("L")).std() > 5
    assert mpl.rcParams["font.size"] == before
    alone = write_figures(result | {"uncertainty": {}}, tmp_path / "one")
    assert [path.name for path in alone] == ["parity.png"]
