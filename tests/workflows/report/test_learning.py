"""Pictures of a selection: what is told apart, what fits, and when there is nothing to draw."""

import json
from collections import Counter

import numpy as np

from workflows.report import learning
from workflows.report.images import MARKERS, styled

KINDS = ("displacement", "shear", "tensile", "volume", "relaxation", "md", "spin-move", "file")
ORDERINGS = ("FM", "AFM-I", "AFM-II", *(f"FiM[{k:08b}]".replace("0", "+").replace("1", "-") for k in range(1, 16)))


def selection(count=300, chosen=24):
    rng = np.random.default_rng(0)
    candidates = [
        {
            "config_id": f"c{k}",
            "deformation": KINDS[k % len(KINDS)],
            "ordering": ORDERINGS[min(int(rng.exponential(4)), len(ORDERINGS) - 1)],
            **{task: float(rng.lognormal(-4)) for task in ("energy", "forces", "moments")},
        }
        for k in range(count)
    ]
    return {"candidates": candidates, "chosen": [{"candidate": one} for one in candidates[:chosen]]}


def drawn(material, chosen, monkeypatch):
    """The figures as they were before they became images."""
    figures = []
    monkeypatch.setattr(learning, "encode", lambda figure, *_: figures.append(figure))
    learning.selection_figures(material, chosen)
    return figures


def boxes(figure, artists):
    figure.draw_without_rendering()
    return [artist.get_window_extent() for artist in artists]


def test_legend_of_a_large_selection_fits_and_marks_differ(material, monkeypatch):
    many = selection()
    figure = drawn(material, many, monkeypatch)[0]
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    counts = Counter(choice["candidate"]["ordering"] for choice in many["chosen"])
    assert len(counts) > learning.MOST_ORDERINGS + 1
    assert len(texts) == 1 + learning.MOST_ORDERINGS + 1 + 1  # candidates, orderings, others, median
    told = [int(text.split("(")[1].rstrip(")")) for text in texts[1:-1]]
    assert sum(told) == 24
    assert told[:-1] == sorted(counts.values(), reverse=True)[: learning.MOST_ORDERINGS]
    looks = {(line.get_color(), line.get_marker()) for line in legend.get_lines()}
    assert len(looks) == len(texts)
    ((box,), width) = boxes(figure, [legend]), figure.bbox.width
    assert 0 <= box.x0 < box.x1 <= width


def test_names_of_many_deformations_do_not_overlap(material, monkeypatch):
    figure = drawn(material, selection(), monkeypatch)[0]
    with styled():
        labels = figure.axes[0].get_xticklabels()
        heights = boxes(figure, labels)
    assert {label.get_rotation() for label in labels} == {35}
    # Turned names end at their ticks; those of two neighbours are a line apart, across the direction of writing.
    apart = np.diff([box.x1 for box in heights]) * np.sin(np.deg2rad(35))
    size = labels[0].get_fontsize() * figure.dpi / 72
    assert (apart > size).all()


def test_few_orderings_look_as_in_the_other_pictures(material, monkeypatch):
    candidates = material.selections[0]
    figure = drawn(material, candidates, monkeypatch)[0]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert not any(learning.OTHERS in text for text in texts)
    looks = learning.ordering_style(material.orderings)
    for line, text in zip(figure.legends[0].get_lines()[1:-1], texts[1:-1], strict=True):
        assert line.get_marker() == looks[text.split(" (")[0]]["marker"]
    assert len(MARKERS) >= len(material.orderings)


def test_without_spreads_there_is_no_picture(material):
    none = json.loads(json.dumps(selection()))
    for one in none["candidates"]:
        one |= {"energy": 0.0, "moments": 0.0}
    (only,) = learning.selection_figures(material, none)
    assert only.title == "forces"
    for one in none["candidates"]:
        one["forces"] = 0.0
    assert learning.selection_figures(material, none) == []
    assert learning.selection_figures(material, {}) == []
