"""How runs of VASP end: with the test program, and with small scripts where that would be slower."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from custodian.vasp.handlers import WalltimeHandler

from tests.support.vasp_captures import HARSH, write_inputs
from tests.support.vasp_std.cases import CASES
from tests.support.vasp_std.faults import MESSAGES, Fault, plan, starts
from workflows.engines import LabelError
from workflows.engines.interface import TryLaterError
from workflows.engines.vasp.corrections import read_corrections
from workflows.engines.vasp.restart import flipped_sites
from workflows.engines.vasp.run import run_vasp_in
from workflows.engines.vasp.run_options import Limit, RunOptions, time_limit

ROOT = Path(__file__).resolve().parents[4]
FAST = {"poll_seconds": 0.05, "check_seconds": 0.2}


def script(folder, text):
    """Options whose command is a shell script."""
    path = folder / "fake_vasp"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def fails(folder, text, **options):
    """The LabelError of a run whose program is a shell script."""
    folder = folder if (folder / "INCAR").exists() else write_inputs(folder, HARSH)
    with pytest.raises(LabelError) as raised:
        run_vasp_in(folder, RunOptions(vasp_cmd=script(folder, text), **{**FAST, **options}))
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)
    return raised.value


def run(place, folder, faults, case="collinear", **options):
    """History of a run of the test program with these faults."""
    plan(place.faults, faults)
    return run_vasp_in(CASES[case].write(folder), RunOptions(**{**FAST, **options}))


def test_a_run_that_converges(vasp_on_path, tmp_path):
    assert run(vasp_on_path, tmp_path / "run", []) == []
    assert starts(vasp_on_path.faults) == 1
    assert (tmp_path / "run" / "OUTCAR").exists()


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("exit 0", "crashed", "without complete output, exit code 0"),
        ("echo boom >&2; kill -SEGV $$", "crashed", "exit code 139; std_err.txt ends with: boom"),
        (f"echo '{MESSAGES['too_few_bands']}'; exit 1", "crashed", "VASP ended with too_few_bands"),
        ("echo 'internal error in SET_CORE_WF'", "refused", "use a newer one"),
        ("echo 'Error reading item LREAL'; exit 1", "refused", "check the tags"),
    ],
)
def test_runs_that_give_no_label(tmp_path, text, kind, says):
    error = fails(tmp_path, text)
    assert error.kind == kind
    assert says in str(error)


def test_an_input_that_was_damaged_on_the_way_hides_no_failure(tmp_path):
    error = fails(tmp_path, ": > INCAR; exit 1")
    assert error.kind == "crashed"
    assert "VASP ended" in str(error)


def test_as_many_corrections_as_allowed(tmp_path):
    error = fails(tmp_path, f"echo '{MESSAGES['edddav']}'; exit 1", max_errors=2)
    assert error.kind == "crashed"
    assert "edddav (as many corrections as run.max_errors allows); tried: custodian: edddav -> " in str(error)
    assert [entry["errors"] for entry in error.history] == [["edddav"]] * 2


def test_handlers_remember_nothing_of_earlier_runs(tmp_path):
    """atomate2's handlers count errors and are shared by a process: a second run would begin at the second remedy."""
    tried = []
    for name in ("first", "second"):
        error = fails(tmp_path / name, f"echo '{MESSAGES['brmix']}'; exit 1", max_errors=1)
        tried.append(error.history[0]["actions"])
    assert tried == [["INCAR IMIX=1"]] * 2


def test_a_handler_that_fails_is_no_failure_of_the_run(tmp_path):
    """custodian reads an OUTCAR that VASP has not begun yet."""
    error = fails(tmp_path, "echo 'number of bands is not sufficient'; exit 1")
    assert error.kind == "crashed"
    assert error.history[0]["errors"] == ["the handler failed"]


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(TryLaterError, match=r"'no_such_vasp --fast' of VASP is not found .* correct run.vasp_cmd"):
        run_vasp_in(write_inputs(tmp_path), RunOptions(vasp_cmd="no_such_vasp --fast"))


def test_vector_moments_take_the_other_program(tmp_path):
    folder = write_inputs(tmp_path, "LNONCOLLINEAR = .TRUE.\n")
    path = script(folder, 'echo "VASP was $0"; exit 0')
    with pytest.raises(LabelError, match=f"VASP was {path}"):
        run_vasp_in(folder, RunOptions(vasp_cmd="not_this", vasp_ncl_cmd=path, **FAST))


