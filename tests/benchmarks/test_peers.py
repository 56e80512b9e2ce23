"""The driver beside other programs: it measures ours for real, keeps what it measured, and shows what failed."""

import json

import numpy as np
import pytest

from benchmarks.peers import environments, inputs, plan, report, run


@pytest.fixture
def small(monkeypatch):
    """Models that take milliseconds instead of the 4 million parameters."""
    options = {"layers": 2, "channels": 4, "l_max": 1, "cutoff": 3.0}
    monkeypatch.setattr(plan, "CUTOFF", 3.0)
    monkeypatch.setattr(plan, "REFERENCE", plan.Variant("ours", "ours", "ours", options))
    no_spin = plan.Variant("ours-nospin", "ours", "no spin", options | {"spin": False, "moments": False})
    monkeypatch.setattr(plan, "NO_SPIN", (no_spin,))


def command(tmp_path, *more):
    fast = ["--threads", "1", "--seconds", "0", "--min-steps", "1", "--repeats", "1", "--sizes", "8"]
    return [*fast, "--out", str(tmp_path), "--envs", str(tmp_path / "envs"), *more]


def test_ours_is_measured_and_a_program_without_environment_is_in_the_table(small, tmp_path, capsys):
    given = command(tmp_path, "--peers", "mace", "--parts", "peers", "spin", "scaling", "--scaling", "16")
    assert run.main(given) == run.FAILED
    text = capsys.readouterr().out
    assert "mace/train/8/0`: no environment" in text
    assert "| 16 |" in text
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    train, infer = rows["ours/train/8/0"], rows["ours/infer/8/0"]
    assert (train["n_atoms"], infer["n_atoms"]) == (16, 8)  # two structures per training step
    assert train["peak_mib"] >= train["loaded_mib"] > 100  # torch alone has more
    assert rows["ours-nospin/train/8/0"]["n_parameters"] < train["n_parameters"]


def test_what_is_measured_is_kept_and_failures_are_tried_again(small, tmp_path, capsys):
    given = command(tmp_path, "--peers", "chgnet", "--parts", "peers")
    assert run.main(given) == run.FAILED
    before = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert run.main([*given, "--max-minutes", "0"]) == run.UNFINISHED
    after = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert after["ours/train/8/0"] == before["ours/train/8/0"]
    with pytest.raises(SystemExit, match=r"another batch .*--fresh"):
        run.main([*given, "--batch", "1"])
    capsys.readouterr()


def test_a_worker_that_fails_says_why(tmp_path):
    args = run.arguments(command(tmp_path))
    broken = plan.Variant("ours", "ours", "ours", {"channels": -1})
    assert "channels" in run._measure(plan.Measurement(broken, "infer", 8, 0), args)["error"]


def test_the_limit_of_memory_is_an_error_and_no_crash(tmp_path):
    args = run.arguments(command(tmp_path, "--memory-gib", "0.01"))
    found = run._measure(plan.Measurement(plan.REFERENCE, "infer", 64, 0), args)
    assert "error" in found


def test_repeats_are_interleaved():
    chosen = plan.variants(["nequip"], ["peers"])
    keys = [m.key for m in plan.measurements(chosen, [64], [256], 2)]
    assert keys[:2] == ["nequip-compiled/prepare/64/0", "nequip-wide-compiled/prepare/64/0"]
    assert keys.index("nequip-eager/infer/64/0") < keys.index("ours/train/64/1")
    assert len(keys) == len(set(keys)) == 2 + 2 * (5 * 2 + 1)


def test_ratios_compare_equal_repeats():
    rows = {
        "ours/train/64/0": {"step_s": 1.0},
        "ours/train/64/1": {"step_s": 2.0},
        "mace/train/64/0": {"step_s": 3.0},
        "mace/train/64/1": {"step_s": 4.0},
        "mace/train/64/2": {"error": "killed"},
    }
    assert report.ratios(rows, "mace", "train", 64, "step_s") == [3.0, 2.0]
    assert report.spread([3.0, 2.0, 7.0], "{:.1f}".format) == "3.0 (2.0-7.0)"


def test_boxes_are_compact():
    assert [sorted(inputs.supercell(n)) for n in (64, 256, 1000, 4000)] == [
        [2, 2, 2],
        [2, 4, 4],
        [5, 5, 5],
        [5, 10, 10],
    ]
    with pytest.raises(ValueError, match="multiples of 8"):
        inputs.supercell(100)


def test_structures_differ_and_have_the_displacements_asked_for(tmp_path):
    inputs.write(tmp_path / "s.json", 64, 2)
    first, second = inputs.read({"structures": tmp_path / "s.json"})
    difference = np.subtract(first["positions"], second["positions"])
    assert difference.std() == pytest.approx(2**0.5 * inputs.DISPLACEMENT, rel=0.2)
    assert {abs(m) for m in first["moments"]} == {0.0, inputs.MOMENT}


def test_each_program_has_a_worker_and_an_environment():
    for program in plan.PROGRAMS:
        assert (plan.ROOT / "benchmarks" / "peers" / f"worker_{program}.py").exists()
        assert program in environments.REQUIREMENTS


def test_our_models_have_the_size_they_are_compared_at():
    from spinmultinet import build_model

    for variant in (plan.REFERENCE, plan.NO_SPIN[2]):
        assert build_model(variant.options, plan.SPECIES).n_parameters() == pytest.approx(4.0e6, rel=0.05)
