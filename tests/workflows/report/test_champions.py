"""The promotion log as rows."""

from workflows.report.champions import champion_rows


def test_champions_are_the_log(material):
    rows = champion_rows(material)
    assert [row["action"] for row in rows] == ["promoted", "promoted", "refused", "promoted"]
    assert [row["now"] for row in rows] == [False, False, False, True]
    assert rows[2]["reasons"] == ["energy on test set random: 1.6 -> 4.0 meV/atom (+150%)"]
    assert "meV/atom" in rows[0]["errors"]
