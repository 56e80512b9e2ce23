"""rank-orderings, ground-state, exchange and md on the command line: the numbers of the functions, files, refusals."""

import json

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk

from spinmultinet import SpinMultiNetCalculator, build_model, load_model
from spinmultinet.checkpoint import save_model
from tests.support.cli import assert_one_line, in_this_process
from workflows.cli.simulate_output import undecided
from workflows.spin_orderings import exchange_constants, ordered_atoms, rank_orderings
from workflows.structures import read_parents

TINY = {"layers": 1, "channels": 4, "l_max": 1, "cutoff": 4.3, "radial_hidden": [8]}
COMMITTEE = ("--model", "m/member_0/model.pt", "--model", "m/member_1/model.pt")


def untrained(seed):
    """Any weights, but moments that follow their estimates, as those of a trained model do."""
    model = build_model(TINY, ["O", "Ni"], seed)
    model.moment_readout.prior.copy_(torch.tensor([0.0, 1.7]))
    model.moment_readout.scale.mul_(0.1)
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for k in range(2):
        (folder / f"member_{k}").mkdir()
        save_model(untrained(k), folder / f"member_{k}" / "model.pt")
    held = untrained(0)
    held.metadata["moment_role"] = "constraint"
    save_model(held, folder / "held.pt")
    return folder


@pytest.fixture
def place(tmp_path, models):
    """A folder with models, a cubic and a primitive cell, and a file with two structures."""
    (tmp_path / "m").symlink_to(models)
    cubic = bulk("NiO", "rocksalt", a=4.17, cubic=True)
    ase.io.write(tmp_path / "nio.cif", cubic)
    ase.io.write(tmp_path / "primitive.cif", bulk("NiO", "rocksalt", a=4.17))
    ase.io.write(tmp_path / "two.extxyz", [cubic, cubic])
    return tmp_path


def calculator(place):
    return SpinMultiNetCalculator([load_model(place / f"m/member_{k}/model.pt") for k in range(2)])


