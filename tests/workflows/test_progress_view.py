"""Counts, estimates and the two ways to show them, with a clock of our own."""

import io

import pytest

from workflows.progress_view import LINE_INTERVAL, ProgressView, Tally, duration


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def event(kind, uuid, type_="label", **more):
    return {"kind": kind, "uuid": uuid, "type": type_, **more}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tally(clock):
    tally = Tally(2, {"labels": 10.0, "training": 60.0}, {("labels", 0): 4, ("training", 0): 2}, clock)
    for number in range(4):
        tally.handle(event("added", f"l{number}", done=number == 3))
    return tally


def test_estimate_before_anything_ran(tally):
    assert tally.seconds_left(("labels", 0)) == pytest.approx(15)  # three of 10 s on two workers
    assert tally.total_left() == pytest.approx(15 + 60)


def test_measured_times_replace_the_estimate(tally, clock):
    tally.handle(event("started", "l0"))
    clock.now = 4
    tally.handle(event("done", "l0"))
    assert tally.seconds_left(("labels", 0)) == pytest.approx(4)
    stage = tally.stages[("labels", 0)]
    assert (stage.done, stage.reused, stage.total) == (2, 1, 4)


def test_a_job_that_another_run_finished_counts_as_reused(tally, clock):
    tally.handle(event("done", "l0", reused=True))
    stage = tally.stages[("labels", 0)]
    assert (stage.done, stage.reused, stage.total) == (2, 2, 4)
    assert tally.seconds_left(("labels", 0)) == pytest.approx(10)  # two of 10 s on two workers: it took no time


def test_fraction_of_a_running_job_gives_its_rest(tally, clock):
    tally.handle(event("added", "t0", "train", done=False))
    tally.handle(event("started", "t0", "train"))
    clock.now = 30
    tally.handle(event("progress", "t0", fraction=0.75, text="epoch 3/4"))
    tally.handle(event("added", "t1", "train", done=True))
    assert tally.seconds_left(("training", 0)) == pytest.approx(10)
    assert tally.status(("training", 0)) == "epoch 3/4"


def test_unknown_time_is_said_to_be_unknown(clock):
    tally = Tally(1, clock=clock)
    tally.handle(event("added", "t0", "train", done=False))
    assert tally.seconds_left(("training", 0)) is None
    assert tally.total_left() is None


def test_failed_jobs_are_neither_waited_for_nor_done(tally):
    tally.handle(event("started", "l0"))
    tally.handle(event("failed", "l0"))
    stage = tally.stages[("labels", 0)]
    assert (stage.failed, stage.waiting, stage.done) == (1, 2, 1)


FIRST = [("d0", "dataset"), ("t0", "train"), ("e0", "evaluate"), ("p0", "promote"), ("c0", "decide")]


def test_what_a_decision_to_go_on_adds_is_the_next_round(tally):
    later = [("x1", "explore"), ("y1", "explore"), ("s1", "select"), ("n0", "label"), ("h1", "honest")]
    for uuid, kind in [*FIRST, *later]:
        tally.handle(event("added", uuid, kind, done=False))
    added = {key: stage.added for key, stage in tally.stages.items()}
    assert (added["labels", 0], added["evaluation", 0], added["training", 0]) == (4, 4, 1)
    assert (added["exploration", 1], added["labels", 1], added["evaluation", 1]) == (2, 1, 2)
    assert tally.name(("labels", 1)) == "labels, round 1"


def test_a_conclusion_belongs_to_the_round_it_ends_and_later_ones_are_forgotten(clock):
    planned = {("labels", 0): 4, ("training", 0): 1, ("labels", 1): 6, ("training", 1): 2}
    tally = Tally(1, {"labels": 10.0, "training": 60.0}, planned, clock, may_stop=True)
    view = ProgressView(tally, io.StringIO())
    for uuid, kind in FIRST:
        tally.handle(event("added", uuid, kind, done=True))
    assert view.line().endswith("at most 3:40 left in all")
    for uuid, kind in [("b0", "train"), ("z0", "conclude")]:
        tally.handle(event("added", uuid, kind, done=False))
    assert {key[1] for key in tally.stages} == {0}
    assert tally.stages["training", 0].added == 2
    assert view.line().endswith("about 1:45 left in all")  # four labels, one training, the conclusion


def test_without_a_terminal_one_line_per_interval(tally, clock):
    stream = io.StringIO()
    with ProgressView(tally, stream) as view:
        for second in range(40):
            clock.now = float(second)
            view({"kind": "tick"})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1 + 39 // LINE_INTERVAL
    assert lines[0] == "0:00  labels 1/4 | training 0/2 | about 1:15 left in all"


def test_a_line_tells_of_this_round_and_counts_the_others(clock):
    rounds = {(name, k): 8 for name in ("exploration", "labels", "training", "evaluation") for k in range(13)}
    tally = Tally(2, {"labels": 10.0, "training": 60.0}, rounds, clock, may_stop=True)
    view = ProgressView(tally, io.StringIO())
    first = "exploration 0/8 | labels 0/8 | training 0/8 | evaluation 0/8 | at most 12 more rounds | at most "
    assert view.line().startswith(f"0:00  {first}")
    for uuid, kind in [*FIRST, ("x1", "explore"), ("l1", "label")]:
        tally.handle(event("added", uuid, kind, done=kind != "label"))
    tally.handle(event("failed", "t0", "train"))
    assert len(view.line()) < 250
    assert "training 1/8, 1 failed | exploration, round 1 1/8 | labels, round 1 0/8" in view.line()
    assert "round 2" not in view.line()
    assert "at most 11 more rounds" in view.line()


def test_rounds_that_cannot_be_left_out_are_counted_as_certain(clock):
    tally = Tally(1, {"labels": 10.0}, {("labels", 0): 4, ("labels", 1): 6}, clock)
    assert ProgressView(tally, io.StringIO()).line() == "0:00  labels 0/4 | 1 more round | about 1:40 left in all"


def test_bars_on_a_terminal(tally, clock):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with ProgressView(tally, stream) as view:
        view(event("started", "l0"))
        clock.now = 4
        view(event("done", "l0"))
    assert "labels" in stream.getvalue()
    assert "2/4" in stream.getvalue()


def test_bars_of_other_rounds_are_hidden(clock):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    rounds = {(name, k): 2 for name in ("labels", "training") for k in range(13)}
    tally = Tally(2, {"labels": 10.0, "training": 60.0}, rounds, clock, may_stop=True)
    with ProgressView(tally, Terminal()) as view:
        for uuid, kind in [*FIRST, ("x1", "explore"), ("l1", "label")]:
            view(event("added", uuid, kind, done=kind != "label"))
        assert view.bars is not None
        shown = [task.description for task in view.bars.progress.tasks if task.visible]
        assert shown == ["whole run", "labels, round 1", "training, round 1", "exploration, round 1"]
        assert view.bars.progress.tasks[0].fields["text"] == "at most 11 more rounds"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3600, "1:00:00"), (11110, "3:05:10"), (None, "?")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
