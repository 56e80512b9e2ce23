"""Progress that crosses process borders: a job reports, whoever runs it decides how to show it."""

from __future__ import annotations

from collections.abc import Callable

Reporter = Callable[[float, str], None]


def _silent(fraction: float, text: str) -> None:
    """Jobs outside our own runner (jobflow-remote, plain jobflow) report to nobody."""


_reporter: Reporter = _silent


def set_reporter(reporter: Reporter) -> Reporter:
    """Install the function that receives the reports of this process; gives the one that was installed before."""
    global _reporter  # one job runs per process at a time
    before, _reporter = _reporter, reporter
    return before


def report(fraction: float, text: str = "") -> None:
    """Tell how far the current job is (0 to 1) and what it is doing."""
    _reporter(fraction, text)