def run_json(place, *arguments):
    done = in_this_process(place, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_ranking_has_the_numbers_of_the_function(place):
    rows = run_json(place, "rank-orderings", "nio.cif", "--model", "m", "--supercell", "2,1,1")
    candidates = ordered_atoms(read_parents(place / "nio.cif", None, [2, 1, 1])[0])
    expected = rank_orderings(candidates, calculator(place))
    assert [row["ordering"] for row in rows] == [row["ordering"] for row in expected]
    for row, wanted in zip(rows, expected, strict=True):
        for name in ("energy", "above", "above_spread", "net_moment"):
            assert row[name] == pytest.approx(wanted[name], abs=1e-9)
        assert row["atoms"] == 16
        assert row["lengths"] == pytest.approx([8.34, 4.17, 4.17])
    assert rows[0]["above"] == 0 < rows[1]["above"]


def test_a_ranking_is_shown_written_and_drawn(place):
    arguments = ("rank-orderings", "nio.cif", *COMMITTEE, "--orderings", "FM,AFM-I")
    done = in_this_process(place, *arguments, "--out", "r.extxyz", "--picture", "r.png")
    assert done.returncode == 0, done.stderr
    assert "meV/atom" in done.stdout
    frames = ase.io.read(place / "r.extxyz", ":")
    rows = run_json(place, *arguments)
    close = rows[1]["above"] < 2 * rows[1]["above_spread"]
    assert ("does not decide" in done.stdout) == close
    assert undecided([{"ordering": "a", "above": x, "above_spread": 1.0} for x in (0.0, 1.9, 2.1)]) == ["a"]
    for frame, row in zip(frames, rows, strict=True):
        assert frame.info["ordering"] == row["ordering"]
        assert frame.get_potential_energy() == pytest.approx(row["energy"], abs=1e-6)
        assert frame.info["above"] == pytest.approx(row["above"], abs=1e-6)
        np.testing.assert_allclose(frame.get_magnetic_moments(), row["magmoms"], atol=1e-6)
    assert (place / "r.png").read_bytes().startswith(b"\x89PNG")


def test_relaxed_orderings_are_kept_and_a_stopped_ranking_goes_on(place, monkeypatch):
    arguments = ("rank-orderings", "nio.cif", "--model", "m", "--relax", "--steps", "2", "--out", "r.extxyz")
    first = in_this_process(place, *arguments)
    assert_one_line(first, 1, "not converged after 2 steps", "raise --steps")
    kept = (place / "r.extxyz.finished.jsonl").read_text().splitlines()
    frames = (place / "r.extxyz").read_bytes()
    (place / "r.extxyz.finished.jsonl").write_text(kept[0] + "\n" + kept[1][:50])
    again = in_this_process(place, *arguments)
    assert again.returncode == 1
    assert (place / "r.extxyz").read_bytes() == frames
    lines = (place / "r.extxyz.finished.jsonl").read_text().splitlines()
    assert len(lines) == len(kept) + 1  # the broken line stays, and its ordering was done again
    monkeypatch.setattr("workflows.spin_orderings.relax", lambda *a, **k: pytest.fail("relaxed again"))
    assert in_this_process(place, *arguments).returncode == 1
    other = in_this_process(place, *arguments[:2], "--model", "m/member_0/model.pt", *arguments[4:])
    assert "relaxed again" in other.stderr  # another model has other energies


def test_a_ground_state_is_found_written_and_taken_up_again(place):
    arguments = ("ground-state", "nio.cif", "--model", "m", "--steps", "40", "--restarts", "3", "--seed", "2")
    found = run_json(place, *arguments, "--out", "g.extxyz")
    best = run_json(place, "rank-orderings", "nio.cif", "--model", "m")[0]
    assert found["ordering"] == best["ordering"]  # 4 metals: the annealing sees every ordering
    assert found["energy"] == pytest.approx(best["energy"], abs=1e-4)
    assert 1 <= found["found"] <= found["restarts"] == 3
    known = {row["ordering"]: row for row in found["known"]}
    assert known.keys() == {"FM", "AFM-I"}
    assert all(row["above"] >= -1e-4 for row in known.values())
    assert max(row["above_spread"] for row in known.values()) > 0
    frame = ase.io.read(place / "g.extxyz")
    np.testing.assert_allclose(frame.arrays["magmom_in"], found["magmoms_in"])
    state = json.loads((place / "g.extxyz.state.json").read_text())
    assert state["state"]["step"] == 40
    assert run_json(place, *arguments, "--out", "g.extxyz")["magmoms_in"] == found["magmoms_in"]
    text = in_this_process(place, *arguments)
    assert f"found by {found['found']} of 3 restarts" in text.stdout
    other = in_this_process(place, *arguments, "--conserve", "--out", "g.extxyz")
    assert_one_line(other, 2, "g.extxyz.state.json", "belongs to another structure, model or options")


def test_exchange_constants_say_their_convention(place):
    content = run_json(place, "exchange", "nio.cif", "--model", "m", "--supercell", "2,2,2", "--max-count", "5")
    candidates = ordered_atoms(
        read_parents(place / "nio.cif", None, [2, 2, 2])[0], [{"kind": "enumerate", "max_count": 5}]
    )
    expected = exchange_constants(candidates, calculator(place))
    assert [s["J_meV"] for s in content["shells"]] == pytest.approx((1e3 * expected.fit.constants).tolist(), abs=1e-9)
    assert [s["distance"] for s in content["shells"]] == pytest.approx([4.17 / 2**0.5, 4.17])
    assert all(s["committee_spread_meV"] > 0 for s in content["shells"])
    assert "sum over pairs i<j" in content["convention"]
    quantum = run_json(
        place, "exchange", "nio.cif", "--model", "m", "--supercell", "2,2,2", "--max-count", "5", "--spin", "1"
    )
    assert quantum["mean_field_K"] == pytest.approx(2 * content["mean_field_K"])
    shown = in_this_process(place, "exchange", "nio.cif", "--model", "m", "--shells", "1")
    assert "J > 0 is ferromagnetic" in shown.stdout
    assert "mean field is too high" in shown.stdout


def test_molecular_dynamics_writes_frames_and_goes_on(place):
    arguments = ("md", "nio.cif", "--ordering", "AFM-I", *COMMITTEE, "--out", "md.extxyz", "--interval", "2")
    first = run_json(place, *arguments, "--steps", "4")
    assert (first["steps"], first["frames"], first["time_fs"]) == (4, 3, 4.0)
    done = in_this_process(place, *arguments, "--steps", "8")
    assert done.returncode == 0, done.stderr
    assert "8 steps, 8 fs; 5 frames in md.extxyz" in done.stdout
    whole = in_this_process(place, *arguments[:-4], "--out", "whole.extxyz", "--interval", "2", "--steps", "8")
    assert whole.returncode == 0, whole.stderr
    assert (place / "md.extxyz").read_bytes() == (place / "whole.extxyz").read_bytes()
    frames = ase.io.read(place / "md.extxyz", ":")
    assert [f.info["step"] for f in frames] == [0, 2, 4, 6, 8]
    assert frames[-1].get_initial_magnetic_moments().tolist() == frames[0].get_initial_magnetic_moments().tolist()
    stopped = in_this_process(place, *arguments[:-4], "--out", "s.extxyz", "--max-spread", "1e-6", "--steps", "8")
    assert_one_line(stopped, 1, "stopped at step 1", "committee's spread")


def test_a_model_of_constraints_is_announced(place):
    done = in_this_process(place, "rank-orderings", "nio.cif", "--model", "m/held.pt", "--orderings", "FM")
    assert done.returncode == 0
    assert "note: the model holds moments at their input" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("rank-orderings", "two.extxyz"), ["two.extxyz holds 2 structures"]),
        (("rank-orderings", "none.cif"), ["none.cif: no such file"]),
        (("rank-orderings", "primitive.cif", "--orderings", "AFM-II"), ["AFM-II does not fit"]),
        (("rank-orderings", "nio.cif", "--orderings", "FM", "--max-count", "2"), ["leave out --max-period"]),
        (("rank-orderings", "nio.cif", "--magmoms", "1,-1,0,0"), ["magnitudes per element"]),
        (("exchange", "primitive.cif"), ["1 orderings, of which 1 keep the signs"]),
        (("exchange", "nio.cif"), ["do not determine J2 Ni-Ni", "--supercell"]),
        (("ground-state", "nio.cif", "--temperature", "50", "2000"), ["exchange them"]),
        (("md", "nio.cif", "--ordering", "AFM-I", "--friction", "-1", "--out", "x"), ["option 'friction'"]),
        (("md", "nio.cif", "--out", "x"), ["no input moments", "--ordering"]),
    ],
)
def test_bad_input_is_one_line(place, arguments, parts):
    assert_one_line(in_this_process(place, *arguments, "--model", "m"), 2, *parts)
    assert not (place / "x").exists()
