"""What is labelled next: real candidates, a real committee, every rule."""

import json

import numpy as np
import pytest

from datastore.atoms import read_configs, read_points, write_configs
from datastore.errors import DataError
from datastore.snapshot import load_snapshot, make_snapshot
from datastore.splits import SPLITS, SplitOptions
from datastore.stores import open_store
from tests.workflows.exploration.conftest import campaign, trained
from workflows import progress
from workflows.engines import get_engine
from workflows.exploration.candidate import with_state
from workflows.jobs.explore import find_candidates
from workflows.jobs.prices import learned_ratio
from workflows.jobs.select import choose_next
from workflows.policy.pool import PoolError
from workflows.policy.rules import RULES
from workflows.structures.generate import generate

__all__ = ["trained"]  # the fixture

ENGINE = get_engine("spin-lattice")


@pytest.fixture(scope="session")
def previous(trained):
    """What an evaluation hands on."""
    return {
        "model_id": trained.model_id,
        "members": [{"path": path, "sha256": "0" * 64} for path in trained.members],
        "snapshot": trained.snapshot,
        "point_ids": trained.point_ids,
    }


@pytest.fixture(scope="session")
def explored(previous, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored")
    return find_candidates.original(campaign(candidates=8), 1, "deformations", previous, str(folder))


def options(rule="max-det", labels=4, **select):
    made = campaign(candidates=8).model_dump(mode="json")
    made["active_learning"] |= {"labels": labels, "select": {"rule": rule, **select}}
    return type(campaign()).model_validate(made)


def written(folder, source, configs):
    path = folder / f"{source}.xyz"
    count = write_configs(path, configs)
    return {"source": source, "file": str(path), "sha256": "", "count": count, "dropped": {}}


def ids(configs):
    return [config.config_id for config in configs]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_chooses_the_same_again_and_says_why(rule, previous, explored, tmp_path):
    path = tmp_path / "selection.json"
    configs, documents = choose_next(options(rule), ENGINE, 1, [explored], previous, path)
    assert len(set(ids(configs))) == 4
    said = json.loads(path.read_text())
    assert said["chosen"] == documents
    assert (said["rule"], said["generation"], said["model_id"]) == (rule, 1, previous["model_id"])
    assert all(choice["reason"] and choice["candidate"]["source"] == "deformations" for choice in documents)
    assert len(said["candidates"]) == explored["count"]
    assert all(c["energy"] > 0 and c["price"] > 0 and c["twin"] for c in said["candidates"])
    again, same = choose_next(options(rule), ENGINE, 1, [explored], previous, None)
    assert (ids(again), same) == (ids(configs), documents)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["selection.json"]


def test_chance_differs_between_generations_and_seeds(previous, explored):
    chosen = [
        frozenset(ids(choose_next(made, ENGINE, generation, [explored], previous, None)[0]))
        for made, generation in (
            (options("random"), 1),
            (options("random"), 2),
            (options("random").model_copy(update={"seed": 1}), 1),
        )
    ]
    assert len(set(chosen)) == 3


def test_twins_of_labels_and_of_candidates_are_left_alone(previous, explored, tmp_path):
    new = list(read_configs(explored["file"]))[:3]
    snapshot = load_snapshot(previous["snapshot"])
    labelled = [p.config() for split in ("train", "test") for p in read_points(snapshot.path(split))][:3]
    twins = [
        config.model_copy(
            update={"magmoms_in": -config.magmoms_in, "positions": config.positions + np.array([0.4, 1, 0])}
        )
        for config in [*new, *labelled]
    ]
    files = [written(tmp_path, "new", new), written(tmp_path, "twins", twins)]
    configs, _ = choose_next(options(labels=9), ENGINE, 1, files, previous, tmp_path / "s.json")
    assert len(configs) == 3
    keys = {c["config_id"]: c["twin"] for c in json.loads((tmp_path / "s.json").read_text())["candidates"]}
    assert len({keys[name] for name in ids(configs)}) == 3
    rejected = {**previous, "point_ids": [*previous["point_ids"], f"{new[0].config_id}-level"]}
    assert len(choose_next(options(labels=9), ENGINE, 1, files, rejected, None)[0]) == 2


def test_a_candidate_of_two_sources_belongs_to_the_first(previous, explored, tmp_path):
    configs = list(read_configs(explored["file"]))[:2]
    files = [written(tmp_path, "md", configs), written(tmp_path, "files", configs), written(tmp_path, "none", [])]
    _, documents = choose_next(options(), ENGINE, 1, files, previous, None)
    assert [choice["candidate"]["source"] for choice in documents] == ["md", "md"]


def test_the_champion_says_what_candidates_are_worth(previous, explored):
    newest = {**previous, "model_id": "newest", "members": [{"path": "absent.pt", "sha256": ""}] * 2}
    champion = {"model_id": previous["model_id"], "members": previous["members"], "generation": 0}
    first = choose_next(options(), ENGINE, 1, [explored], previous, None)[1]
    assert choose_next(options(), ENGINE, 1, [explored], {**newest, "champion": champion}, None)[1] == first


def test_prices_are_those_of_the_engine_in_one_ratio(previous, explored):
    _, documents = choose_next(options(price=0), ENGINE, 1, [explored], previous, None)
    price = {c.config_id: ENGINE.seconds_estimate(c) for c in read_configs(explored["file"])}
    ratios = [d["candidate"]["price"] / price[d["candidate"]["config_id"]] for d in documents]
    assert ratios == pytest.approx([ratios[0]] * len(documents))


def test_prices_follow_what_labels_have_cost(previous, explored, tmp_path):
    """Labels that took 7200 core seconds each: a budget of three hours has room for one more."""
    with open_store(f"local:{tmp_path / 'store'}") as store:
        snapshot = load_snapshot(previous["snapshot"])
        for split in SPLITS:
            for point in read_points(snapshot.path(split)):
                store.put_point(point.model_copy(update={"timings": {"wall": 7200.0}}))
        timed = make_snapshot(store, tmp_path / "snapshot", options=SplitOptions(min_test=6, min_val=3))
    known = {**previous, "snapshot": str(timed.folder)}
    _, documents = choose_next(options("random", core_hours=3), ENGINE, 1, [explored], known, None)
    assert len(documents) == 1
    assert documents[0]["candidate"]["price"] == pytest.approx(7200, rel=0.02)
    _, same = choose_next(options("random"), ENGINE, 1, [explored], known, None)
    _, before = choose_next(options("random"), ENGINE, 1, [explored], previous, None)
    assert [one["candidate"]["config_id"] for one in same] == [one["candidate"]["config_id"] for one in before]


def test_the_learned_ratio():
    configs = [config for config in generate(campaign().structures) if config.formula == "NiO"]
    points = [ENGINE.label(config).model_copy(update={"timings": {}}) for config in configs[:6]]
    assert learned_ratio(ENGINE, configs, points) == pytest.approx(1.0)  # none says how long it took
    guess = ENGINE.seconds_estimate(configs[0])
    slow = [point.model_copy(update={"timings": {"wall": 5 * guess, "cores": 2.0}}) for point in points]
    assert learned_ratio(ENGINE, configs, slow) == pytest.approx(10.0)
    assert learned_ratio(ENGINE, [], slow) == 1.0
    elsewhere = [point.model_copy(update={"level_of_theory": {"other": 1}}) for point in slow]
    assert learned_ratio(ENGINE, configs, elsewhere) == pytest.approx(1.0)


def test_states_of_spin_moves_count_as_one(previous, explored, tmp_path):
    starts = [c for c in read_configs(explored["file"]) if c.ordering == "FM"][:3]
    moves = [
        with_state(c, c.magmoms_in * np.append(np.roll([1, -1, -1, -1], k), [1] * 4), "FiM[x]", {})
        for k, c in enumerate(starts)
    ]
    files = [explored, written(tmp_path, "spin-moves", moves)]
    choose_next(options("balanced"), ENGINE, 1, files, previous, tmp_path / "s.json")
    said = json.loads((tmp_path / "s.json").read_text())["candidates"]
    states = {c["state"] for c in said if c["source"] == "spin-moves"}
    assert states == {"other states"}
    assert all(c["state"] == c["ordering"] for c in said if c["source"] == "deformations")


def test_candidates_on_frozen_tests_are_not_paid_for(previous, explored, tmp_path):
    """Their labels would be left out of training, as the geometry is tested on."""
    snapshot = load_snapshot(previous["snapshot"])
    tested = next(iter(read_points(snapshot.path("test"))))
    moments = 0.9 * np.abs(tested.magmoms_in)
    same = {"species": tested.species, "lattice": tested.lattice, "positions": tested.positions, "magmoms_in": moments}
    candidate = next(iter(read_configs(explored["file"]))).model_copy(update=same)
    found = [written(tmp_path, "files", [candidate]), explored]
    path = tmp_path / "selection.json"
    configs, _ = choose_next(options(labels=explored["count"] + 1), ENGINE, 1, found, previous, path)
    assert candidate.config_id not in ids(configs)
    said = json.loads(path.read_text())
    assert (said["on_tests"], len(said["candidates"])) == (1, explored["count"])


def test_nothing_to_choose_from(previous):
    assert choose_next(options(), ENGINE, 1, [], previous, None) == ([], [])


def test_one_member_has_no_spread(previous, explored):
    single = {**previous, "members": previous["members"][:1]}
    with pytest.raises(PoolError, match="rule spread needs the spread of a committee, and this one has one member"):
        choose_next(options("spread"), ENGINE, 1, [explored], single, None)
    assert len(choose_next(options("max-dist"), ENGINE, 1, [explored], single, None)[0]) == 4


def test_a_file_that_is_gone(previous, explored, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        choose_next(options(), ENGINE, 1, [{**explored, "file": str(tmp_path / "gone.xyz")}], previous, None)


def test_progress_grows_to_the_end(previous, explored):
    told = []
    before = progress.set_reporter(lambda share, text: told.append((share, text)))
    try:
        choose_next(options(), ENGINE, 1, [explored], previous, None)
    finally:
        progress.set_reporter(before)
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert {text for _, text in told} == {"spread of the committee", "gradient features", "twins"}
