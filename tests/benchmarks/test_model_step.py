"""The benchmark of the model measures what it says, on the smallest configuration."""

import sys

import pytest

from benchmarks import model_step as script


@pytest.mark.parametrize("extra", [[], ["--vectors", "--soc"]], ids=["scalars", "soc"])
def test_it_prints_a_row_per_model(extra, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["model_step.py", "--models", "tiny", "--repeats", "1", *extra])
    script.main()
    header, row = capsys.readouterr().out.splitlines()
    found = dict(zip(header.split()[1:], map(float, row.split()[1:]), strict=True))
    assert tuple(found) == script.COLUMNS
    assert 0 < found["forward_ms"] < found["energy_forces_ms"] < found["training_step_ms"]


def test_vectors_have_the_length_of_the_scalars():
    scalars, vectors = (script.nio(v).arrays["magmom_in"] for v in (False, True))
    assert vectors.shape == (64, 3)
    assert ((vectors**2).sum(1) - scalars**2).max() < 1e-12
