"""Pictures: what is drawn, that it is small, self-contained and reproducible, and that words describe it."""

from __future__ import annotations

import base64
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from workflows.report import figures, learning
from workflows.report.collect import Material, collect
from workflows.report.images import MARKERS, PALETTE, Picture, encode, new_figure, ordering_style, styled


@pytest.fixture(scope="module")
def material(trained: Any) -> Material:
    return collect(trained.options, trained.store, trained.evaluated)


@pytest.fixture(scope="module")
def unlearned(labelled: Any) -> Material:
    return collect(labelled.options, labelled.store, None)


def content(picture: Picture) -> bytes:
    kind, _, data = picture.uri.partition(";base64,")
    decoded = base64.b64decode(data, validate=True)
    assert (b"<svg" in decoded) if kind == "data:image/svg+xml" else decoded.startswith(b"\x89PNG")
    return decoded


def test_every_picture_is_an_image_with_words_and_size(material: Material) -> None:
    pictures = [
        *figures.parity_figures(material),
        *figures.group_figures(material, "per_ordering"),
        *figures.group_figures(material, "per_deformation"),
        figures.order_figure(material),
        figures.verdict_figure(material),
        *learning.generation_figures(material),
        *learning.selection_figures(material, material.selections[0]),
    ]
    assert len(pictures) == 17
    for picture in pictures:
        assert picture is not None
        assert 1_000 < len(content(picture)) < 200_000
        assert picture.width > 200
        assert picture.height > 80
        assert len(picture.alt) > 20


def test_one_spin_arrangement_per_ordering(material: Material) -> None:
    pictures = figures.spin_figures(material)
    assert [picture.alt.split(",")[0] for picture in pictures] == ["FM", "AFM-I", "AFM-II"]
    assert all("calculated moments" in picture.title for picture in pictures)


def test_without_a_model_only_labels_are_drawn(unlearned: Material) -> None:
    assert figures.verdict_figure(unlearned) is not None
    assert len(figures.spin_figures(unlearned)) == 3
    assert figures.parity_figures(unlearned) == []
    assert figures.group_figures(unlearned, "per_ordering") == []
    assert figures.order_figure(unlearned) is None
    assert learning.generation_figures(unlearned) == []


def test_generations_and_honest_test_are_told_apart(material: Material) -> None:
    entries = learning.generation_scores(material)
    assert [(entry["name"], entry["kind"]) for entry in entries] == [
        ("generation 0", "held-out"),
        ("generation 1", "held-out"),
        ("generation 0", "new labels"),
    ]


def test_orderings_differ_in_colour_and_marker() -> None:
    style = ordering_style(["FM", "AFM-I", "AFM-II", "mine", "AFM[+-]"])
    assert len({look["color"] for look in style.values()}) == 5
    assert len({look["marker"] for look in style.values()}) == 5
    assert style["FM"] == ordering_style(["FM"])["FM"]
    assert len(ordering_style([f"own{k}" for k in range(12)])) == 12
    assert len(set(PALETTE)) == len(set(MARKERS))


def test_same_figure_gives_same_bytes_and_settings_stay() -> None:
    def draw() -> Picture:
        with styled():
            figure, axes = new_figure()
            axes.plot([0, 1], [0, 1], "o")
            return encode(figure, "a line of two points")

    before = mpl.rcParams["font.size"]
    assert draw() == draw()
    assert mpl.rcParams["font.size"] == before


def test_many_points_become_a_bitmap() -> None:
    with styled():
        figure, axes = new_figure()
        axes.plot(*np.random.default_rng(0).normal(size=(2, 20_000)), ".")
        assert encode(figure, "cloud").uri.startswith("data:image/png")
