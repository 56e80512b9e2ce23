"""Kill a campaign with signal 9 at random moments, resume it, and count what went wrong.

nice -n 5 python benchmarks/campaign_kills.py --kills 20    # table of docs/results/kills.md; exit code 1 on a violation

A campaign of active learning with the spin-lattice engine runs once undisturbed. Then the same campaign runs in new
folders, its driver is killed (kill -9) at a random moment and started again, at most ``--each`` times per campaign,
until there were so many kills; each campaign is then run to its end. Moments are drawn after each start, from the first
job that begins on, uniformly up to twice the ``--each``-th part of the time that the jobs of the undisturbed run took:
kills fall into all stages. After every kill the store is read as the kill left it. Violations:

- a label whose output was stored at a kill is computed again after it (the engine writes down every calculation);
- the record of the model in use names a file that is not there, has another SHA-256, or is no model that loads;
- the campaign ends with other labels or other decisions than the undisturbed one.

A calculation that a kill meets between its last step and the store is lost and done again; such ones are counted too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datastore import SpinStore, open_store
from datastore.costs import LOG_FILE
from datastore.errors import DataError
from datastore.registry import champion
from tests.support.cli import environment, tiny_campaign
from tests.support.counted_engine import Counted
from workflows.campaign import CampaignOptions, load_campaign
from workflows.flows import CampaignMaker
from workflows.registry.checks import load_members
from workflows.results import outcome
from workflows.submit import RunResult, run_local

LOG = "engine.log"
SECONDS = 0.2
"""That each calculation takes, so that kills meet some."""

LEARNING = {
    **{"rounds": 1, "labels": 4, "candidates": 8, "select": {"rule": "spread"}},
    "promote": {"md_steps": 0, "structures": 1},
}


@dataclass
class Kill:
    """What a kill met and left."""

    campaign: int
    after: float
    """Seconds since the driver began its first job."""
    at_work: list[str]
    stored: int
    """Labels whose output was in the store."""
    champion: str
    problems: list[str]


def write(folder: Path) -> Path:
    """The campaign's file, in a folder of its own."""
    folder.mkdir(parents=True)
    return tiny_campaign(folder, committee=2, baseline="", active_learning=LEARNING)


def drive(campaign: Path) -> RunResult:
    """Run or resume a campaign."""
    options, _ = load_campaign(campaign)
    engine = Counted(log=str(campaign.parent / LOG), seconds=SECONDS)
    return run_local(CampaignMaker(options, engine).make(), options.store, Path(options.folder), workers=2)


def start(campaign: Path) -> subprocess.Popen[bytes]:
    """The same in a process of its own."""
    arguments = [sys.executable, str(Path(__file__).resolve()), "--drive", str(campaign)]
    return subprocess.Popen(arguments, cwd=campaign.parent, env=environment(), stdout=subprocess.DEVNULL)


def finish(campaign: Path) -> None:
    """Run a campaign to its end. Raises RuntimeError where the driver fails."""
    if start(campaign).wait() != 0:
        raise RuntimeError(f"{campaign}: the driver failed without having been killed")


def options_of(campaign: Path) -> CampaignOptions:
    """Options with the folders that the driver has, which works beside the file."""
    with contextlib.chdir(campaign.parent):
        return load_campaign(campaign)[0]


def kill(campaign: Path, number: int, after: float) -> Kill | None:
    """Start the driver, kill it after so many seconds, and look at what is there; None where it ended before."""
    began = time.time()
    log = log_of(options_of(campaign))
    size = log.stat().st_size if log.exists() else 0
    process = start(campaign)
    while process.poll() is None and not (log.exists() and log.stat().st_size > size):
        time.sleep(0.01)
    try:
        code = process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    else:
        if code != 0:
            raise RuntimeError(f"{campaign}: the driver failed without having been killed")
        return None
    time.sleep(0.5)  # its workers end with it
    options = options_of(campaign)
    with open_store(options.store) as store:
        used, problems = used_model(store, options)
        return Kill(number, after, at_work(Path(options.folder), began), len(stored(store)), used, problems)


def used_model(store: SpinStore, options: CampaignOptions) -> tuple[str, list[str]]:
    """Generation of the model in use, and what is wrong with its files."""
    record = champion(store, options.name)
    if record is None:
        return "none", []
    try:
        load_members(record, options.store)
    except DataError as error:
        return str(record.generation), [f"model in use: {error}"]
    return str(record.generation), []


