"""What stands in the way of a project of jobflow-remote: permissions, database, workers. Looks only, changes little:
it makes the workers' folders, as the runner does.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import stat
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from datastore.stores import TIMEOUT_MS, mask
from workflows import __version__
from workflows.remote.queue import load_project

SCHEDULER = {"slurm": "squeue --version", "pbs": "qstat --version", "sge": "qstat -help"}
"""A command of the scheduler that only answers."""

GUI = (
    "`jf gui` listens on all interfaces (0.0.0.0) without a password; use `spinmultinet serve`, which stays on this "
    "machine, or forbid its port (5001) from outside"
)

_INSTALLED = 'from importlib.util import find_spec; assert find_spec("workflows") and find_spec("jobflow_remote")'

_VERSIONS = """\
import json, platform
from importlib.metadata import PackageNotFoundError, version
from workflows import __version__
def of(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
found = {"workflows": __version__, "Python": platform.python_version(), "torch": of("torch")}
print(json.dumps(found))
"""
"""Program that tells the versions in an environment, in its last line."""

REMEDY = "install this package with the extra `remote` there, or correct pre_run"

Versions = dict[str, str]
Finding = dict[str, Any]
"""``what`` was looked at; ``problem``, None where there is none, with its remedy."""


def examine(name: str) -> list[Finding]:
    """Everything about the project ``name``. Raises RemoteSetupError where there is none or it cannot be read."""
    from jobflow_remote.config.manager import ConfigManager

    found = load_project(name)
    path = Path(ConfigManager().projects_data[name].filepath)
    findings = [_finding(f"project {path}", file_problem(path))]
    findings += [_finding(f"key {key}", key_problem(key)) for key in _keys(found)]
    findings += [_finding(f"worker {worker}: secrets", problem) for worker, problem in _secrets(found)]
    findings.append(_finding("queue and results in two databases", _separation(found)))
    findings += [_finding(what, _store_problem(store)) for what, store in _stores(found)]
    for worker, options in found.workers.items():
        problem, versions = _look_at(options)
        findings.append(_finding(f"worker {worker}", problem))
        findings += [] if versions is None else [_version_finding(worker, versions)]
    return findings


def file_problem(path: Path) -> str | None:
    """Who else may read (or write) a file with a password in it, with the remedy; None where nobody may."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return f"others may read it, and it holds the database's URI: chmod 600 {path}"
    if stat.S_IMODE(path.parent.stat().st_mode) & 0o022:
        return f"others may replace it: chmod go-w {path.parent}"
    return None


def key_problem(path: Path) -> str | None:
    """What is wrong with a private SSH key, with the remedy; ssh itself refuses keys that others may read."""
    if not path.is_file():
        return f"there is no key {path}; give the path of a private key, or none to use your SSH agent"
    if path.suffix == ".pub":
        return f"{path} is the public key; give the private one, without .pub"
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 or path.stat().st_uid not in (os.getuid(), 0):
        return f"the private key {path} has permissions {mode:04o}, and others may read it: chmod 600 {path}"
    return None


def _finding(what: str, problem: str | None) -> Finding:
    return {"what": what, "problem": problem}


def _connections(found: Any) -> Iterator[tuple[str, Any]]:
    """Name of the worker, and each SSH connection on the way to it."""
    for name, worker in found.workers.items():
        way = worker
        while way is not None and hasattr(way, "key_filename"):
            yield name, way
            way = way.gateway


def _keys(found: Any) -> list[Path]:
    """Private keys of all connections, each once."""
    named = [way.key_filename for _, way in _connections(found) if way.key_filename]
    paths = [path for keys in named for path in ([keys] if isinstance(keys, str) else keys)]
    return [Path(path).expanduser() for path in dict.fromkeys(paths)]


def _secrets(found: Any) -> Iterator[tuple[str, str]]:
    for name, way in _connections(found):
        stated = [field for field in ("password", "passphrase") if getattr(way, field)]
        if stated:
            yield name, f"its {' and '.join(stated)} for {way.host} stands in the project; use a key and your SSH agent"


def _stores(found: Any) -> list[tuple[str, Any]]:
    jobstore = found.get_jobstore()
    more = [(f"store {name}", store) for name, store in jobstore.additional_stores.items()]
    return [("queue", found.get_queue_store()), ("results", jobstore.docs_store), *more]


def _separation(found: Any) -> str | None:
    """The queue's runner reads and locks its collections all the time, and `jf admin reset` empties them."""
    queue, results = found.get_queue_store(), found.get_jobstore().docs_store
    if _place(queue) != _place(results):
        return None
    return f"both are in {queue.database}: give the queue another database, such as {queue.database}_queue"


def _place(store: Any) -> tuple[Any, ...]:
    return getattr(store, "uri", None) or getattr(store, "host", None), getattr(store, "database", None)


def _store_problem(store: Any) -> str | None:
    from pymongo.errors import PyMongoError

    timeouts = {"serverSelectionTimeoutMS": TIMEOUT_MS, "connectTimeoutMS": TIMEOUT_MS}
    store.mongoclient_kwargs = {**store.mongoclient_kwargs, **timeouts}
    place = mask(str(store.uri or store.host))
    try:
        store.connect()
        store.query_one({})
    except PyMongoError as error:
        told = mask(str(error).split(", Timeout", maxsplit=1)[0].splitlines()[0])[:200]
        return f"{place} does not answer ({told}); start the server, check host, port, user and network"
    finally:
        store.close()
    return None


def _look_at(worker: Any) -> tuple[str | None, Versions | None]:
    """What keeps a worker from running a job: host, folder, scheduler, packages; where nothing does, its versions."""
    host = worker.get_host()
    warnings.filterwarnings("ignore", category=FutureWarning, module="jobflow_remote")  # of monty's cd
    try:
        host.connect()
        for command, remedy in _commands(worker):
            _, error, code = host.execute(command, timeout=60)
            if code:
                return f"{remedy} (it said: {' '.join(str(error).split())[-200:] or f'exit code {code}'})", None
        told, error, code = host.execute(_in_environment(worker, f"python -c {shlex.quote(_VERSIONS)}"), timeout=60)
        if code:
            return f"its Python cannot import workflows ({str(error).strip()[-200:]}); {REMEDY}", None
        return None, json.loads(str(told).strip().splitlines()[-1])
    except Exception as error:  # paramiko, fabric, sockets: whatever it is, the worker does not answer
        where = getattr(worker, "host", "this machine")
        told = f"{type(error).__name__}: {error}"
        return f"{where} does not answer ({told}); check host, user, port, key and jump host", None
    finally:
        host.close()


def _commands(worker: Any) -> Iterator[tuple[str, str]]:
    """Commands that have to succeed on the worker, with what to do where they do not."""
    folder = worker.work_dir
    yield f"mkdir -p '{folder}' && test -w '{folder}'", f"{folder} cannot be written; give another work_dir"
    if isinstance(worker.scheduler_type, str) and worker.scheduler_type in SCHEDULER:
        command = SCHEDULER[worker.scheduler_type]
        yield command, f"`{command}` fails: is {worker.scheduler_type} there, and on PATH without a login shell?"
    for last, problem in (
        ("command -v jf", "there is no `jf` after pre_run"),
        (f"python -c '{_INSTALLED}'", "its Python lacks our packages"),
    ):
        yield _in_environment(worker, last), f"{problem}; {REMEDY}"


def _in_environment(worker: Any, command: str) -> str:
    """A command behind pre_run, as jobs have it, away from packages that lie in the folder where we are."""
    lines = (worker.pre_run or "").strip().splitlines()
    return "bash -c " + shlex.quote("\n".join([f"cd {shlex.quote(str(worker.work_dir))}", *lines, command]))


def _version_finding(worker: str, there: Versions) -> Finding:
    """Other numbers may come of another version of ours; Python and PyTorch are only told."""
    problem = None
    if there["workflows"] != __version__:
        problem = (
            f"it has version {there['workflows']} of spinmultinet-workflows, and here is {__version__}; install the "
            "same version in both places"
        )
    here = {"Python": platform.python_version(), "torch": _installed("torch")}
    told = [f"{name} {there[name]}" + ("" if there[name] == mine else f" (here {mine})") for name, mine in here.items()]
    return _finding(f"worker {worker}: {', '.join(told)}", problem)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
