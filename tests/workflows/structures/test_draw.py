"""Pictures: what is drawn is what the structure holds."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrow

from workflows.structures import apply_ordering, draw_structure, rocksalt
from workflows.structures.draw import DOWN, UP, project


def arrows(figure):
    return [to_hex(p.get_facecolor()) for p in figure.axes[0].patches if isinstance(p, FancyArrow)]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_one_arrow_per_shown_metal_atom_coloured_by_sign():
    s = apply_ordering(rocksalt({"Ni": 0.5, "Mn": 0.5}, cell="conventional"), "AFM-I")
    figure = draw_structure(s, "a title")
    # 14 atoms of an fcc cube with its boundary: z = 0 and z = a planes (10) up, the middle plane (4) down.
    assert sorted(arrows(figure)) == sorted([UP] * 10 + [DOWN] * 4)
    assert legend(figure) == ["Mn", "Ni", "O", "up", "down"]
    assert figure.get_suptitle() == "a title"


@pytest.mark.parametrize("moments", ["none", "zero"])
def test_without_moments_there_are_no_arrows(moments):
    s = rocksalt("Ni", cell="all8")
    if moments == "zero":
        s = apply_ordering(s, "FM", {"Ni": 0.0})
    figure = draw_structure(s)
    assert arrows(figure) == []
    assert legend(figure) == ["Ni", "O"]


def test_png_is_written_and_not_blank(tmp_path):
    from matplotlib.image import imread

    path = tmp_path / "spins.png"
    draw_structure(apply_ordering(rocksalt("Ni", cell="rhombohedral4"), "AFM-II")).savefig(path)
    image = imread(path)
    assert min(image.shape[:2]) > 300
    assert 0.02 < np.mean(image[..., :3].min(axis=-1) < 0.9) < 0.6


def test_projection_keeps_up_up_and_lengths():
    points, depth = project(np.eye(3))
    assert points[2, 0] == pytest.approx(0)
    assert points[2, 1] > 0.9
    assert (points**2).sum(axis=1) + depth**2 == pytest.approx(1)
