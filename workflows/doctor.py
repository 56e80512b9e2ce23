"""What this machine has and lacks to run campaigns. Looks only, changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "numpy", "scipy", "torch", "e3nn", "ase", "vesin", "pymatgen", "maggma", "jobflow", "atomate2", "custodian",
    "pydantic", "typer", "rich", "matplotlib",
)  # fmt: skip
OPTIONAL = ("gpaw", "jobflow-remote", "pymatgen-io-validation")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LITTLE_DISK = 2.0
"""GB; with less free space a campaign may not end well."""

Findings = dict[str, Any]


def inspect(store: str | None = None, engine: str | None = None, remote: str | None = None) -> Findings:
    """Everything below as one JSON-able document; ``ready``: a campaign can run with at least one engine.

    ``engine``: type or YAML file of the one that is judged, instead of each with its defaults. ``remote``: a project of
    jobflow-remote to look at as well; RemoteSetupError where it cannot be read.
    """
    packages = {name: _version(name) for name in PACKAGES}
    engines, setups = _engines(engine)
    found: Findings = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": packages,
        "optional": {name: _version(name) for name in OPTIONAL},
        "engines": engines,
        "setups": setups,
        "cores": len(os.sched_getaffinity(0)),
        "threads": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "disk_free_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        "store": None if store is None else _store(store),
        "remote": [] if remote is None else _remote(remote),
    }
    usable = any(not missing for missing in engines.values())
    problems = [(found["store"] or {}).get("problem"), *(each["problem"] for each in found["remote"])]
    found["ready"] = usable and None not in packages.values() and not any(problems)
    return found


def lines(found: Findings) -> list[str]:
    """The findings for people, problems marked with ``-`` and their remedies."""
    out = [f"python {found['python']} on {found['system']}", "packages"]
    out += [_item(name, version, "pip install " + name) for name, version in found["packages"].items()]
    out.append("optional packages")
    out += [f"  {name} {version or 'not installed'}" for name, version in found["optional"].items()]
    out.append("engines")
    for name, missing in found["engines"].items():
        out.append(f"{'-' if missing else '+'} {name}: {missing[0] if missing else 'ready'}")
        out += [f"    and {problem}" for problem in missing[1:]]
        out += [f"    {line}" for line in found["setups"].get(name, [])]
    threads = ", ".join(f"{name}={value or 'not set'}" for name, value in found["threads"].items())
    out.append(f"machine: {found['cores']} cores, {threads} (calculations set 1 for themselves)")
    little = f"; free some space, campaigns want {LITTLE_DISK:g} GB" if found["disk_free_gb"] < LITTLE_DISK else ""
    out.append(f"{'-' if little else '+'} disk: {found['disk_free_gb']} GB free here{little}")
    if found["store"]:
        problem = found["store"]["problem"]
        out.append(f"{'-' if problem else '+'} store {found['store']['uri']}: {problem or 'can be reached'}")
    out += [
        f"{'-' if each['problem'] else '+'} {each['what']}: {each['problem'] or 'fine'}" for each in found["remote"]
    ]
    if found["remote"]:
        from workflows.remote.checks import GUI

        out.append(f"note: {GUI}")
    out.append("ready: campaigns can run" if found["ready"] else "not ready: mend what is marked with '-'")
    return out


def _item(name: str, version: str | None, remedy: str) -> str:
    return f"+ {name} {version}" if version else f"- {name} is not installed: {remedy}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _engines(chosen: str | None = None) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Engine type, or the ``chosen`` one -> what is missing, with remedies; and what those that lack nothing use."""
    from workflows.engines import ENGINES, EngineError, get_engine

    found: dict[str, list[str]] = {}
    setups: dict[str, list[str]] = {}
    for name in sorted(ENGINES) if chosen is None else [chosen]:
        try:
            engine = get_engine(name)
            found[name] = engine.missing()
            if not found[name]:
                setups[name] = engine.setup()
        except EngineError as error:
            found[name] = [str(error)]
        except Exception as error:  # a doctor reports what is broken, whatever it is
            found[name] = [f"cannot be loaded ({type(error).__name__}: {error}); install the package again"]
    return found, setups


def _remote(project: str) -> list[Findings]:
    from workflows.remote.checks import examine

    return examine(project)


def _store(uri: str) -> Findings:
    """Whether a store can be opened and read."""
    from datastore import open_store
    from datastore.errors import DataError
    from datastore.stores import mask

    try:
        with open_store(uri, readonly=True) as store:
            counts = {"points": store.points.count(), "failures": store.failures.count()}
    except DataError as error:
        return {"uri": mask(uri), "problem": str(error)}
    return {"uri": mask(uri), "problem": None, **counts}
