"""Champion and challenger on the same frozen labels, and what the log says of it, also with two at once."""

import threading
from unittest import mock

import numpy as np
import pytest
import torch

from datastore import open_store
from datastore.checksums import file_sha256
from datastore.errors import DataError
from datastore.registry import champion, history, promote, rollback
from datastore.schema import ModelFile
from datastore.splits import SplitOptions
from spinmultinet import build_model, load_model
from spinmultinet.checkpoint import save_model
from spinmultinet.committee import Committee
from spinmultinet.evaluate import evaluate
from spinmultinet.hypers import ModelOptions
from tests.support.registry import MODEL, example, flip_a_byte
from workflows.policy.promotion import judge, overall
from workflows.registry import judging
from workflows.registry.checks import check_finite
from workflows.registry.compare import FrozenTests, _Errors, _standard_error, compare_models, frozen_tests
from workflows.registry.judging import compare_records, decide, left_out


@pytest.fixture
def place(tmp_path):
    found = example(tmp_path / "nio")
    with open_store(found.options.store) as store:
        yield found, store, found.options.active_learning.promote


def test_errors_are_those_of_evaluate_and_sets_those_of_the_split(place):
    found, store, _ = place
    tests = frozen_tests(store, [found.poor, found.good])
    models = [Committee([found.file(name)]) for name in ("good", "poor")]
    rows = {(row.kind, row.name, row.task): row for row in compare_models(*models, tests)}
    overall = evaluate(models[0], tests.frames)
    for task in ("energy", "forces", "moments"):
        assert rows["test", "random", task].new == pytest.approx(overall["overall"][task]["mae"])
        fm = overall["per_ordering"]["FM"]
        assert rows["group", "ordering:FM", task].new == pytest.approx(fm[task]["mae"])
    assert rows["test", "pairs", "energy"].new == pytest.approx(overall["pairs"]["mae"])
    assert rows["test", "random", "energy"].labels == len(tests.frames)
    assert rows["test", "random", "energy"].geometries == len(tests.frames) / 2  # each in two orderings
    held = FrozenTests(tests.frames, SplitOptions(by="ordering", held_out=("FM",)), "s")
    names = {row.name for row in compare_models(*models, held) if row.kind == "test"}
    assert names == {"random", "orderings", "pairs"}


def test_the_standard_error_is_that_of_a_paired_mean_over_geometries():
    rng = np.random.default_rng(0)
    new, old = rng.random(10), rng.random(10)
    names = [f"g{k}" for k in range(10)]
    number, error = _standard_error(_Errors(list(new), [1] * 10, names), _Errors(list(old), [1] * 10, names))
    assert number == 10
    assert error == pytest.approx((new - old).std(ddof=1) / np.sqrt(10))
    twice = [_Errors([*x, *x], [1] * 20, names * 2) for x in (new, old)]  # copies are no further evidence
    assert _standard_error(*twice) == (10, pytest.approx(error))


def test_labels_that_a_model_was_trained_on_are_left_out(place):
    found, store, _ = place
    (document,) = store.snapshots.query({})
    moved = document["points"]["test"][:3]
    points = {**document["points"], "train": [*document["points"]["train"], *moved]}
    changed = {k: v for k, v in document.items() if k not in ("_id", "checksum")}
    store.snapshots.update(
        {**changed, "snapshot_id": "other", "created": "2020-01-01T00:00:00+00:00", "points": points}
    )
    tests = frozen_tests(store, [found.poor.model_copy(update={"snapshot_id": "other"}), found.good])
    assert tests.left_out == 3
    assert not {atoms.info["point_id"] for atoms in tests.frames} & set(moved)


def test_better_replaces_worse_does_not_and_the_same_question_writes_nothing_new(place):
    found, store, rules = place
    assert decide(store, found.poor, rules, "campaign nio").promoted
    better = decide(store, found.good, rules, "campaign nio")
    assert better.promoted
    assert any("errors changed by -" in line for line in better.reasons)
    worse = decide(store, found.poor, rules, "campaign nio")
    assert not worse.promoted
    assert [e.action for e in history(store, "nio")] == ["promote", "promote", "refuse"]
    assert history(store, "nio")[1].compared
    for record, known in ((found.good, better), (found.poor, worse)):
        again = decide(store, record, rules, "campaign nio")
        assert (again.promoted, again.reasons, again.entry) == (known.promoted, known.reasons, None)
    assert len(history(store, "nio")) == 3
    decide(store, found.poor, rules.model_copy(update={"worse": 0.5}), "campaign nio")  # other rules, another question
    assert len(history(store, "nio")) == 4


