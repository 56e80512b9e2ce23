"""SpinMultiNet beside DeepSPIN of DeePMD-kit: same frames, same seconds, same threads. Prints Markdown.

    python -m venv ENV && ENV/bin/pip install torch==2.13.0 ase e3nn==0.6.0 vesin-torch
    DP_ENABLE_TENSORFLOW=0 ENV/bin/pip install --no-binary deepmd-kit deepmd-kit==3.2.0
    python benchmarks/deepspin/run.py FILE.extxyz --env ENV --seconds 60 --seeds 3
    python benchmarks/deepspin/run.py FILE.extxyz                                     # ours alone

FILE has frames of the same atoms with `magmom_in`, energies, forces and `magnetic_forces` (-dE/dm, eV/muB) of held
moments. Ten frames, at random per seed, are kept for testing. Ours takes the setting of settings.yaml that is best on
eight of the others, after a third of the time; these then join the training. Theirs are all tested. Seconds are
processor time of the loop of training: wall time where nothing else runs. Trainings are kept in --out; the same command
goes on after a stop.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.deepspin.frames import LABELS, Arrays, chosen, errors, read, split

HERE = Path(__file__).parent
VALIDATION = 8  # of the frames to train on
CHOICE = 1 / 3  # of the seconds, for each training that only serves to choose a setting
Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training: whose, with which settings, on which frames."""

    side: str
    setting: str
    seed: int
    train: np.ndarray
    test: np.ndarray
    seconds: float
    purpose: str


@dataclass(frozen=True)
class Plan:
    """What all trainings share."""

    frames: Arrays
    settings: dict[str, dict[str, Any]]
    python: dict[str, str]
    seconds: float
    threads: int
    out: Path

    def run(self, job: Job) -> Result:
        """Errors, steps and seconds of a training; what an earlier run left where it was the same."""
        name = job.setting.replace(", ", "_")
        folder = self.out / f"{self.seconds:g}s" / job.side / name / f"{job.purpose}_{job.seed}"
        described = {
            "settings": self.settings[job.side][job.setting],
            "seconds": job.seconds,
            "seed": job.seed,
            "threads": self.threads,
            "train": job.train.tolist(),
            "test": job.test.tolist(),
        }
        written = folder / "job.json"
        if not (folder / "result.json").exists() or json.loads(written.read_text()) != described:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "result.json").unlink(missing_ok=True)
            np.savez(folder / "train.npz", **chosen(self.frames, job.train))
            np.savez(folder / "test.npz", **chosen(self.frames, job.test))
            written.write_text(json.dumps(described))
            self._train(job.side, folder)
        found = errors(dict(np.load(folder / "predicted.npz")), chosen(self.frames, job.test))
        return {"setting": job.setting, "seed": job.seed} | json.loads((folder / "result.json").read_text()) | found

    def _train(self, side: str, folder: Path) -> None:
        threads = ("OMP_NUM_THREADS", "DP_INTRA_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS")
        environment = os.environ | dict.fromkeys(threads, str(self.threads))
        command = [self.python[side], str(HERE / f"{side}.py"), str(folder)]
        with (folder / "log").open("w") as log:
            ended = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
        if ended.returncode or not (folder / "result.json").exists():
            raise SystemExit(f"{' '.join(command)} failed; its output is in {folder / 'log'}")


def score(result: Result) -> float:
    """Geometric mean of the three errors, each as a share of its labels' size."""
    return float(np.prod([result[task]["mae"] / result[task]["size"] for task in LABELS]) ** (1 / len(LABELS)))


def all_runs(plan: Plan, seeds: int, theirs: list[str]) -> tuple[list[Result], list[Result]]:
    """Trainings of ours, each with the setting that its own frames chose, and of theirs."""
    ours: list[Result] = []
    others: list[Result] = []
    names = list(plan.settings["ours"])
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("trainings", total=seeds * (len(names) + 1 + len(theirs)))

        def run(*job: Any) -> Result:
            progress.update(task, description=" ".join(str(part) for part in job[:3]))
            result = plan.run(Job(*job))
            progress.advance(task)
            return result

        for seed in range(seeds):
            train, test = split(len(plan.frames["energy"]), seed)
            rest, validation = train[VALIDATION:], train[:VALIDATION]
            tried = [run("ours", name, seed, rest, validation, CHOICE * plan.seconds, "choice") for name in names]
            best = min(tried, key=score)["setting"]
            ours.append(run("ours", best, seed, train, test, plan.seconds, "test"))
            others += [run("theirs", name, seed, train, test, plan.seconds, "test") for name in theirs]
    return ours, others


