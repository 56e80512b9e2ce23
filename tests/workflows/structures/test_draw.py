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


def test_vectors_point_where_they_point_and_fade_from_parallel_to_antiparallel():
    s = rocksalt("Ni", cell="tetragonal4")
    s.add_site_property("magmom", [[0.0, 2.0, 0.0], [0.0, -2.0, 0.0], [0.0] * 3, [0.0] * 3])
    found = draw_structure(s)
    patches = [p for p in found.axes[0].patches if isinstance(p, FancyArrow)]
    assert {to_hex(p.get_facecolor()) for p in patches} == {UP, DOWN}
    (along_y,), _ = project(np.array([[0.0, 1.0, 0.0]]))
    for patch in patches:
        sign = 1 if to_hex(patch.get_facecolor()) == UP else -1
        shaft = np.array([patch._dx, patch._dy])
        assert shaft / np.linalg.norm(shaft) == pytest.approx(sign * along_y / np.linalg.norm(along_y))
    assert legend(found) == ["Ni", "O"]
    assert [text.get_text() for text in found.axes[1].get_yticklabels()] == [
        "$180\\degree$", "$90\\degree$", "$0\\degree$"
    ]  # fmt: skip


def test_vectors_towards_the_viewer_are_dots():
    s = rocksalt("Ni", cell="primitive")
    towards = np.linalg.svd(project(np.eye(3))[0].T)[2][2]
    s.add_site_property("magmom", [(2 * towards).tolist(), [0.0] * 3])
    assert arrows(draw_structure(s)) == []
    s.add_site_property("magmom", [[0.0, 0.0, 2.0], [0.0] * 3])  # along z: as a signed number
    assert set(arrows(draw_structure(s))) == {UP}


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
