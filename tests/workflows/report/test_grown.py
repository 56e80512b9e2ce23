"""The parts of the report that grow with the rounds: course, curves, choices, calibration, models in use."""

import re

import numpy as np
import pytest

from workflows.learning import SelectOptions
from workflows.report import write_report
from workflows.report.calibration import calibration_figure, calibration_rows
from workflows.report.champions import champion_rows
from workflows.report.choices import RULES, cost_words, group_tables, price_words
from workflows.report.collect import collect
from workflows.report.curves import curve_figures, curves, target_rows
from workflows.report.timeline import course_figure, intervals, pauses, round_rows, work_time

from .rounds import PER_ROUND, SIZES


@pytest.fixture(scope="module")
def material(grown):
    return collect(grown.options, grown.store, grown.evaluated)


def test_lineage_holds_refused_models_whatever_model_is_in_use(grown, material):
    assert [record.generation for record in material.lineage] == [0, 1, 2, 3]
    older = collect(grown.options, grown.store, grown.store.jobs.query_one({"uuid": "promote-1"})["output"])
    assert [record.generation for record in older.lineage] == [0, 1, 2, 3]
    assert len(older.selections) == len(material.selections) == 3
    assert older.decisions == material.decisions


def test_curves_are_the_scores_of_the_records_against_the_labels_of_their_snapshots(material):
    found = curves(material, "energy")
    assert set(found) == {"random", "orderings", "pairs", "honest"}
    assert len(set(np.diff(found["random"].labels))) == 1
    scores = [record.scores["tests"]["random"]["energy"]["mae"] for record in material.lineage]
    assert found["random"].errors == scores
    # Told of before training: at the number of labels that there were before the batch.
    assert found["honest"].labels == found["random"].labels[:-1]
    assert "pairs" not in curves(material, "forces")


def test_curve_pictures_tell_targets_and_ends(material):
    energy, forces, moments = curve_figures(material)
    assert "target of random 2" in energy.alt
    assert "target of energy differences of pairs 0.1" in energy.alt
    assert "target of random 30" in forces.alt
    assert "target" not in moments.alt


def test_targets_are_about_the_model_in_use(material):
    rows = {(row["test"], row["task"]): row for row in target_rows(material)}
    used = material.lineage[-1].scores["tests"]
    assert rows["random", "energy"]["now"] == used["random"]["energy"]["mae"]
    assert rows["random", "energy"]["met"]
    assert not rows["energy differences of pairs", "energy"]["met"]


def test_rounds_have_labels_cost_training_verdict_and_decision(material):
    rows = round_rows(material)
    assert [row["accepted"] for row in rows[1:]] == [PER_ROUND] * 3
    assert [row["verdict"] for row in rows] == ["promoted", "promoted", "refused", "promoted"]
    assert [row["training"] for row in rows] == [120.0, 135.0, 150.0, 165.0]
    assert rows[-1]["why"].startswith("all targets are met")
    assert all(row["core_seconds"] > 0 for row in rows)


def test_course_leaves_pauses_out_and_knows_what_was_cut_off(material):
    work = intervals(material.events)
    assert "cut off" not in {interval.name for interval in work}
    ((start, end),) = pauses(work)
    assert end - start == pytest.approx(7200, abs=1)
    total = work_time(work[-1].end, work[0].start, pauses(work))
    assert total == pytest.approx(sum(interval.end - interval.start for interval in work))
    assert work_time(start + 100, work[0].start, [(start, end)]) == pytest.approx(start - work[0].start)
    assert "12 jobs of training" in course_figure(material).alt


def test_without_a_log_there_is_no_course(grown, tmp_path):
    elsewhere = grown.options.model_copy(update={"folder": str(tmp_path)})
    material = collect(elsewhere, grown.store, grown.evaluated)
    assert course_figure(material) is None
    assert [row["training"] for row in round_rows(material)] == [None, None, None, 60.0]


def test_choices_by_group(material):
    selection = material.selections[0]
    tables = {table["name"]: table["rows"] for table in group_tables(selection)}
    assert set(tables) == {"source", "ordering", "deformation"}  # one composition says nothing
    for rows in tables.values():
        assert sum(row["chosen"] for row in rows) == PER_ROUND
        assert sum(row["candidates"] for row in rows) == len(selection["candidates"])
    assert price_words(selection) == "1.5 s"
    assert group_tables({}) == []


def test_every_rule_has_words():
    rule = SelectOptions.model_fields["rule"].annotation
    assert set(RULES) == set(rule.__args__)


@pytest.mark.parametrize(("seconds", "words"), [(0.0123, "0.012 s"), (59, "59 s"), (90, "1.5 min"), (9000, "2.5 h")])
def test_cost_in_words(seconds, words):
    assert cost_words(seconds) == words


def test_calibration_is_that_of_the_evaluation(material):
    rows = {row["task"]: row for row in calibration_rows(material)}
    assert {"energy", "forces", "moments"} <= set(rows)
    # The spreads are right in size by construction: about 68 % of the energies lie within one.
    assert 45 < float(rows["energy"]["within"]) < 90
    assert "energy within one spread" in calibration_figure(material).alt


def test_no_committee_no_calibration(trained):
    material = collect(trained.options, trained.store, trained.evaluated)
    assert calibration_figure(material) is None
    assert calibration_rows(material) == []


def test_champions_are_the_log(material):
    rows = champion_rows(material)
    assert [row["action"] for row in rows] == ["promoted", "promoted", "refused", "promoted"]
    assert [row["now"] for row in rows] == [False, False, False, True]
    assert rows[2]["reasons"] == ["energy on test set random: 1.6 -> 4.0 meV/atom (+150%)"]
    assert "meV/atom" in rows[0]["errors"]


def test_page_shows_all_of_it(grown, tmp_path):
    text = write_report(grown.options, grown.store, grown.evaluated, tmp_path / "report.html").read_text()
    for part in (
        "Learning curves",
        "Which jobs ran when",
        "Does the committee know where it is wrong?",
        "not yet",
        "refused",
        "all targets are met",
        "What was selected, and why",
    ):
        assert part in text
    assert text.count("<details") == 3
    assert text.count("<details open") == 1
    assert all(len(alt) > 20 for alt in re.findall(r'alt="([^"]*)"', text))
    assert len(SIZES) == 4