def test_threads_of_vasp(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert "ends with: threads 3" in str(fails(tmp_path, "echo threads $OMP_NUM_THREADS", threads=3))
    assert os.environ["OMP_NUM_THREADS"] == "64"


def test_unknown_handler_is_named():
    with pytest.raises(ValueError, match=r"no handler is called Sigma; there are VaspErrorHandler"):
        RunOptions(without=("Sigma",))


def test_handlers_may_be_left_out(tmp_path):
    text = f"echo '{MESSAGES['brmix']}'; exit 1"
    assert fails(tmp_path, text, without=("VaspErrorHandler",)).history == []


# Results that are not those of this run.


def test_results_of_an_earlier_attempt_are_no_label(vasp_on_path, tmp_path):
    """The first attempt leaves whole files, the second writes nothing and ends well."""
    faults = [Fault("unconverged", when=1), Fault("silent", when=2)]
    with pytest.raises(LabelError, match="without complete output") as raised:
        run(vasp_on_path, tmp_path / "run", faults)
    assert raised.value.kind == "crashed"
    assert starts(vasp_on_path.faults) == 2


def test_results_of_a_killed_run_are_no_label(vasp_on_path, tmp_path):
    folder = tmp_path / "run"
    run(vasp_on_path, folder, [])
    CASES["collinear"].write(folder)
    (folder / "INCAR.gz").write_bytes(b"not even packed")
    (folder / "STOPCAR").write_text("LABORT = .TRUE.\n")
    with pytest.raises(LabelError, match="without complete output"):
        run(vasp_on_path, folder, [Fault("silent")])
    assert run(vasp_on_path, folder, []) == []


def test_changed_cell_is_refused(vasp_on_path, tmp_path):
    """custodian swaps two lattice vectors and goes on; the k mesh stays, and so would the label."""
    folder = CASES["collinear"].write(tmp_path / "run")
    once = (
        "test -e told || { touch told; echo 'ERROR: the triple product of the basis vectors'; exit 1; }; exec vasp_std"
    )
    error = fails(folder, once)
    assert error.kind == "refused"
    assert "a correction changed what is computed: the cell of POSCAR was changed" in str(error)


def test_change_of_smearing_is_another_level(vasp_on_path, tmp_path):
    folder = tmp_path / "run"
    history = run(vasp_on_path, folder, [Fault("tet")], case="tetrahedra")
    assert history == read_corrections(folder).history
    assert read_corrections(folder).level_changes == {"ISMEAR": 0, "SIGMA": 0.05}


# Restarts.


@pytest.mark.parametrize("flipped", [True, False])
def test_restart_from_a_wavefunction_with_flipped_moments(vasp_on_path, tmp_path, flipped):
    """VASP would go on with the flipped state, and MAGMOM would be without effect."""
    folder = tmp_path / "run"
    faults = [Fault("unconverged"), *([Fault("flipped", argument=1)] if flipped else [])]
    history = run(vasp_on_path, folder, faults)
    assert starts(vasp_on_path.faults) == 2
    assert ("WAVECAR not read" in (folder / "vasp.out").read_text()) == flipped
    errors = [error for entry in history for error in entry["errors"]]
    assert errors == ["Unconverged", *(["moments flipped at POSCAR sites 1"] if flipped else [])]
    texts = read_corrections(folder).texts
    assert any("WAVECAR deleted, CHGCAR deleted, INCAR ISTART=0" in text for text in texts) == flipped
    assert flipped_sites(folder) == []


def test_never_converges(vasp_on_path, tmp_path):
    with pytest.raises(LabelError, match="VASP did not converge, and nothing is left to try") as raised:
        run(vasp_on_path, tmp_path / "run", [Fault("unconverged", when="always")], max_errors=2)
    assert raised.value.kind == "not-converged"


# Time.


def test_hang(tmp_path):
    error = fails(tmp_path, "sleep 100", frozen_after=0.5)
    assert error.kind == "crashed"
    assert "VASP hung: no output for 0.5 s" in str(error)


def test_program_that_heeds_no_stopcar_is_ended_before_the_limit(tmp_path):
    began = time.monotonic()
    error = fails(tmp_path, "while true; do echo busy; sleep 0.1; done", wall_time=1.5, buffer=0.5)
    assert time.monotonic() - began < 10
    assert error.kind == "not-converged"
    assert "stopped before the wall time; give it more with run.wall_time" in str(error)


def test_stopped_before_the_limit(vasp_on_path, tmp_path):
    with pytest.raises(LabelError, match="stopped before the wall time") as raised:
        run(vasp_on_path, tmp_path / "run", [Fault("slow", argument=0.4)], wall_time=100, buffer=98.5)
    assert raised.value.kind == "not-converged"
    assert raised.value.history == [{"handler": "WalltimeHandler", "errors": ["Walltime reached"], "actions": []}]
    assert "hard stop" in (tmp_path / "run" / "OUTCAR").read_text()


def test_converged_shortly_before_the_limit_is_a_label(vasp_on_path, tmp_path):
    """custodian looks at the clock once more after the end."""
    options = {"wall_time": 1000, "buffer": 999.9, "check_seconds": 60}
    history = run(vasp_on_path, tmp_path / "run", [], **options)
    assert history[-1]["errors"] == ["Walltime reached"]


def test_each_run_has_its_own_clock(vasp_on_path, tmp_path, monkeypatch):
    """custodian keeps the start of the first run of a process in the environment."""
    monkeypatch.setenv("CUSTODIAN_WALLTIME_START", "Mon Jan 01 00:00:00 UTC 2024")
    assert WalltimeHandler(wall_time=100).start_time.year == 2024
    assert run(vasp_on_path, tmp_path / "run", [], wall_time=500, buffer=10) == []
    assert os.environ["CUSTODIAN_WALLTIME_START"].endswith("2024")


def slurm_job(monkeypatch, seconds):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", f"{time.time() + seconds:.0f}")


def test_no_time_is_no_failure_of_the_configuration(tmp_path, monkeypatch):
    slurm_job(monkeypatch, 100)
    with pytest.raises(TryLaterError, match=r"(99|100) s are left of the Slurm job, of which 300 s are run.buffer"):
        run_vasp_in(write_inputs(tmp_path), RunOptions(vasp_cmd="true"))


@pytest.mark.parametrize("wall_time", [None, 5000])
def test_end_of_the_slurm_job_is_no_failure_of_the_configuration(vasp_on_path, tmp_path, monkeypatch, wall_time):
    slurm_job(monkeypatch, 100)
    with pytest.raises(TryLaterError, match="VASP was stopped because the Slurm job ends"):
        run(vasp_on_path, tmp_path / "run", [Fault("slow", argument=0.4)], wall_time=wall_time, buffer=97.5)
    assert "hard stop" in (tmp_path / "run" / "OUTCAR").read_text()


def test_program_that_is_ended_before_the_slurm_job_does(tmp_path, monkeypatch):
    slurm_job(monkeypatch, 3)
    busy = script(write_inputs(tmp_path, HARSH), "while true; do echo busy; sleep 0.1; done")
    with pytest.raises(TryLaterError, match="the Slurm job ends"):
        run_vasp_in(tmp_path, RunOptions(vasp_cmd=busy, buffer=0.5, **FAST))


def test_wall_time_of_the_configuration_is_a_verdict_in_a_slurm_job_too(vasp_on_path, tmp_path, monkeypatch):
    slurm_job(monkeypatch, 5000)
    with pytest.raises(LabelError, match="VASP was stopped before the wall time; give it more") as raised:
        run(vasp_on_path, tmp_path / "run", [Fault("slow", argument=0.4)], wall_time=100, buffer=98.5)
    assert raised.value.kind == "not-converged"


def test_a_wall_time_that_leaves_no_time_is_refused_at_once():
    with pytest.raises(ValueError, match=r"wall_time: 300 s leave no time to run, .* 300 s \(buffer\) before"):
        RunOptions(wall_time=300)
    assert RunOptions(wall_time=300, buffer=60).wall_time == 300


def test_limit_of_slurm(monkeypatch, tmp_path):
    for name in ("SLURM_JOB_ID", "SLURM_JOB_END_TIME"):
        monkeypatch.delenv(name, raising=False)
    assert time_limit(RunOptions()) is None
    assert time_limit(RunOptions(wall_time=500)) == Limit(500, of_job=False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    squeue = tmp_path / "squeue"
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 600))
    for answer, expected in ((f"echo {end}", 600), ("echo N/A", None), ("exit 1", None)):
        squeue.write_text(f'#!/bin/sh\ntest "$3" = 7 && {answer}\n')
        squeue.chmod(0o755)
        found = time_limit(RunOptions())
        assert found is None if expected is None else found == Limit(pytest.approx(expected, abs=5), of_job=True)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 900))
    assert time_limit(RunOptions()) == Limit(pytest.approx(900, abs=2), of_job=True)
    assert time_limit(RunOptions(wall_time=500)) == Limit(500, of_job=False)
    assert time_limit(RunOptions(wall_time=5000)) == Limit(pytest.approx(900, abs=2), of_job=True)


