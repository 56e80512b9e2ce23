"""What is done about a job that ended in the queue: a table."""

import pytest

from workflows.remote.retries import Counts, cause_of, decide

KILLED = (
    "The output file jfremote_out.json was downloaded, but it does not contain the response. The job was likely killed "
    "before completing"
)
PURGED = "Remote error: Error while performing cleanup\ncaused by:\njobflow_remote.utils.remote.UnsafeDeletionError: x"
SLURM = "slurmstepd: error: *** JOB 17 ON node1 CANCELLED AT 2026-01-01T00:00:00 {} ***"
TRACE = "Traceback (most recent call last):\n  File 'x.py', line 1\n{}"


@pytest.mark.parametrize(
    ("state", "error", "output", "cause"),
    [
        ("FAILED", KILLED, SLURM.format("DUE TO TIME LIMIT"), "time"),
        ("FAILED", KILLED, "=>> PBS: job killed: walltime 3600 exceeded limit 3000", "time"),
        ("FAILED", KILLED, SLURM.format("DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS"), "node"),
        ("FAILED", KILLED, SLURM.format("DUE TO PREEMPTION"), "node"),
        ("FAILED", KILLED, "slurmstepd: error: Detected 1 oom_kill event in StepId=17.batch", "memory"),
        ("FAILED", KILLED, "error: Detected 1 oom-kill event(s) in step 17.batch", "memory"),
        ("FAILED", TRACE.format("MemoryError"), "", "memory"),
        ("FAILED", KILLED, SLURM.format(""), "cancelled"),
        ("FAILED", KILLED, "", "killed"),
        ("FAILED", "The output file jfremote_out.json was not present in the download folder /x", "", "killed"),
        ("FAILED", TRACE.format("OSError: [Errno 28] No space left on device"), "", "disk"),
        ("FAILED", KILLED, "cp: error writing 'WAVECAR': Disk quota exceeded", "disk"),
        ("FAILED", TRACE.format("workflows.engines.interface.TryLaterError: no licence"), "", "later"),
        ("FAILED", TRACE.format("ModuleNotFoundError: No module named 'workflows'"), "", "program"),
        ("REMOTE_ERROR", "Remote error: file /w/jfremote_out.json for job 1 does not exist", "", "lost"),
        ("REMOTE_ERROR", "json.decoder.JSONDecodeError: Expecting value", "", "lost"),
        ("REMOTE_ERROR", "The batch process that was running the job was likely killed before", "", "lost"),
        ("REMOTE_ERROR", PURGED, "", "purged"),
        ("REMOTE_ERROR", "paramiko.ssh_exception.NoValidConnectionsError: Unable to connect", "", "transfer"),
        ("REMOTE_ERROR", "submission failed. SubmissionResult(...)", "", "transfer"),
    ],
)
def test_the_cause_is_read_from_what_scheduler_program_and_queue_say(state, error, output, cause):
    assert cause_of(state, error, output) == cause


@pytest.mark.parametrize(
    ("kind", "state", "cause", "attempts", "asked", "action", "clean"),
    [
        ("label", "FAILED", "time", 0, False, "again", True),
        ("label", "FAILED", "time", 1, False, "again", True),
        ("label", "FAILED", "time", 2, False, "record", True),
        ("label", "FAILED", "memory", 2, False, "record", True),
        ("label", "FAILED", "time", 2, True, "again", True),
        ("parent", "FAILED", "time", 0, False, "again", False),
        ("parent", "FAILED", "time", 2, False, "refuse", False),
        ("training", "FAILED", "killed", 1, False, "again", False),
        ("training", "FAILED", "killed", 2, False, "refuse", False),
        ("label", "FAILED", "disk", 0, False, "wait", True),
        ("label", "FAILED", "disk", 5, True, "again", True),
        ("label", "FAILED", "later", 0, False, "wait", True),
        ("label", "FAILED", "program", 0, False, "refuse", True),
        ("label", "FAILED", "program", 3, True, "again", True),
        ("label", "REMOTE_ERROR", "transfer", 0, False, "resume", False),
        ("label", "REMOTE_ERROR", "transfer", 2, False, "wait", False),
        ("label", "REMOTE_ERROR", "transfer", 9, True, "resume", False),
        ("training", "REMOTE_ERROR", "lost", 0, False, "again", True),
        ("label", "REMOTE_ERROR", "lost", 2, False, "wait", True),
        ("label", "REMOTE_ERROR", "purged", 1, False, "again", False),
        ("label", "REMOTE_ERROR", "purged", 2, False, "wait", False),
        ("label", "REMOTE_ERROR", "purged", 2, True, "again", False),
        ("label", "USER_STOPPED", "killed", 0, False, "wait", True),
        ("label", "USER_STOPPED", "killed", 0, True, "again", True),
        ("label", "COMPLETED", "killed", 0, True, "again", True),
    ],
)
def test_what_is_done_about_it(kind, state, cause, attempts, asked, action, clean):
    found = decide(kind, state, cause, attempts, 2, asked)
    assert (found.action, found.clean) == (action, clean)


@pytest.mark.parametrize(
    ("cause", "asked", "after"),
    [
        *[(cause, asked, Counts(2, 1)) for cause in ("time", "memory", "node", "killed") for asked in (False, True)],
        *[(cause, False, Counts(1, 2)) for cause in ("transfer", "lost", "purged")],
        *[(cause, True, Counts(1, 0)) for cause in ("transfer", "lost", "purged")],
        *[(cause, True, Counts(0, 0)) for cause in ("cancelled", "program", "disk", "later")],
    ],
)
def test_only_what_the_scheduler_ends_uses_up_attempts(cause, asked, after):
    assert Counts(1, 1).after(cause, asked) == after
    assert Counts(3, 5).of(cause) == (5 if cause in ("transfer", "lost", "purged") else 3)
