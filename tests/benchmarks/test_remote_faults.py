"""What the benchmark counts: by hand, on a stack that never starts."""

from collections import Counter
from types import SimpleNamespace

import pytest

from benchmarks.remote_faults import Fault, begun, page, repeated, row

UUIDS = [f"{n}b20b784-4d00-5100-a689-adb56474d395" for n in range(3)]


STARTS = {UUIDS[0]: ["TIMEOUT", "COMPLETED"], UUIDS[1]: ["COMPLETED"]}


def job(uuid, start="2026-11-22T01:00:00", state="COMPLETED"):
    return {"StdOut": f"/x/scratch/cluster_cpu/ab/cd/ef/{uuid}_1/queue.out", "StartTime": start, "JobState": state}


def test_jobs_of_slurm_are_counted_by_label():
    others = [{"StdOut": "/x/scratch/cluster_gpu/ab/none/queue.out", "StartTime": "now"}, job(UUIDS[2], "Unknown")]
    stack = SimpleNamespace(
        slurm=SimpleNamespace(jobs=lambda: [job(UUIDS[0], state="TIMEOUT"), job(UUIDS[1]), job(UUIDS[0]), *others])
    )
    assert begun(stack) == STARTS


def test_a_second_beginning_needs_a_fault():
    starts = {UUIDS[0]: ["FAILED", "COMPLETED"], UUIDS[1]: ["FAILED", "COMPLETED"], UUIDS[2]: ["COMPLETED"]}
    faults = [Fault("ssh", 1, "1 running", {UUIDS[0], UUIDS[2]})]
    assert repeated(faults, starts) == [f"label {UUIDS[1]} was begun 2 times, and no fault met it"]


@pytest.mark.parametrize(("problems", "said"), [([], "**no violation**"), (["label x"], "**- label x**")])
def test_the_page_says_what_was_found(problems, said):
    faults = [Fault("ssh", 4, "4 running", set(), 28.4)]
    text = page(SimpleNamespace(faults=faults, commands=Counter({"jf x": 2})), problems, STARTS, 600.0, 0)
    assert row(faults[0]) == "| ssh | 4 | 4 running | 28 |"
    assert row(faults[0]) in text
    assert "40 labels, 3 jobs of Slurm for them (1 timeout, 2 completed). Recovery took `jf x` 2 times." in text
    assert said in text
