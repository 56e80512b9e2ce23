"""Numbers of the summary: errors beside baselines, energies of orderings, counts, and the table in a terminal."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from datastore.costs import ledger, total
from workflows.report import Summary, print_summary, summarise
from workflows.report.collect import ReportError, collect
from workflows.report.summary import (
    beaten_text,
    core_time,
    error_rows,
    headline,
    ordering_energies,
    paired_energies,
    shown,
    summary_of,
)
from workflows.report.timeline import round_rows


def scores(energy: float, forces: float, moments: float | None) -> dict[str, Any]:
    tasks = {"energy": energy, "forces": forces, "moments": moments}
    return {"overall": {task: {"mae": mae, "n": 4} for task, mae in tasks.items() if mae is not None}}


def structure(pair: str, ordering: str, label: float, predicted: float) -> dict[str, Any]:
    return {"pair_id": pair, "ordering": ordering, "energy": {"label": label, "predicted": predicted}}


PAIRS = {
    "model": {
        "structures": [
            structure("a", "AFM-I", -5.000, -5.001),
            structure("a", "AFM-II", -5.040, -5.041),
            structure("a", "FM", -5.002, -5.000),
            structure("b", "AFM-II", -4.940, -4.941),
            structure("b", "FM", -4.900, -4.943),
            structure("c", "FM", -9.000, -9.000),
        ]
    }
}


def test_error_rows_compare_the_model_with_each_baseline() -> None:
    rows = error_rows(
        {"model": scores(1.0, 30.0, 0.01), "constant": scores(9.0, 250.0, 0.005), "no_spin": scores(12.0, 60.0, None)}
    )
    assert [row.predictor for row in rows] == ["model", "no_spin", "constant"]
    assert rows[0].beaten == {}
    assert rows[1].beaten == {"energy": True, "forces": True}
    assert rows[1].moments is None
    assert beaten_text(rows[1]) == "yes"
    assert beaten_text(rows[2]) == "not in moments"


def test_headline_rounds_and_status_tell_one_cost(trained: Any) -> None:
    material = collect(trained.options, trained.store, trained.evaluated)
    campaign = total(ledger(trained.store, {"campaign": trained.options.name}).values())
    summary = summary_of(material)
    assert summary.timings.labels_cpu == pytest.approx(campaign.seconds)
    assert 3600 * summary.counts.core_hours == pytest.approx(campaign.seconds)
    assert sum(row["core_seconds"] for row in round_rows(material)) == pytest.approx(campaign.seconds)


def test_cores_cost_while_they_wait(trained: Any) -> None:
    material = collect(trained.options, trained.store, trained.evaluated)
    point = material.points[0].model_copy(update={"timings": {"wall": 100.0, "cpu": 60.0, "cores": 4.0}})
    copy = point.model_copy(update={"salvaged_from": "another"})  # paid for with that one
    summary = summary_of(replace(material, points=[point, copy], failures=[]))
    assert "6.7 core minutes" in headline(summary)
    assert summary.timings.labels_cpu == 400.0


def test_equal_errors_are_not_beaten() -> None:
    rows = error_rows({"model": scores(1.0, 1.0, 1.0), "constant": scores(1.0, 2.0, 2.0)})
    assert rows[1].beaten == {"energy": False, "forces": True, "moments": True}


def test_pairs_are_relative_to_the_lowest_ordering_of_the_engine() -> None:
    energies = paired_energies(PAIRS["model"])
    assert list(energies) == ["AFM-II", "AFM-I", "FM"]
    assert energies["AFM-I"] == [pytest.approx((40.0, 40.0))]
    assert energies["FM"] == [pytest.approx((38.0, 41.0)), pytest.approx((40.0, -2.0))]


def test_order_of_orderings_counts_right_signs() -> None:
    fm, afm1 = ordering_energies(PAIRS)
    assert (fm.ordering, fm.reference, fm.pairs, fm.right_sign) == ("FM", "AFM-II", 2, 1)
    assert fm.engine == pytest.approx(39.0)
    assert fm.model == pytest.approx(19.5)
    assert fm.mae == pytest.approx((3.0 + 42.0) / 2)
    assert (afm1.ordering, afm1.pairs, afm1.right_sign) == ("AFM-I", 1, 1)


@pytest.mark.parametrize("results", [{}, {"model": {"structures": [structure("a", "FM", -1.0, -1.0)]}}])
def test_no_pairs_give_no_order(results: dict[str, Any]) -> None:
    assert ordering_energies(results) == []


def test_summary_of_a_trained_campaign(trained: Any) -> None:
    summary = summarise(trained.options, trained.store, trained.evaluated)
    counts = summary.counts
    assert (counts.calculated, counts.accepted, counts.rejected, counts.failed) == (48, 46, 1, 1)
    assert counts.train + counts.val + counts.test == counts.accepted
    assert counts.test == summary.held_out
    assert counts.chosen == 6
    assert summary.generations == 2
    assert summary.members == 3
    assert summary.formulas == ["NiO"]
    assert summary.levels == 1
    assert [row.predictor for row in summary.errors] == ["model", "no_spin", "constant"]
    assert {row.reference for row in summary.order} == {"AFM-II"}
    assert summary.timings.training == pytest.approx(60.0)
    assert {"python", "torch", "e3nn", "spin-lattice", "spinmultinet-workflows"} <= set(summary.versions)
    assert Summary.model_validate(json.loads(summary.model_dump_json())) == summary


def test_headline_admits_where_a_baseline_is_better(trained: Any) -> None:
    summary = summarise(trained.options, trained.store, trained.evaluated)
    model, no_spin, constant = summary.errors
    lost = constant.model_copy(update={"beaten": {"energy": True, "forces": True, "moments": False}})
    worse = summary.model_copy(update={"errors": [model, no_spin, lost]})
    assert worse.beats_all is False
    assert headline(worse).endswith("It does not beat the constant per ordering in moments.")
    won = constant.model_copy(update={"beaten": {"energy": True}})
    assert "beats every baseline" in headline(summary.model_copy(update={"errors": [model, no_spin, won]}))
    assert "no baseline" in headline(summary.model_copy(update={"errors": [model]}))


def test_summary_without_a_model(labelled: Any) -> None:
    summary = summarise(labelled.options, labelled.store, None)
    assert summary.counts.calculated == 42
    assert summary.counts.train == 0
    assert summary.errors == []
    assert summary.order == []
    assert summary.beats_all is None
    assert "No model" in headline(summary)


def test_summary_counts_only_what_the_model_rests_on(trained: Any) -> None:
    fewer = {**trained.evaluated, "point_ids": trained.evaluated["point_ids"][:10]}
    assert summarise(trained.options, trained.store, fewer).counts.calculated == 10


def test_missing_predictions_name_the_remedy(trained: Any) -> None:
    with pytest.raises(ReportError, match=r"gone\.json.*run the campaign again"):
        summarise(trained.options, trained.store, {**trained.evaluated, "results": "gone.json"})


def test_printed_tables_fit_80_columns(trained: Any) -> None:
    text = io.StringIO()
    print_summary(summarise(trained.options, trained.store, trained.evaluated), Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for word in ("SpinMultiNet", "constant per ordering", "n/a", "meV/atom", "FM - AFM-II", "of 4"):
        assert any(word in line for line in lines), word


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.034, "0.034 core seconds"), (90, "1.5 core minutes"), (5400, "1.5 core hours")]
)
def test_core_time(seconds: float, text: str) -> None:
    assert core_time(seconds) == text


def test_shown_has_the_digits_of_the_task() -> None:
    assert [shown(1.23456, task) for task in ("energy", "forces", "moments")] == ["1.23", "1.2", "1.2346"]
    assert shown(None, "moments") == "n/a"