# The disk, and the end of our own process.


@pytest.mark.parametrize(
    "text",
    [
        "echo 'forrtl: No space left on device' >&2; exit 38",
        "echo 'Disk quota exceeded'; exit 1",
        "ln -s /dev/full custodian.json; exit 0",  # custodian cannot write its log
    ],
)
def test_full_disk_is_no_failure_of_the_configuration(tmp_path, text):
    folder = write_inputs(tmp_path)
    with pytest.raises(OSError, match="No space left on device") as raised:
        run_vasp_in(folder, RunOptions(vasp_cmd=script(folder, text), **FAST))
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_vasp_dies_with_us(tmp_path, sign):
    folder = write_inputs(tmp_path)
    path = script(folder, "echo $$ > pid; exec sleep 100")
    code = (
        "from pathlib import Path; from workflows.engines.vasp.run import run_vasp_in;"
        "from workflows.engines.vasp.run_options import RunOptions;"
        f"run_vasp_in(Path({str(folder)!r}), RunOptions(vasp_cmd={path!r}))"
    )
    ours = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    until = time.monotonic() + 60
    while not (folder / "pid").exists() or not (folder / "pid").read_text().strip():
        assert time.monotonic() < until
        time.sleep(0.05)
    pid = int((folder / "pid").read_text())
    ours.send_signal(sign)
    ours.wait()
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until, "VASP still runs"
        time.sleep(0.05)
