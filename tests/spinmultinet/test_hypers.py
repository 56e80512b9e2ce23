"""Options: every configuration parses and builds; wrong keys are named with the nearest right one."""

from pathlib import Path

import pytest

from spinmultinet import SpinMultiNetError, build_model
from spinmultinet.hypers import ModelOptions, TrainOptions, parse, read_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "models").glob("*.yaml"))


def test_the_promised_configurations_are_there():
    assert {"tiny", "small", "paper", "nospin_tiny"} <= {p.stem for p in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_configuration_parses_and_builds(path):
    model_options, training = read_config(path)
    model = build_model(path, species=["Ni", "O"], seed=0)
    assert model.options == model_options
    assert isinstance(training, TrainOptions)
    assert model.n_parameters() > 1000


def test_the_papers_model_has_about_four_million_parameters():
    paper = next(p for p in CONFIGS if p.stem == "paper")
    model = build_model(paper, species=["Mn", "Co", "Ni", "O"])
    assert model.n_parameters() == pytest.approx(4.0e6, rel=0.05)
    assert model.options.layers == 4


def test_no_spin_twin_differs_in_spin_only():
    tiny, _ = read_config(next(p for p in CONFIGS if p.stem == "tiny"))
    twin, _ = read_config(next(p for p in CONFIGS if p.stem == "nospin_tiny"))
    assert twin.model_copy(update={"spin": True}) == tiny


def test_unknown_key_names_the_nearest():
    with pytest.raises(SpinMultiNetError, match="unknown option 'cutof' of ModelOptions, did you mean 'cutoff'"):
        parse(ModelOptions, {"cutof": 5.0}, "here")
    with pytest.raises(SpinMultiNetError, match="did you mean 'learning_rate'"):
        parse(TrainOptions, {"learn_rate": 5.0}, "here")


def test_wrong_values_are_named():
    with pytest.raises(SpinMultiNetError, match=r"option 'layers'.*got -1"):
        parse(ModelOptions, {"layers": -1}, "here")
    with pytest.raises(SpinMultiNetError, match="mapping"):
        parse(ModelOptions, [1], "here")


@pytest.mark.parametrize(
    ("text", "message"), [("model: [", "YAML"), ("modell: {}", "did you mean 'model'"), ("3", "sections")]
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(SpinMultiNetError, match=message):
        read_config(path)
    with pytest.raises(SpinMultiNetError, match="does not exist"):
        read_config(tmp_path / "absent.yaml")


def test_every_option_is_explained():
    for kind in (ModelOptions, TrainOptions):
        assert all(f.description for f in kind.model_fields.values())
