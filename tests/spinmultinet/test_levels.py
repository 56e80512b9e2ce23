"""Errors are given only where labels and model are of one level of theory and one role of the moments."""

import warnings

import pytest

from spinmultinet import SpinMultiNetError, build_model
from spinmultinet.committee import Committee
from spinmultinet.data import check_training_set
from spinmultinet.evaluate import ConstantPerOrdering, constant_per_ordering, evaluate, predict
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.levels import LevelWarning, check_levels, other_level
from spinmultinet.train import train

PBEU = {"level_id": "pbeu", "moment_role": "guess"}


def labelled(frames, **info):
    out = [atoms.copy() for atoms in frames]
    for new, old in zip(out, frames, strict=True):
        new.calc = old.calc
        new.info |= info
    return out


@pytest.fixture
def model(tiny_options):
    model = build_model(tiny_options, ["O", "Ni"])
    model.metadata = dict(PBEU)
    return model


def test_the_same_level_is_silent(model, nio):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluate(model, labelled(nio[:2], **PBEU))["n_structures"] == 2


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: Committee([m, m])], ids=["model", "committee"])
@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"level_id": "r2scan"}, "level_id is 'pbeu'.*'r2scan'.*train a model on labels of this one"),
        ({**PBEU, "moment_role": "constraint"}, "moment_role is 'guess'.*'constraint'.*another model"),
    ],
)
def test_another_level_or_role_is_refused(model, nio, wrap, info, message):
    with pytest.raises(SpinMultiNetError, match=message):
        evaluate(wrap(model), labelled(nio[:2], **info))


def test_mixed_labels_are_refused_whatever_predicts(model, nio):
    mixed = [*labelled(nio[:1], level_id="pbeu"), *labelled(nio[1:2], level_id="r2scan")]
    model.metadata = {}
    for predictor in (model, Committee([model]), ConstantPerOrdering(nio[:4])):
        with pytest.raises(SpinMultiNetError, match=r"mixes level_id 'pbeu', 'r2scan'.*select one"):
            evaluate(predictor, mixed)
    with pytest.raises(SpinMultiNetError, match="training set mixes level_id"):
        ConstantPerOrdering(mixed)


def test_a_baseline_knows_the_level_of_its_training_set(nio):
    train, test = labelled(nio[:8], level_id="pbeu"), labelled(nio[8:12], level_id="r2scan")
    with pytest.raises(SpinMultiNetError, match="level_id is 'pbeu'"):
        constant_per_ordering(train, test)


def test_what_is_unknown_is_said(model, nio):
    with pytest.warns(LevelWarning, match=r"2 of 2 structures have no level_id.*'pbeu'.*set atoms.info"):
        evaluate(model, nio[:2])
    half = [*labelled(nio[:1], level_id="pbeu"), *nio[1:2]]
    assert "1 of 2 structures" in check_levels(model.metadata, half)[0]
    model.metadata = {"level_id": "unknown", "moment_role": "guess"}
    with pytest.warns(LevelWarning, match="the model does not say its level_id"):
        evaluate(model, labelled(nio[:2], **PBEU))
    for atoms in nio:
        del atoms.info["moment_role"]
    notes = check_levels({**PBEU, "moment_role": "constraint"}, labelled(nio[:2], level_id="pbeu"))
    assert len(notes) == 1
    assert "no moment_role" in notes[0]


def test_predictions_need_the_role_and_not_the_level(model, nio):
    assert len(predict(model, labelled(nio[:1], level_id="r2scan"))) == 1
    assert "labels in these files are of level_id r2scan" in other_level(
        model.metadata, labelled(nio[:1], level_id="r2scan")
    )
    assert other_level(model.metadata, [*nio[:1], *labelled(nio[:1], **PBEU)]) == ""
    for predictor in (Committee([model]).predict, lambda frames: predict(model, frames)):
        with pytest.raises(SpinMultiNetError, match="moment_role is 'guess'"):
            predictor(labelled(nio[:1], moment_role="constraint"))


@pytest.mark.parametrize(
    ("infos", "message"),
    [
        ([{"head": "PBE", "level_id": "a"}, {"head": "PBE+U", "level_id": "b"}], r"2 heads \(PBE, PBE\+U\).*one head"),
        (
            [{"label_kind": "delta", "level_id": "d", "level_id_from": "a", "level_id_to": "b"}] * 2,
            "are a delta: level of theory b minus a.*labels of one level",
        ),
    ],
)
def test_sets_of_several_levels_are_refused(model, nio, tmp_path, infos, message):
    frames = [labelled([atoms], **info)[0] for atoms, info in zip(nio, infos, strict=False)]
    with pytest.raises(SpinMultiNetError, match=rf"the training set has.*{message}"):
        train(TrainOptions(epochs=1), ModelOptions(), frames[:1], frames[1:], tmp_path, 0)
    model.metadata = {}
    with pytest.raises(SpinMultiNetError, match=rf"to evaluate has.*{message}"):
        evaluate(model, frames)


def test_the_frames_of_one_head_are_a_training_set_of_one_level(model, nio):
    frames = labelled(nio[:2], head="PBE+U", **PBEU)
    assert check_levels(model.metadata, frames) == []
    assert check_training_set(frames[:1], frames[1:])["level_id"] == "pbeu"