def row(name: str, runs: list[Result]) -> str:
    """A line of the table: mean (lowest to highest) of the errors, means of what it took."""
    cells = []
    for task in LABELS:
        mae, rmse = ([r[task][kind] for r in runs] for kind in ("mae", "rmse"))
        cells.append(f"{np.mean(mae):.3g} ({min(mae):.3g} to {max(mae):.3g}), {np.mean(rmse):.3g}")
    size, steps, spent, wall = (np.mean([r[k] for r in runs]) for k in ("parameters", "steps", "processor_s", "wall_s"))
    return f"| {name} | {len(runs)} | {size:,.0f} | {steps:,.0f} | {spent:.0f} ({wall:.0f}) | {' | '.join(cells)} |"


def wins(ours: list[Result], theirs: list[Result]) -> list[str]:
    """Per task: in how many seeds ours has the lower MAE than each of theirs, and the ratio to their best."""
    lines = []
    for task, unit in LABELS.items():
        best = [min(r[task]["mae"] for r in theirs if r["seed"] == o["seed"]) for o in ours]
        ratios = [b / o[task]["mae"] for b, o in zip(best, ours, strict=True)]
        lines.append(
            f"- {task.replace('_', ' ')} ({unit}): lower than the best of theirs in {sum(r > 1 for r in ratios)} of "
            f"{len(ours)} seeds, by a factor of {min(ratios):.2g} to {max(ratios):.2g}"
        )
    return lines


def table(plan: Plan, ours: list[Result], theirs: list[Result]) -> str:
    """Markdown."""
    sizes = [f"{np.mean([r[task]['size'] for r in ours]):.3g} {unit}" for task, unit in LABELS.items()]
    head = [f"{task.replace('_', ' ')} ({unit})" for task, unit in LABELS.items()]
    names = list(dict.fromkeys(r["setting"] for r in theirs))
    versions = dict.fromkeys(r["version"] for r in [*ours, *theirs])
    picked = ", ".join(f"{r['setting']} (seed {r['seed']})" for r in ours)
    return "\n".join(
        [
            f"{len(plan.frames['energy'])} frames of {len(plan.frames['numbers'])} atoms, 10 kept for testing; "
            f"{plan.seconds:g} s of training, {plan.threads} thread; {'; '.join(versions)}",
            "",
            "Errors: MAE, mean over seeds (lowest to highest), then the mean RMSE. Seconds: processor (wall).",
            f"Mean size of the labels: {', '.join(sizes)}. Chosen on the frames to train on: {picked}.",
            "",
            f"| model | seeds | parameters | steps | seconds | {' | '.join(head)} |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            row("SpinMultiNet", ours),
            *(row(name, [r for r in theirs if r["setting"] == name]) for name in names),
            *(["", *wins(ours, theirs)] if theirs else []),
        ]
    )


def main() -> None:
    """Run what is missing, print and keep the tables."""
    settings = yaml.safe_load((HERE / "settings.yaml").read_text())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--env", type=Path, help="folder of the environment with DeePMD-kit; ours alone without")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--theirs", nargs="+", choices=list(settings["theirs"]), help="all unless given")
    parser.add_argument("--out", type=Path, default=Path("runs/deepspin"))
    given = parser.parse_args()
    if given.env and not (given.env / "bin" / "python").exists():
        parser.error(f"{given.env} is no environment: it has no bin/python; --help says how to make it")
    python = {"ours": sys.executable, "theirs": str(given.env / "bin" / "python") if given.env else ""}
    theirs = (given.theirs or list(settings["theirs"])) if given.env else []
    plan = Plan(read(given.file), settings, python, given.seconds, given.threads, given.out.resolve())
    ours, others = all_runs(plan, given.seeds, theirs)
    text = table(plan, ours, others)
    (plan.out / f"{given.seconds:g}s.json").write_text(json.dumps({"ours": ours, "theirs": others}, indent=1))
    (plan.out / f"{given.seconds:g}s.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
