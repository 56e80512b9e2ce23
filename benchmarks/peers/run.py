"""Speed and memory of ours beside other programs, on the same structures.

    python benchmarks/peers/run.py --envs FOLDER --setup                       # environments, then everything
    python benchmarks/peers/run.py --envs FOLDER --peers nequip --repeats 2    # a part; what is measured stays

64 atoms of NiO, cutoff 5 Angstrom, float32, about 4 million parameters each. Every measurement is a process of its own;
repeats are interleaved. Results go to OUT/results.json and OUT/results.md; a run that was stopped goes on where it was.
Exits with 1 where a measurement failed, with 3 where time ran out before the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers import environments, inputs, plan, report

FAILED, UNFINISHED = 1, 3
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "DP_INTRA_OP_PARALLELISM_THREADS",
)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--peers", nargs="*", choices=plan.PROGRAMS, default=list(plan.PROGRAMS), help="programs beside ours")
    add("--parts", nargs="+", choices=("peers", "spin", "scaling"), default=["peers", "spin", "scaling"])
    add("--envs", type=Path, default=Path("runs/peers/envs"), help="folder of the environments, one per program")
    add("--out", type=Path, default=Path("runs/peers"), help="folder of results and compiled models")
    add("--setup", action="store_true", help="make the environments that are missing (pip)")
    add("--threads", type=int, default=2)
    add("--repeats", type=int, default=5)
    add("--sizes", type=int, nargs="+", default=[64], help="numbers of atoms beside the peers")
    add("--scaling", type=int, nargs="+", default=[256, 1000, 4000], help="numbers of atoms of ours alone")
    add("--batch", type=int, default=2, help="structures per training step; compiled nequip needs two or more")
    add("--seconds", type=float, default=5.0, help="how long to repeat the steps of a measurement")
    add("--min-steps", type=int, default=3)
    add("--timeout", type=float, default=1800.0, help="seconds after which a measurement counts as failed")
    add("--memory-gib", type=float, default=None, help="limit per process; default: 80 %% of what is free")
    add("--max-minutes", type=float, default=None, help="start no measurement after that; run again to go on")
    add("--fresh", action="store_true", help="forget earlier results and compiled models")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Measure what is missing, write the results, and tell them."""
    args = arguments(given)
    chosen = plan.variants(args.peers, args.parts)
    if args.setup:
        environments.set_up(args.envs, list(dict.fromkeys(v.program for v in chosen if v.program != plan.OURS)))
    results = Results(args)
    scaling = args.scaling if "scaling" in args.parts else []
    todo = list(plan.measurements(chosen, args.sizes, scaling, args.repeats))
    finished = _measure_all(todo, results, args)
    print(results.write_report())
    if not finished:
        print(f"time is over; the same command goes on. Results so far: {results.path}", file=sys.stderr)
        return UNFINISHED
    return FAILED if any("error" in row for row in results.rows.values()) else 0


class Results:
    """The file of results: settings, and one row per measurement under its key."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.path = args.out / "results.json"
        if args.fresh:
            for path in (self.path, args.out / "compiled", args.out / "inductor"):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        args.out.mkdir(parents=True, exist_ok=True)
        names = ("threads", "batch", "seconds", "min_steps")
        self.settings = {k: getattr(args, k) for k in names} | {"source": plan.source_hash()}
        self.rows: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            found = json.loads(self.path.read_text())
            differing = [k for k, v in self.settings.items() if found["settings"].get(k) != v]
            if differing:
                raise SystemExit(
                    f"error: {self.path} holds measurements with another {' and '.join(differing)}"
                    " (source: our model's code). Mend: --fresh forgets them, another --out keeps them"
                )
            self.rows = {k: row for k, row in found["rows"].items() if "error" not in row}  # failures are tried again

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row, safe against being stopped right now."""
        self.rows[key] = row
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"settings": self.settings, "rows": self.rows}, indent=1))
        new.replace(self.path)

    def write_report(self) -> str:
        """The tables in Markdown, written beside the JSON."""
        text = report.markdown(self.settings, self.rows)
        self.path.with_suffix(".md").write_text(text)
        return text


def _measure_all(todo: list[plan.Measurement], results: Results, args: argparse.Namespace) -> bool:
    """True when nothing is left to do. One failure of a group answers for its repeats."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    end = time.monotonic() + 60 * (args.max_minutes if args.max_minutes is not None else float("inf"))
    failed: set[tuple[str, str, int]] = set()
    left = [m for m in todo if m.key not in results.rows]
    columns = (TextColumn("{task.description:45}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(left))
        for m in left:
            progress.update(bar, description=m.key)
            if m.group not in failed:
                if time.monotonic() > end:
                    return False
                row = _measure(m, args)
                results.add(m.key, row)
                if "error" in row:
                    failed.add(m.group)
                    progress.console.print(f"{m.key}: {row['error']}", style="red", markup=False)
            progress.advance(bar)
    return True


def _measure(m: plan.Measurement, args: argparse.Namespace) -> dict[str, Any]:
    """The row of one measurement; {'error': ...} where it failed."""
    interpreter = environments.python(args.envs, m.variant.program)
    if not interpreter.exists():
        return {"error": f"no environment {interpreter.parents[1]}; --setup makes it"}
    worker = Path(__file__).parent / f"worker_{m.variant.program}.py"
    process = subprocess.Popen(
        [str(interpreter), "-W", "ignore", str(worker), json.dumps(_job(m, args))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(m, args),
        start_new_session=True,  # compilers start processes of their own, which have to end with it
    )
    late = False
    try:
        out, err = process.communicate(timeout=args.timeout)
    except subprocess.TimeoutExpired:
        late = True
        _end(process)
        out, err = process.communicate()
    finally:
        _end(process)
    (args.out / "last_stderr.txt").write_text(err)
    if late:
        return {"error": f"took longer than {args.timeout:g} s"}
    try:
        row: dict[str, Any] = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        last = (err.strip().splitlines() or ["nothing on stderr"])[-1]
        return {"error": f"ended with code {process.returncode}: {last[:300]}"}
    return row | {"finished": time.strftime("%Y-%m-%d %H:%M:%S"), "load": os.getloadavg()[0]}


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _job(m: plan.Measurement, args: argparse.Namespace) -> dict[str, Any]:
    structures = args.out / f"nio_{m.n_atoms}.json"
    if not structures.exists():
        inputs.write(structures, m.n_atoms, plan.N_STRUCTURES)
    return {
        "options": m.variant.options,
        "species": list(plan.SPECIES),
        "cutoff": plan.CUTOFF,
        "task": m.task,
        "compiled": str((args.out / "compiled" / f"{m.variant.name}.nequip.pt2").absolute())
        if m.variant.compiled
        else "",
        "structures": str(structures.absolute()),
        "batch": args.batch,
        "threads": args.threads,
        "seconds": args.seconds,
        "min_steps": args.min_steps,
        "memory_gib": args.memory_gib or 0.8 * _free_gib(),
    }


def _free_gib() -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return float(lines["MemAvailable"].split()[0]) / 2**20


def _environment(m: plan.Measurement, args: argparse.Namespace) -> dict[str, str]:
    ours = {"PYTHONPATH": str(plan.ROOT)} if m.variant.program == plan.OURS else {}
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    cache = {"TORCHINDUCTOR_CACHE_DIR": str((args.out / "inductor" / m.variant.name).absolute())}
    return kept | ours | cache | dict.fromkeys(_THREADS, str(args.threads)) | {"CUDA_VISIBLE_DEVICES": ""}


if __name__ == "__main__":
    sys.exit(main())
