"""Labels of one state, started several times: which is kept, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.metastable import SAME_ENERGY, find_metastable, is_comparable, is_tagged, state_key, tagged
from datastore.quality import judge, with_verdict
from datastore.salvage import reversed_label, salvaged
from datastore.schema import SpinPoint
from tests.datastore.support import LEVEL, make_point

CO = {"species": ["Co", "Co", "O", "O"], "level_of_theory": LEVEL}


def start(scale: float = 1.0, above: float = 0.0, moment: float = 2.6, name: str = "", **changes) -> SpinPoint:
    """A judged label of AFM CoO whose input moments have ``scale`` muB, ``above`` (eV/atom) a lower one."""
    point = make_point(
        **CO,
        magmoms_in=np.array([scale, -scale, 0.0, 0.0]),
        magmoms_out=np.array([moment, -moment, 0.0, 0.0]),
        free_energy=-25.5 + 4 * above,
        start=name,
        **changes,
    )
    return judge(point)


def findings(*points: SpinPoint) -> dict[str, tuple[str, str, float | None]]:
    """Start -> first word of the reason, start of the label that is kept, excitation in meV/atom."""
    names = {p.point_id: p.start or "usual" for p in points}
    return {
        names[identity]: (
            f.reason.split(":")[0],
            names[f.ground],
            None if f.excitation is None else round(1e3 * f.excitation, 6),
        )
        for identity, f in find_metastable(points).items()
    }


USUAL, HIGH, LOW = start(1.0), start(3.0, name="high"), start(0.5, name="low")


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        pytest.param([USUAL], {}, id="one label has no rival"),
        pytest.param([USUAL, start(3.0, 0.012, name="high")], {"high": ("metastable", "usual", 12)}, id="start above"),
        pytest.param([start(1.0, 0.012), HIGH], {"usual": ("metastable", "high", 12)}, id="start below"),
        pytest.param(
            [HIGH, USUAL, LOW], {"high": ("repeat", "usual", None), "low": ("repeat", "usual", None)}, id="same"
        ),
        pytest.param(
            [start(1.0, SAME_ENERGY / 2), HIGH],
            {"high": ("repeat", "usual", None)},
            id="a repeat within the noise: the usual guess is kept though not the lowest",
        ),
        pytest.param(
            [USUAL, start(3.0, SAME_ENERGY / 2, moment=2.5, name="high")],
            {"high": ("metastable", "usual", 1e3 * SAME_ENERGY / 2)},
            id="equal energy and other moments are another state",
        ),
        pytest.param(
            [start(1.0, 0.8 * SAME_ENERGY), start(3.0, 1.6 * SAME_ENERGY, name="high"), LOW],
            {"high": ("metastable", "usual", 0.8e3 * SAME_ENERGY), "low": ("repeat", "usual", None)},
            id="small steps link no states",
        ),
        pytest.param(
            [start(1.0, 0.03, moment=1.0), HIGH], {"usual": ("metastable", "high", 30)}, id="low spin above high spin"
        ),
        pytest.param(
            [start(1.0, -0.03, moment=1.0), HIGH],
            {"usual": ("metastable", "high", -30)},
            id="what a rule rejects is no ground label, however low",
        ),
        pytest.param([start(1.0, moment=1.0), start(3.0, moment=0.9, name="high")], {}, id="nothing to keep"),
    ],
)
def test_which_label_is_kept(points, expected):
    assert findings(*points) == expected
    assert findings(*reversed(points)) == expected


@pytest.mark.parametrize(
    "other",
    [
        start(3.0, 0.05, name="high", shift=0.01),
        start(3.0, 0.05, name="high", moment_role="constraint"),
        start(3.0, 0.05, name="high", kpoints=[4, 4, 2]),
        make_point(**CO, magmoms_in=np.array([3.0, 3.0, 0, 0]), magmoms_out=np.array([2.6, 2.6, 0, 0]), ordering="FM"),
        judge(make_point(**CO, magmoms_in=np.array([3.0, -3.0, 0, 0]), magmoms_out=np.array([2.6, 2.6, 0, 0]))),
    ],
    ids=["another geometry", "held moments", "another k mesh", "another ordering", "flipped on the way"],
)
def test_labels_of_something_else_are_not_compared(other):
    assert find_metastable([USUAL, other]) == {}


def test_the_reason_says_how_far_above_what_and_from_where():
    (finding,) = find_metastable([start(1.0, 0.0123), HIGH]).values()
    assert finding.reason == f"metastable: 12.3 meV/atom above label {HIGH.point_id}, started from other moments"
    hinted = start(1.0, 0.02, occupations="1 2 1", name="occupations")
    (finding,) = find_metastable([USUAL, hinted]).values()
    assert finding.reason.endswith("started from other occupations")
    (finding,) = find_metastable([USUAL, reversed_label(USUAL)]).values()
    assert finding.reason.endswith(("started from the same moments",))


def test_rounding_wrapping_and_small_moments_make_no_other_state():
    written = USUAL.model_copy(
        update={
            "positions": USUAL.positions + 1e-8 + np.outer([0, 1, 0, -2], USUAL.lattice[0]),
            "lattice": USUAL.lattice * (1 + 1e-10),
            "magmoms_in": np.array([3.0, -3.0, 0.005, -0.0]),
        }
    )
    assert state_key(written) == state_key(USUAL)
    assert state_key(start(shift=1e-3)) != state_key(USUAL)


@given(st.floats(0.1, 5), st.floats(0, 2 * np.pi), st.sampled_from([1, -1]))
def test_key_of_vectors_follows_directions(length, angle, sign):
    direction = np.array([np.cos(angle), np.sin(angle), 0.3])
    vectors = np.outer([1.0, -1.0, 0, 0], direction)
    scaled = USUAL.model_copy(update={"magmoms_in": sign * length * vectors})
    assert state_key(scaled) == state_key(USUAL.model_copy(update={"magmoms_in": vectors}))
    turned = np.outer([1.0, -1.0, 0, 0], [-direction[1], direction[0], 0.3])
    assert state_key(scaled.model_copy(update={"magmoms_in": turned})) != state_key(scaled)


@st.composite
def groups(draw: st.DrawFn) -> list[SpinPoint]:
    """Up to six labels of one state: any spin state, some started alike but for the sign, some salvaged."""
    scales = draw(st.lists(st.sampled_from([0.5, 1.0, 1.5, 3.0]), min_size=1, max_size=6, unique=True))
    return [
        start(
            scale,
            draw(st.sampled_from([0, 1e-4, 4e-4, 6e-4, 0.01, 0.05])),
            draw(st.sampled_from([1.0, 2.55, 2.6])),
            "" if scale == 1.0 else f"{scale}x",
            salvaged_from=draw(st.sampled_from(["", "", "a-b"])),
        )
        for scale in scales
    ]


@settings(max_examples=100, deadline=None)
@given(groups(), st.randoms(use_true_random=False), st.data())
def test_the_answer_depends_on_nothing_but_the_labels(group, random, data):
    found = find_metastable(group)
    shuffled = random.sample(group, len(group))
    assert find_metastable(shuffled) == found
    # Tagged labels give the same answer again, and tagging twice changes nothing.
    once = [tagged(p, found.get(p.point_id)) for p in group]
    assert find_metastable(once) == found
    assert [tagged(p, found.get(p.point_id)) for p in once] == once
    assert all(is_tagged(p, found.get(p.point_id)) for p in once)
    # Time reversal of any of them changes ids and nothing else.
    flips = data.draw(st.lists(st.booleans(), min_size=len(group), max_size=len(group)))
    turned = [reversed_label(p) if flip else p for p, flip in zip(group, flips, strict=True)]
    again = find_metastable(turned)
    energies = sorted((f.reason.split(":")[0], f.excitation or 0.0) for f in found.values())
    assert sorted((f.reason.split(":")[0], f.excitation or 0.0) for f in again.values()) == energies
    # One label is kept where any can be, and nothing eligible lies below it but for the noise.
    accepted = [p for p in once if p.verdict == "accepted"]
    able = [p for p in group if p.verdict == "accepted"]
    assert len(accepted) == min(1, len(able))
    if able:
        assert accepted[0].free_energy <= min(p.free_energy for p in able) + 4 * SAME_ENERGY


def test_manual_decisions_are_respected():
    refused = HIGH.model_copy(
        update={"verdict": "rejected", "verdict_reasons": ["rejected by A"], "decision": "rejected by A"}
    )
    assert not is_comparable(refused)
    assert find_metastable([start(1.0, 0.02), refused]) == {}
    low = start(1.0, -0.01, moment=1.0)
    believed = low.model_copy(
        update={"verdict": "accepted", "verdict_reasons": [], "decision": "by B", "overruled": low.verdict_reasons}
    )
    assert findings(believed, HIGH) == {"high": ("metastable", "usual", 10)}


def test_a_finding_that_is_none_any_more_leaves_the_label():
    found = find_metastable([start(1.0, 0.02), HIGH])
    wrong = tagged(start(1.0, 0.02), found[start(1.0).point_id])
    assert wrong.verdict == "rejected"
    assert (wrong.excitation, wrong.ground) == (pytest.approx(0.02), HIGH.point_id)
    assert tagged(wrong, None) == start(1.0, 0.02)


def test_what_is_metastable_is_no_outlier_and_keeps_its_spin_state():
    outlier = with_verdict(start(1.0, 0.05), ["outlier: +0.050 eV/atom off"])
    found = find_metastable([outlier, HIGH])
    assert [r.split(":")[0] for r in tagged(outlier, found[outlier.point_id]).verdict_reasons] == ["metastable"]
    low = start(1.0, 0.05, moment=1.0)
    found = find_metastable([low, HIGH])
    assert [r.split(":")[0] for r in tagged(low, found[low.point_id]).verdict_reasons] == ["low spin", "metastable"]


def test_salvaged_labels_take_part():
    """Asked for FM from other moments, and ended in the antiferromagnet, below the label of that."""
    flipped = judge(
        make_point(
            **CO,
            magmoms_in=np.array([3.0, 3.0, 0.0, 0.0]),
            magmoms_out=np.array([2.6, -2.6, 0.0, 0.0]),
            ordering="FM",
            free_energy=-25.5 - 4 * 0.02,
        )
    )
    copy = salvaged(flipped, "AFM-II")
    (finding,) = find_metastable([USUAL, copy, flipped]).items()
    assert finding[0] == USUAL.point_id
    assert finding[1].ground == copy.point_id
    assert finding[1].excitation == pytest.approx(0.02)
