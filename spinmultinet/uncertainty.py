"""Spread of a committee against its true errors: coverage, rank correlation, reliability bins.

The spread of three or four members that saw the same labels is mostly smaller than the error of their mean: members
share what the labels lack. One factor per task (`calibration`) repairs the size, not the order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms

from .comparison import FACTORS, REPORT_UNITS, Row

Task = Literal["energy", "forces", "moments"]
SPREADS: dict[Task, str] = {"energy": "energy_std", "forces": "forces_std", "moments": "magmoms_std"}
"""Task -> key of the spread in a prediction of a committee."""
SIGMAS: dict[Task, str] = {"energy": "energy_sigma", "forces": "forces_sigma", "moments": "magmoms_sigma"}
"""Task -> key of the calibrated spread, the expected error."""
_BINS, _LEAST_PER_BIN, _RESAMPLES = 10, 10, 400


@dataclass(frozen=True)
class _Sample:
    """Of one task [n]: lengths of errors and spreads in report units, structure and number of components of each."""

    error: np.ndarray
    spread: np.ndarray
    sigma: np.ndarray | None
    structure: np.ndarray
    components: np.ndarray

    def expected(self) -> list[float]:
        """Shares of errors that normal ones have within one and two sigma: the mean over scalars and vectors."""
        kinds, counts = np.unique(self.components, return_counts=True)
        shares = [expected_within(int(kind)) for kind in kinds]
        return [float(share) for share in np.average(shares, axis=0, weights=counts)]


def uncertainty(rows: Sequence[Row], frames: Sequence[Atoms], predictions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Per task (energy per atom; forces per atom; moments per magnetic site) how the spread tells the true error.

    Errors and spreads of a vector are lengths, sqrt(sum over components of squares), in REPORT_UNITS. Per task: `n`,
    `n_structures`, `rms_error`, `rms_spread`, `rank_correlation` (Spearman; None for a constant), `within` (fractions
    of errors below one and two spreads; the same for `sigma`, the calibrated spread, where predictions have it; and
    what is `expected` of normally distributed errors), `ratio` (the factor on spreads that makes the first of these
    what is expected), `bins` of equal size in ascending order of the spread. Tasks whose spread is zero everywhere, a
    single member for one, are left out.
    """
    out: dict[str, Any] = {}
    for task in SPREADS:
        sample = _sample(task, rows, frames, predictions)
        if sample is not None and sample.spread.any():
            out[task] = {"unit": REPORT_UNITS[task], **_described(sample)}
    return out


def _sample(
    task: Task, rows: Sequence[Row], frames: Sequence[Atoms], predictions: Sequence[dict[str, Any]]
) -> _Sample | None:
    known = [
        k
        for k, (r, p) in enumerate(zip(rows, predictions, strict=True))
        if task in r and SPREADS[task] in p and np.all(np.isfinite(r[task]))  # an infinite error has no scale
    ]
    if not known:
        return None
    errors = [FACTORS[task] * rows[k][task].reshape(len(rows[k][task]), -1) for k in known]

    def joined(names: dict[Task, str]) -> np.ndarray:
        parts = [_per_value(task, predictions[k][names[task]], rows[k], frames[k]) for k in known]
        return FACTORS[task] * np.concatenate(parts)

    return _Sample(
        error=np.concatenate([np.linalg.norm(e, axis=1) for e in errors]),
        spread=joined(SPREADS),
        sigma=joined(SIGMAS) if all(SIGMAS[task] in predictions[k] for k in known) else None,
        structure=np.repeat(np.arange(len(known)), [len(e) for e in errors]),
        components=np.repeat([e.shape[1] for e in errors], [len(e) for e in errors]),
    )


def _per_value(task: Task, spread: Any, row: Row, atoms: Atoms) -> np.ndarray:
    """Spreads [n] of the values that the row has errors of."""
    if task == "energy":
        return np.atleast_1d(float(spread) / len(atoms))
    values = np.asarray(spread, dtype=float)
    return values[row["magnetic"]] if task == "moments" else values


def _described(sample: _Sample) -> dict[str, Any]:
    within = {"spread": _within(sample.error, sample.spread), "expected": sample.expected()}
    if sample.sigma is not None:
        within["sigma"] = _within(sample.error, sample.sigma)
    found = {
        "n": len(sample.error),
        "n_structures": len(np.unique(sample.structure)),
        "ratio": _ratio(sample),
        "rms_error": _rms(sample.error),
        "rms_spread": _rms(sample.spread),
        "rank_correlation": _rank_correlation(sample.spread, sample.error),
        "within": within,
        "bins": reliability_bins(sample.spread, sample.error, sample.structure),
    }
    return found if sample.sigma is None else found | {"rms_sigma": _rms(sample.sigma)}


def _ratio(sample: _Sample) -> float | None:
    """What to multiply spreads by so that one of them covers as many errors as one sigma of normal ones would.

    A quantile, because ratios of error to spread have heavy tails where there are few members: the spread of two or
    three is now and then close to zero. None if too many spreads are zero.
    """
    share = sample.expected()[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.nan_to_num(sample.error / sample.spread, nan=0.0, posinf=np.inf)
    found = float(np.quantile(ratios, share, method="higher"))
    return found if 0 < found < np.inf else None


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def _within(error: np.ndarray, spread: np.ndarray) -> list[float]:
    return [float((error <= k * spread).mean()) for k in (1, 2)]


def expected_within(components: int) -> list[float]:
    """Share of normal errors whose length is below one and two sigma; sigma^2 = sum of the components' variances.

    68 and 95 % for one component, 61 and 99 % for three.
    """
    from scipy.special import gammainc

    return [float(gammainc(components / 2, components * k**2 / 2)) for k in (1, 2)]


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def reliability_bins(spread: np.ndarray, error: np.ndarray, structure: np.ndarray) -> list[dict[str, Any]]:
    """At most ten bins of equal size (at least ten values each) in ascending order of the spread.

    Each: RMS `spread`, RMS error `rmse`, its 68 % interval `low` to `high` from resampled structures (sites of one are
    not independent), and `n`. All inputs [n]; `structure` says which structure a value is of.
    """
    count = int(np.clip(len(spread) // _LEAST_PER_BIN, 1, _BINS))
    parts = np.array_split(np.argsort(spread, kind="stable"), count)
    n = int(structure.max()) + 1
    squares = np.stack([np.bincount(structure[p], error[p] ** 2, n) for p in parts], axis=1)
    numbers = np.stack([np.bincount(structure[p], minlength=n) for p in parts], axis=1)
    resampled = np.array([(drawn @ squares, drawn @ numbers) for drawn in _resamples(n)])  # [_RESAMPLES, 2, bins]
    return [
        {"spread": _rms(spread[p]), "rmse": _rms(error[p]), **_interval(*resampled[:, :, k].T), "n": len(p)}
        for k, p in enumerate(parts)
    ]


def _resamples(n: int) -> Iterator[np.ndarray]:
    """How often each of n structures is drawn [n], _RESAMPLES times, the same in every call; never all in memory."""
    generator = np.random.default_rng(0)
    for _ in range(_RESAMPLES):
        yield generator.multinomial(n, np.full(n, 1 / n))


def _interval(squares: np.ndarray, numbers: np.ndarray) -> dict[str, float]:
    """68 % interval of the root of a mean, from sums of squares and numbers of values of resampled structures."""
    low, high = np.percentile(np.sqrt(squares[numbers > 0] / numbers[numbers > 0]), [16, 84])
    return {"low": float(low), "high": float(high)}
