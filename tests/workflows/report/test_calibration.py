"""Spread of the committee against its errors."""

from workflows.report.calibration import calibration_figure, calibration_rows
from workflows.report.collect import collect


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
