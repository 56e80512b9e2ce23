"""A row per round, and which jobs ran when."""

from dataclasses import replace

import pytest

from workflows.report.collect import collect
from workflows.report.timeline import course_figure, intervals, pauses, round_rows, work_time

from .rounds import PER_ROUND


def test_rounds_have_labels_cost_training_verdict_and_decision(material):
    rows = round_rows(material)
    assert [row["accepted"] for row in rows[1:]] == [PER_ROUND] * 3
    assert [row["verdict"] for row in rows] == ["promoted", "promoted", "refused", "promoted"]
    assert [row["training"] for row in rows] == [120.0, 135.0, 150.0, 165.0]
    assert rows[-1]["why"].startswith("all targets are met")
    assert all(row["core_seconds"] > 0 for row in rows)


def test_a_round_without_any_label_is_a_row_without_a_model(material, trained):
    (failure,) = collect(trained.options, trained.store, trained.evaluated).failures
    lost = [failure.model_copy(update={"generation": 4})] * PER_ROUND
    row = round_rows(replace(material, failures=lost))[-1]
    assert (row["generation"], row["accepted"], row["lost"], row["verdict"]) == (4, 0, PER_ROUND, "")


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
