"""The report of scores: the paper's own numbers pass, and what is missing is left out."""

from __future__ import annotations

import pytest

from benchmarks.paper_tables import report as script

SETS = {1: ["mn_co_ni"], 2: ["pairs"], 4: ["mn_co_ni"]}


def papers_scores(seeds=1):
    """What the paper's tables would be as scores of ours."""
    found = {}
    for table, rows in script.PAPER.items():
        for row, values in rows.items():
            scores = {k: v for k, v in zip(script.TASKS, values, strict=True) if v is not None}
            for seed in range(seeds):
                found[f"{SETS[table][0]}/{row}/seed_{seed}"] = scores | {"parameters": 4_000_000}
    return found


def test_the_papers_numbers_hold_every_claim():
    report = script.Report(papers_scores(), SETS)
    for claim in script.CLAIMS:
        assert report.ratio(claim)[0] == pytest.approx(claim.paper)
        assert claim.holds(claim.paper)
    assert "**no**" not in report.markdown()
    assert report.markdown().count("| yes |") == 5


def test_a_claim_that_fails_is_told():
    scores = papers_scores()
    scores["mn_co_ni/no-spin/seed_0"] = {"energy": 3.0, "forces": 9.0, "parameters": 4_000_000}
    lines = script.Report(scores, SETS).claims()
    assert lines[2].endswith("| 1.35 | 1.35 to 1.35 | 3.73 | **no** |")


def test_ratios_compare_the_seeds_that_both_rows_have():
    scores = papers_scores()
    scores["mn_co_ni/multi-task/seed_0"] = {"energy": 2.0, "parameters": 1}
    scores["mn_co_ni/multi-task/seed_1"] = {"energy": 50.0, "parameters": 1}
    scores["mn_co_ni/no-spin/seed_0"] = {"energy": 8.0, "parameters": 1}
    assert script.Report(scores, SETS).ratio(script.CLAIMS[0]) == (4, 4, 4)
    scores["mn_co_ni/no-spin/seed_1"] = {"energy": 100.0, "parameters": 1}
    assert script.Report(scores, SETS).ratio(script.CLAIMS[0]) == pytest.approx((108 / 52, 2, 4))


def test_means_come_with_the_extremes_of_several_seeds():
    scores = papers_scores()
    scores["pairs/no-spin/seed_1"] = {"energy": 30.0, "forces": 30.156, "parameters": 4_000_000}
    row = script.Report(scores, SETS).table(2)[2]
    assert row == "| w/o spin | 2 | 4,000,000 | 28.3 (26.6 to 30) | 30.2 (30.2 to 30.2) | - | 26.632 | 30.156 | - |"


def test_rows_that_were_not_trained_are_absent(tmp_path):
    kept = {k: v for k, v in papers_scores().items() if "no-spin" in k}
    report = script.Report(kept, SETS)
    script.figure(report, tmp_path / "tables.png")
    assert not (tmp_path / "tables.png").exists()
    assert report.claims()[2:] == []
    assert "Table 4" not in report.markdown()
    assert "accurate" not in report.markdown()


def test_other_scores_have_tables_of_their_own():
    scores = papers_scores()
    scores["pairs/multi-task/seed_0"] |= {"pair_difference": 0.5, "right_order": 1.0}
    scores["mn_co_ni/invariant/seed_0"] |= {"right_sign": 0.75, "right_sign_reversed": 0.25}
    text = script.Report(scores, SETS).markdown()
    assert "| SpinMultiNet (multi-task) | 0.5 | 1 |" in text
    assert "| time-reversal invariant | 0.75 | 0.25 |" in text


def test_the_figure_is_drawn(tmp_path):
    script.figure(script.Report(papers_scores(2), SETS), tmp_path / "tables.png")
    assert (tmp_path / "tables.png").read_bytes().startswith(b"\x89PNG")
