"""The page of benchmarks/dataset.py: what the named queries took, from its files of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.dataset import BOUND_MS
from datastore.queries import NAMED

HEAD = """# Queries of a large dataset

Written by `python -m benchmarks.dataset page`; the commands of each table stand above it. Labels are made up from
those of `tests/data/gpaw_nio_mno.extxyz` (see `benchmarks/dataset.py`). Times are of one process that reads the first
{limit} labels of the answer as `SpinPoint`, checksums compared: median and worst of {repetitions} repetitions by the
clock, and the median of the CPU time of that process. Each named query (`datastore.queries.NAMED`) has an index:
`index` is what the table of indexes says (`datastore/plans.py`), `scan` whether the database looks at every label
instead.
"""

NO_PLANS = """
This is the test server: it keeps everything in memory, finds equal values by hash and looks at every label for ranges
and orders, and it has no `explain`. Times say nothing about MongoDB. With a real one,
`SPINMULTINET_MONGO_URI=mongodb://... pytest tests/datastore/test_plans.py` checks that each named query is an IXSCAN
without COLLSCAN; that was not run here.
"""


def write_page(results: list[dict[str, Any]], out: Path) -> None:
    """The page of several results."""
    parts = [HEAD.format(limit=results[0]["limit"], repetitions=results[0]["repetitions"])]
    out.write_text("\n".join([*parts, *(_part(result) for result in results)]))


def _part(result: dict[str, Any]) -> str:
    place = "local:FOLDER" if result["store"] == "local" else "mongodb://HOST/EMPTY_DATABASE"
    plans = any(row["by_index"] is not None for row in result["queries"].values())
    slow = [name for name, row in result["queries"].items() if row["median"] > BOUND_MS]
    scans = [name for name, row in result["queries"].items() if row["by_index"] is False]
    disk = f", {result['disk'] / 1e9:.2f} GB on disk with its indexes" if result["disk"] else ""
    lines = [
        f"## {result['points']:,} labels of {result['atoms']} atoms, {result['store']}",
        "",
        f"    python -m benchmarks.dataset fill {place} --points {result['points']} --atoms {result['atoms']}",
        f"    python -m benchmarks.dataset ask {place} --out RESULT.json",
        "",
        f"{result['bson'] / 1e3:.1f} kB of BSON per label{disk}; {result['machine']}, {result['cores']} cores, load "
        f"average {result['load']:.1f}.",
        f"Named queries over {BOUND_MS:.0f} ms by the clock (median): {', '.join(slow) or 'none'}."
        + (f" Without an index: {', '.join(scans) or 'none'}." if plans else ""),
        *(() if plans else (NO_PLANS,)),
        "",
        "| query | filter | labels that match | ms, median | worst | CPU | index | scan |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
        *(_row(name, row) for name, row in result["queries"].items()),
        "",
        "| other questions, once | ms |",
        "| --- | ---: |",
        *(f"| {name} | {value:,.0f} |" for name, value in result["others"].items()),
        "",
    ]
    return "\n".join(lines)


def _row(name: str, row: dict[str, Any]) -> str:
    asked = NAMED[name]
    text = f"`{asked.filter}`" + (f" by `{asked.sort}`" if asked.sort else "")
    matching = "-" if row["matching"] is None else f"{row['matching']:,}"
    scan = {True: "no", False: "yes", None: "-"}[row["by_index"]]
    times = " | ".join(f"{row[kind]:.1f}" for kind in ("median", "worst", "cpu"))
    return f"| {name} | {text} | {matching} | {times} | `{', '.join(row['index'] or ())}` | {scan} |"