def stored(store: SpinStore) -> set[str]:
    """config_ids of labels whose output is in the store."""
    found = store.jobs.query({"metadata.kind": "label"}, ["output.config_id"])
    return {document["output"]["config_id"] for document in found}


def log_of(options: CampaignOptions) -> Path:
    """The log of a campaign's runs: a line where a job begins, and one where it ends."""
    return Path(options.folder) / LOG_FILE


def seconds_of_jobs(options: CampaignOptions) -> float:
    """From the beginning of the first job to the end of the last one."""
    times = [json.loads(line)["time"] for line in log_of(options).read_text().splitlines()]
    return float(max(times) - min(times))


def at_work(folder: Path, began: float) -> list[str]:
    """Kinds of jobs that had begun since (Unix time) and not ended, by the log of the campaign's runs."""
    log = folder / LOG_FILE
    newest: dict[str, dict[str, Any]] = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        entry = json.loads(line)
        newest[entry["uuid"]] = entry
    return sorted(entry["type"] for entry in newest.values() if entry["event"] == "started" and entry["time"] > began)


def computed(campaign: Path) -> list[str]:
    """config_ids in the order in which the engine computed them."""
    log = campaign.parent / LOG
    return log.read_text().split() if log.exists() else []


def ending(campaign: Path) -> dict[str, Any]:
    """Labels and decisions that a finished campaign ended with."""
    uuids = json.loads((campaign.parent / "result.json").read_text())
    with open_store(options_of(campaign).store) as store:
        end = outcome(store, RunResult(uuids=uuids))
    told = [json.loads(Path(path).read_text()) for path in end["decisions"]]
    return {"labels": sorted(end["point_ids"]), "decisions": [(d["generation"], d["stop"], d["why"]) for d in told]}


def campaign_with_kills(folder: Path, number: int, kills: int, window: float, rng: random.Random) -> list[Kill]:
    """Kill a new campaign at most so many times, within ``window`` seconds from the first job on, then let it end.

    Problems of the end are in the last kill.
    """
    campaign = write(folder / f"campaign{number}")
    met: list[Kill] = []
    known: set[str] = set()  # stored at the last kill
    while True:
        before = len(computed(campaign))
        found = kill(campaign, number, rng.uniform(0.0, window)) if len(met) < kills else None
        if found is None:
            finish(campaign)
        again = sorted(known & set(computed(campaign)[before:]))
        if found is not None:
            met.append(found)
            print(row(found), flush=True)
            with open_store(options_of(campaign).store) as store:
                known = stored(store)
        if met:
            met[-1].problems += [f"label {name} was stored, and computed again" for name in again]
        if found is None:
            break
    if met:
        met[-1].problems += differences(ending(campaign), ending(folder / "undisturbed" / campaign.name))
    return met


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What of the end of a campaign is not as it is without kills."""
    return [f"other {what} than without kills" for what in expected if found[what] != expected[what]]


def row(found: Kill) -> str:
    """One line of the table."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(found.at_work).items()) or "nothing"
    return f"| {found.campaign} | {found.after:.1f} | {kinds} | {found.stored} | {found.champion} |"


def main() -> int:
    """Number of violations as an exit code: 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--each", type=int, default=4, help="most kills of one campaign")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drive:
        result = drive(arguments.drive)
        (arguments.drive.parent / "result.json").write_text(json.dumps(result.uuids))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return experiment(Path(folder), arguments.kills, arguments.each, random.Random(arguments.seed))


def experiment(folder: Path, kills: int, each: int, rng: random.Random) -> int:
    """All campaigns in ``folder``; prints the table and what was found."""
    whole = write(folder / "undisturbed")
    finish(whole)
    typical = seconds_of_jobs(options_of(whole))
    window = 2 * typical / each
    labels = len(ending(whole)["labels"])
    print(f"undisturbed: {typical:.0f} s, {labels} labels, {len(computed(whole))} computed\n", flush=True)
    print("| campaign | seconds to the kill | at work | labels stored | model in use, generation |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    met: list[Kill] = []
    lost, number = 0, 0
    while len(met) < kills:
        number += 1
        met += campaign_with_kills(folder, number, min(each, kills - len(met)), window, rng)
        lost += len(computed(folder / f"campaign{number}" / whole.name)) - labels
    problems = [f"campaign {found.campaign}: {problem}" for found in met for problem in found.problems]
    print(
        f"\n{len(met)} kills of {number} campaigns; {lost} calculations were computed, not stored yet, and done again"
    )
    print("\n".join(problems) or "no violation")
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
