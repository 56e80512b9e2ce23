"""The configurations of one store labelled again at another level: once, resumably, with their provenance."""

import json
import signal
import subprocess
import time

import pytest
import yaml

from datastore import open_store
from datastore.costs import ledger
from datastore.queries import find
from tests.support.cli import assert_one_line, command, environment, in_this_process, tiny_campaign
from workflows.engines import get_engine
from workflows.relabel import RelabelError, plan_relabel
from workflows.structures.generate import StructureOptions, generate

STRUCTURES = {
    "parents": [{"species": "Ni", "lattice_constant": 4.17, "cell": "rhombohedral4"}],
    "orderings": ["FM", "AFM-II"],
    "deformations": [{"kind": "displacement", "count": 6, "amplitude": [0.03, 0.06]}],
}
ENGINE = get_engine("spin-lattice")
OTHER = {"code": "GPAW", "functional": "PBE+U"}


def source_labels(count=6):
    """Labels as another level of theory has them, of two rounds of a campaign."""
    structures = {**STRUCTURES, "deformations": [{**STRUCTURES["deformations"][0], "count": count}]}
    configs = generate(StructureOptions(**structures), campaign="first")
    return [
        ENGINE.label(config.model_copy(update={"generation": k // 8})).model_copy(update={"level_of_theory": OTHER})
        for k, config in enumerate(configs)
    ]


@pytest.fixture
def place(tmp_path):
    """Working folder with a campaign of the spin-lattice engine and a store of labels at another level."""
    tiny_campaign(tmp_path)
    fill(tmp_path, "local:source")
    return tmp_path


def fill(place, uri, labels=None):
    with open_store(uri.replace("local:", f"local:{place}/")) as store:
        for point in labels or source_labels():
            store.put_point(point)


def relabelled(place, *arguments, source="local:source"):
    done = in_this_process(place, "run", "tiny.yaml", "--relabel", source, "--workers", 2, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def points(place, uri="local:runs/tiny/store", **equal):
    with open_store(uri.replace("local:", f"local:{place}/")) as store:
        return list(find(store, **equal))


def events(place, kind="started"):
    file = place / "runs/tiny/calculations.jsonl"
    entries = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [entry["uuid"] for entry in entries if entry["event"] == kind]


def test_everything_is_labelled_once_and_keeps_its_provenance(place):
    content = relabelled(place)
    assert (content["configurations"], content["calculations_run"], content["accepted"]) == (12, 12, 12)
    assert content["sources"][0]["name"] == "GPAW-PBE+U"
    assert content["level_id"] == ENGINE.level_id()
    of = {point.config_id: point for point in points(place)}
    for source in source_labels():
        label = of.pop(source.config_id)
        assert label.config() == source.config()
        assert (label.campaign, label.generation, label.pair_id) == ("first", source.generation, source.pair_id)
        assert (label.level_id, label.energy) == (ENGINE.level_id(), source.energy)
        assert label.calculated_by == "tiny"
    assert not of
    with open_store(f"local:{place}/runs/tiny/store") as store:
        assert list(ledger(store, by=["campaign"])) == [("tiny",)]
    again = relabelled(place)
    assert (again["calculations_run"], again["calculations_reused"], again["accepted"]) == (0, 12, 12)
    assert len(events(place)) == len(set(events(place))) == 12
    assert not list((place / "runs/tiny").glob("generation_*"))


def test_source_and_target_may_be_one_store(place):
    options = yaml.safe_load((place / "tiny.yaml").read_text())
    (place / "tiny.yaml").write_text(yaml.safe_dump({**options, "store": "local:source"}))
    assert relabelled(place)["calculations_run"] == 12
    found = points(place, "local:source")
    assert {point.level_id for point in found} == {ENGINE.level_id(), source_labels()[0].level_id}
    assert len(found) == 24
    assert relabelled(place)["calculations_run"] == 0
    text = in_this_process(place, "data", "compare", "local:source", "GPAW-PBE+U", "spin-lattice").stdout
    assert "12 configurations at both levels" in text


def test_a_filter_chooses_and_more_can_follow(place):
    fill(
        place, "local:source", [source_labels()[0].model_copy(update={"verdict": "rejected", "verdict_reasons": ["x"]})]
    )
    first = relabelled(place, "--where", "ordering=AFM-II generation=0")
    assert first["configurations"] == 4
    assert {point.ordering for point in points(place)} == {"AFM-II"}
    rest = relabelled(place)
    assert (rest["configurations"], rest["calculations_run"], rest["calculations_reused"]) == (11, 7, 4)
    assert relabelled(place, "--where", "verdict=rejected")["calculations_run"] == 1


def test_a_value_that_is_called_verdict_asks_for_no_verdict():
    """Ordering and campaign are texts of the user's choice."""
    labels = [label.model_copy(update={"ordering": "verdict"}) for label in source_labels(2)]
    labels[0] = labels[0].model_copy(update={"verdict": "rejected", "verdict_reasons": ["x"]})
    with open_store("memory:") as source, open_store("memory:") as target:
        for label in labels:
            source.put_point(label)
        assert len(plan_relabel(source, target, ENGINE, {"ordering": "verdict"}).configs) == 3
        wanted = {"$and": [{"ordering": {"$in": ["verdict"]}}, {"verdict": "rejected"}]}
        assert len(plan_relabel(source, target, ENGINE, wanted).configs) == 1


def test_labels_that_came_without_a_job_are_not_calculated(place):
    fill(place, "local:runs/tiny/store", [ENGINE.label(point.config()) for point in source_labels()[:5]])
    content = relabelled(place)
    assert (content["calculations_run"], content["calculations_reused"]) == (7, 5)


def test_failures_are_told_and_tried_again_on_request(place):
    label = source_labels()[0]
    iron = label.model_copy(update={"species": ["Fe", "Fe", "O", "O"], "pair_id": ""})
    fill(place, "local:source", [iron])
    content = relabelled(place)
    assert (content["accepted"], content["without_label"], content["calculations_run"]) == (12, 1, 13)
    assert [reason for reason in content["reasons"] if reason.startswith("failed: ")]
    assert relabelled(place)["calculations_run"] == 0
    assert relabelled(place, "--retry-failed")["calculations_run"] == 1


def test_the_text_names_both_levels_and_what_is_next(place):
    done = in_this_process(place, "run", "tiny.yaml", "--relabel", "local:source", "--workers", 2)
    for part in ("GPAW-PBE+U", "spin-lattice", "12 calculated now", "data compare local:source", "--with local:"):
        assert part in done.stdout
    assert "not connected" not in done.stderr


def test_killed_and_run_again(place):
    fill(place, "local:source", source_labels(30))
    arguments = ["run", "tiny.yaml", "--relabel", "local:source", "--workers", "2"]
    process = subprocess.Popen(
        command(*arguments), cwd=place, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 60
    while len(events(place, "done")) < 8 and time.time() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    acknowledged = events(place, "done")
    assert 8 <= len(acknowledged) < 60
    time.sleep(0.3)
    content = relabelled(place)
    assert content["accepted"] == 60
    assert content["calculations_run"] <= 60 - len(acknowledged)
    for uuid in acknowledged:
        assert events(place).count(uuid) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--relabel", "local:source", "--where", "generation=7"], "no accepted label matches"),
        (["--relabel", "local:source", "--where", "genration=7"], "did you mean 'generation'"),
        (["--relabel", "local:nowhere"], "there is no store at nowhere"),
        (["--where", "generation=1"], "say which with --relabel"),
    ],
)
def test_mistakes(place, arguments, words):
    assert_one_line(in_this_process(place, "run", "tiny.yaml", *arguments), 2, words)


def test_moments_that_are_to_be_held_need_an_engine_that_can():
    with open_store("memory:") as source, open_store("memory:") as target:
        for point in source_labels(2):
            source.put_point(point.model_copy(update={"moment_role": "constraint"}))
        with pytest.raises(RelabelError, match=r"as a constraint, as 4 of the labels.*--where moment_role=guess"):
            plan_relabel(source, target, get_engine("gpaw"))
        assert len(plan_relabel(source, target, ENGINE).configs) == 4