def test_what_a_person_went_back_from_is_not_promoted_again(place):
    found, store, rules = place
    decide(store, found.poor, rules, "campaign nio")
    decide(store, found.good, rules, "campaign nio")
    rollback(store, "nio", "Ada", "explodes at 900 K")
    verdict = decide(store, found.good, rules, "campaign nio")
    assert not verdict.promoted
    assert "Ada went back from it" in verdict.reasons[0]
    assert champion(store, "nio").model_id == "poor"


def test_a_model_that_a_person_put_to_use_again_may_come_back(place):
    """After a rollback from it, forth again, and another one in its place: the newest entry counts."""
    found, store, rules = place
    promote(store, "nio", "poor", "Ada", ["the first"], "")
    promote(store, "nio", "good", "Ada", ["better"], "poor")
    rollback(store, "nio", "Ada", "explodes at 900 K")
    rollback(store, "nio", "Ada", "it was the thermostat", to="good")
    promote(store, "nio", "poor", "Bob", ["a mistake"], "good")
    assert decide(store, found.good, rules, "campaign nio").promoted


def test_a_damaged_challenger_leaves_the_champion(place):
    found, store, rules = place
    decide(store, found.poor, rules, "campaign nio")
    flip_a_byte(found.file("good"))
    verdict = decide(store, found.good, rules, "campaign nio")
    assert not verdict.promoted
    assert "is damaged" in verdict.reasons[0]
    assert champion(store, "nio").model_id == "poor"


def test_a_damaged_champion_is_in_nobodys_way(place):
    found, store, rules = place
    decide(store, found.poor, rules, "campaign nio")
    flip_a_byte(found.file("poor"))
    verdict = decide(store, found.good, rules, "campaign nio")
    assert verdict.promoted
    assert any("cannot be used, so nothing is compared" in line for line in verdict.reasons)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"level_id": "f" * 16}, "another level of theory"),
        ({"moment_role": "constraint"}, "input moments as constraint"),
    ],
)
def test_another_level_or_role_is_refused_not_waved_through(place, change, part):
    found, store, rules = place
    store.put_model(found.poor.model_copy(update={"status": "champion", **change}))
    verdict = decide(store, found.good, rules, "campaign nio")
    assert not verdict.promoted
    assert any(part in line for line in verdict.reasons)
    assert champion(store, "nio").model_id == "poor"
    with pytest.raises(DataError, match="cannot be compared"):
        compare_records(store, found.poor.model_copy(update=change), found.good)


def grown(found, name, species):
    """A record like that of ``good`` of a model without training that knows other species."""
    model = build_model(ModelOptions(**MODEL), species)
    model.metadata = dict(load_model(found.file("good")).metadata)
    path = save_model(model, found.folder / f"{name}.pt")
    change = {"model_id": name, "species": species, "files": [ModelFile(path=str(path), sha256=file_sha256(path))]}
    return found.good.model_copy(update=change)


def test_one_more_element_is_no_way_around_the_comparison(place):
    """On the labels that both can predict; as before on all of them where it is the one in use that knows more."""
    found, store, rules = place
    wider = grown(found, "wider", ["Mn", "Ni", "O"])
    store.put_model(wider)
    promote(store, "nio", "good", "Ada", ["the first"], "")
    verdict = decide(store, wider, rules, "campaign nio")
    assert not verdict.promoted
    assert any("errors changed by +" in line for line in verdict.reasons)
    rows, tests = compare_records(store, wider, found.good)
    assert overall(rows) < 1
    assert tests.unknown == 0


def test_an_element_that_is_lost_speaks_against_a_model(place):
    found, store, rules = place
    wider = grown(found, "wider", ["Mn", "Ni", "O"])
    store.put_model(wider)
    promote(store, "nio", "wider", "Ada", ["the first"], "")
    verdict = decide(store, found.good, rules, "campaign nio")
    assert not verdict.promoted
    assert verdict.reasons[0] == "it does not know Mn, which the model in use does"


