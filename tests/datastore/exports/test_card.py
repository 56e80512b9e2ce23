import re
from pathlib import Path

from datastore.atoms import point_to_text
from datastore.exports.card import CITE, About, Tally, card, formula
from datastore.exports.extxyz import FrameText
from datastore.exports.labels import Labelled
from tests.datastore.support import make_point

ROOT = Path(__file__).resolve().parents[3]
ABOUT = About(
    title="nio.extxyz",
    source="local:labels",
    level_id="0123456789abcdef",
    level_name="GPAW-PBE+U",
    theory={"code": "GPAW", "ecut": 700},
    format="extended XYZ",
    command="spinmultinet data export local:labels nio.extxyz",
    created="2026-01-01",
)
POINTS = [
    make_point(deformation="shear"),
    make_point(shift=0.1, verdict="rejected", verdict_reasons=["x"], ordering_found="FM", stress=None),
    make_point(shift=0.2, source={"licence": "CC-BY-4.0", "citation": "A | B", "file": "a"}),
]


def counted(split=""):
    tally = Tally()
    for point in POINTS:
        tally.add_label(Labelled(point, split))
    return tally


def test_text_of_frames_and_labels_are_counted_alike():
    tally = Tally()
    for point in POINTS:
        tally.add_text(FrameText.parse(point_to_text(point, "train")))
    assert tally == counted("train")
    assert tally.labels == 3
    assert tally.atoms == 12
    assert (tally.without_stress, tally.other_ordering) == (1, 1)


def test_a_card_tells_what_is_there(tmp_path):
    (tmp_path / "a").write_text("content")
    text = card(ABOUT, counted(), {"nio.extxyz": tmp_path / "a"})
    for part in (
        "3 labels, 12 atoms, from local:labels, as extended XYZ. Written on 2026-01-01.",
        "GPAW-PBE+U, id `0123456789abcdef`. All labels are at this one level.",
        '"ecut": 700',
        "| NiO | AFM-II | shear | accepted | 1 |",
        "| NiO | AFM-II | none | rejected | 1 |",
        "1 labels ended in another ordering than asked for. 1 labels have no stress.",
        "| nio.extxyz | 7 | ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73 |",
        "- 1 imported labels: cite: A | B; licence: CC-BY-4.0.",
        "    spinmultinet data export local:labels nio.extxyz",
        "None; `spinmultinet data snapshot` makes splits",
    ):
        assert part in text


def test_the_citation_is_that_of_the_readme():
    (title,) = re.findall(r"\*(.+?)\*", CITE)
    assert title in " ".join((ROOT / "README.md").read_text().split())


def test_formulas_are_those_of_the_documents():
    for point in (*POINTS, make_point(species=["Mn", "Ni", "O", "O"])):
        assert formula(tuple(point.species)) == point.formula
