"""A small real store with two models and a server on it; Chromium, where there is one."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from datastore import SpinPoint, open_store
from datastore.quality import judge, name_ordering
from datastore.snapshot import load_snapshot
from spinmultinet.checkpoint import load_model
from spinmultinet.committee import Committee
from tests.support.browser import chromium
from tests.support.cli import command, environment
from tests.support.registry import Example, example, frames_of
from workflows.engines import get_engine
from workflows.structures.generate import generate
from workflows.test_sets import evaluate_by_test

HOSTILE = "<img src=x onerror=alert(1)>{{ 7*7 }}</script><script>alert(2)</script>"
CHROMIUM = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


@dataclass(frozen=True)
class Served:
    """A running server: its address, token, and the campaign it shows."""

    url: str
    token: str
    example: Example
    flipped: str
    """point_id of a label with a flipped site."""
    hostile: str
    """point_id of a label whose texts are HTML."""
    log: Path

    @property
    def key(self) -> str:
        return self.example.folder.name


@pytest.fixture(scope="session")
def shown(tmp_path_factory) -> tuple[Example, str, str]:
    """The campaign of the registry's tests, an evaluation of its better model, and two labels that look bad."""
    found = example(tmp_path_factory.mktemp("serve") / "nio")
    with open_store(found.options.store) as store:
        document = store.snapshots.query_one({"snapshot_id": found.good.snapshot_id})
        snapshot = load_snapshot(document["folder"])
        model = load_model(found.file("good"))
        result = evaluate_by_test(Committee([model]), frames_of(snapshot, "test"), snapshot.options)
        path = found.folder / "results.json"
        path.write_text(json.dumps({"generation": 1, "model": result}))
        output = {"model_id": "good", "generation": 1, "results": str(path)}
        store.jobs.update({"uuid": "e", "index": 1, "metadata": {"kind": "evaluate"}, "output": output})
        scores = {"model": result["overall"], "tests": result["tests"]}
        store.put_model(found.good.model_copy(update={"scores": scores}))
        flipped, hostile = (extra_label(found, number) for number in (1, 2))
        moments = np.array(flipped.magmoms_in)
        moments[0] = -moments[0]
        flipped = flipped.model_copy(update={"magmoms_out": moments, "ordering_found": name_ordering(flipped, moments)})
        flipped = judge(flipped)
        assert flipped.verdict == "rejected"
        hostile = hostile.model_copy(
            update={
                **{
                    "campaign": HOSTILE,
                    "ordering": HOSTILE,
                    "ordering_found": HOSTILE,
                    "verdict": "rejected",
                    "verdict_reasons": [HOSTILE],
                },
                **{"deformation_parameters": {HOSTILE: HOSTILE}, "corrections": [HOSTILE]},
                "level_of_theory": {**hostile.level_of_theory, HOSTILE: HOSTILE},
            }
        )
        store.put_point(flipped)
        store.put_point(hostile)
    return found, flipped.point_id, hostile.point_id


@pytest.fixture(scope="session")
def server(shown, tmp_path_factory) -> Iterator[Served]:
    """The command itself, on any free port; Ctrl-C at the end, which has to end it well."""
    folder = tmp_path_factory.mktemp("server")
    token = folder / "token"
    log = folder / "log.txt"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command("serve", shown[0].folder, "--port", 0, "--token-file", token),
            cwd=folder,
            env=environment(PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " at http://127.0.0.1:" in line, log.read_text()
        url = line.split(" at ")[1].split()[0]
        yield Served(url.rstrip("/"), token.read_text().strip(), *shown, log)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=30)[0]
    assert process.returncode == 0, log.read_text()
    assert token.read_text().strip() not in line + rest + log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; missing: skipped, or failed where SPINMULTINET_REQUIRE_BROWSER is set."""
    program = chromium()
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, headless=True, args=list(CHROMIUM))
        yield running
        running.close()


@pytest.fixture
def page(browser, server):
    """A new tab, which loads nothing from elsewhere and has no errors in its console."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    foreign, errors = [], []
    tab.on("request", lambda r: None if r.url.startswith((server.url, "data:", "blob:")) else foreign.append(r.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("dialog", lambda dialog: errors.append(f"dialog {dialog.message}"))
    tab.set_default_timeout(20_000)
    yield tab
    context.close()
    assert not foreign
    assert not errors


def extra_label(found: Example, number: int) -> SpinPoint:
    """A label of the campaign that is in no store yet."""
    options = found.options.structures.model_copy(update={"seed": 100 + number})
    configs = list(generate(options, campaign=found.options.name))
    return get_engine(found.options.engine).label(configs[-1])