def test_labels_with_an_element_that_one_does_not_know_are_left_out(place):
    found, store, _ = place
    narrow = found.poor.model_copy(update={"species": ["O"]})
    tests = frozen_tests(store, [narrow, found.good])
    assert (tests.frames, tests.unknown > 0) == ([], True)
    assert left_out(tests) == [
        f"{tests.unknown} labels of the test split were left out: one of the models does not know all of their elements"
    ]


class Broken:
    """A committee that breaks down on the first of its structures, or has no prediction of moments at all."""

    def __init__(self, model, key, value=None):
        self.model, self.key, self.value = model, key, value

    def predict(self, frames):
        predictions = self.model.predict(frames)
        if self.value is None:
            return [{k: v for k, v in p.items() if k != self.key} for p in predictions]
        return [{**predictions[0], self.key: np.multiply(predictions[0][self.key], self.value)}, *predictions[1:]]


@pytest.mark.parametrize(
    ("key", "value", "task"),
    [
        ("energy", np.nan, "energy"),
        ("forces", np.nan, "forces"),
        ("magmoms", np.nan, "moments"),
        ("magmoms", None, "moments"),
    ],
)
def test_a_prediction_that_is_not_finite_or_missing_is_an_infinite_error(place, key, value, task):
    """Of a model that is better everywhere else; the other way round it is no vote against anybody."""
    found, store, rules = place
    tests = frozen_tests(store, [found.poor, found.good])
    good, poor = (Committee([found.file(name)]) for name in ("good", "poor"))
    rows = compare_models(Broken(good, key, value), poor, tests)
    row = next(row for row in rows if (row.kind, row.name, row.task) == ("test", "random", task))
    assert (row.new, row.chance) == (np.inf, 0.0)
    judged = judge(rows, rules, [])
    assert not judged.promote
    assert f"{task} on random" in judged.against[0]
    assert judge(compare_models(good, Broken(poor, key, value), tests), rules, []).promote


def test_a_first_model_without_finite_predictions_is_refused(place):
    found, store, rules = place
    broken = load_model(found.file("good"))
    with torch.no_grad():
        for weights in broken.parameters():
            weights.mul_(1e30)
    assert all(bool(torch.isfinite(weights).all()) for weights in broken.parameters())
    frames = frozen_tests(store, [found.good]).frames
    assert check_finite([load_model(found.file("good"))], frames).passed
    finding = check_finite([broken], frames)
    assert not finding.passed
    assert f"of {len(frames)} test labels" in finding.text
    path = save_model(broken, found.folder / "broken.pt")
    file = ModelFile(path=str(path), sha256=file_sha256(path))
    record = found.good.model_copy(update={"model_id": "broken", "files": [file]})
    store.put_model(record)
    verdict = decide(store, record, rules, "campaign nio")
    assert not verdict.promoted
    assert any("check finite failed" in line for line in verdict.reasons)


def test_a_champion_that_changes_while_a_model_is_judged_is_judged_against(place):
    found, store, rules = place
    judge, seen = judging.judge_model, []

    def slow(opened, record, in_use, *rest):
        seen.append(in_use)
        if not in_use:
            promote(opened, "nio", "good", "somebody else", ["faster"], "")
        return judge(opened, record, in_use, *rest)

    with mock.patch.object(judging, "judge_model", side_effect=slow):
        verdict = decide(store, found.poor, rules, "campaign nio")
    assert seen == ["", "good"]
    assert not verdict.promoted
    assert champion(store, "nio").model_id == "good"


def test_two_at_once_end_with_the_better_one(place):
    found, store, rules = place
    ends = {}

    def one(name):
        with open_store(found.options.store) as mine:
            ends[name] = decide(mine, getattr(found, name), rules, name)

    threads = [threading.Thread(target=one, args=(name,)) for name in ("poor", "good")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert champion(store, "nio").model_id == "good"
    assert ends["good"].promoted
    log = history(store, "nio")
    assert [entry.number for entry in log] == [1, 2]
