"""Short names: what is short stays, what is long stays apart."""

from hypothesis import given
from hypothesis import strategies as st

from workflows.cli.output import print_table
from workflows.names import LONGEST, short_name


@given(st.text(max_size=LONGEST))
def test_short_names_stay(name):
    assert short_name(name) == name


@given(st.lists(st.text("+-", min_size=LONGEST, max_size=400), min_size=2, max_size=2, unique=True))
def test_long_names_are_cut_and_stay_apart(names):
    first, second = (short_name(f"AFM[{name}]") for name in names)
    assert len(first) == len(second) == LONGEST
    assert first.startswith("AFM[")
    assert first != second


def test_tables_shorten_orderings_only(capsys):
    ordering, reason = f"AFM[{'+-' * 200}]", "word " * 60
    print_table(["ordering", "error"], [(ordering, reason)])
    shown = "".join(capsys.readouterr().out.split())
    assert shown.count("word") == 60
    assert "+-" * 30 in shown
    assert "+-" * 100 not in shown
