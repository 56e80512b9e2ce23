"""Lattices computed before a campaign: once per content, resumable, recorded on what is made from them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from jobflow import Flow

from datastore import open_store
from datastore.queries import find
from tests.support.cli import assert_one_line, in_this_process, tiny_campaign
from tests.support.counted_engine import Counted
from workflows.campaign import CampaignError, load_campaign
from workflows.flows import CampaignMaker
from workflows.jobs.parents import calculations
from workflows.parents import plan_parents, planned_structures
from workflows.structures import generate
from workflows.structures.options import StructureOptions
from workflows.submit import RunError, run_local
from workflows.user_structures import pseudo_cubic

ROOT = Path(__file__).resolve().parents[2]
SCAN = {"scan": {"orderings": ["AFM-II"]}}
PARENTS = [
    {"species": "Ni", "cell": "rhombohedral4", "lattice": "relax"},
    {"species": "Mn", "cell": "rhombohedral4", "lattice": SCAN},
]
DEFORMATIONS = [{"kind": "none"}, {"kind": "displacement", "count": 3, "amplitude": [0.02, 0.06]}]
LABELS = (2 + 1) * 2 * 4


def structures(*parents: dict, orderings=("FM", "AFM-II")) -> StructureOptions:
    content = {"parents": list(parents), "orderings": list(orderings), "deformations": DEFORMATIONS}
    return StructureOptions.model_validate(content)


def campaign_file(folder: Path, name: str = "prepared", parents=PARENTS) -> Path:
    folder.mkdir(exist_ok=True)
    content = {"name": name, "baseline": "", "store": "local:store"}
    short = {"structures__parents": parents, "structures__deformations": DEFORMATIONS}
    return tiny_campaign(folder, **content, **short, active_learning__rounds=0)


def run(file: Path, engine: Counted):
    options, _ = load_campaign(file)
    return run_local(CampaignMaker(options, engine).make(), options.store, Path(options.folder), 2)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """A whole campaign with two lattices relaxed and one scanned, its engine, and what its run did."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.chdir(folder)
        engine = Counted(log=str(folder / "log"))
        yield folder, engine, run(campaign_file(folder), engine)


def documents(folder: Path) -> list[dict]:
    with open_store(f"local:{folder / 'store'}", create=False) as store:
        found = [d["output"] for d in store.jobs.query({"metadata.kind": "parent"})]
    return sorted(found, key=lambda d: (d["formula"], d["ordering"]))


def test_one_job_per_parent_and_ordering_and_all_labels(campaign):
    _, engine, result = campaign
    assert result.executed_by_kind["parent"] == 3
    assert result.executed_by_kind["label"] == LABELS
    assert result.reused == 0
    assert engine.calls() == LABELS + sum(d["calculations"] for d in documents(campaign[0]))


def test_the_document_says_what_was_found_and_how(campaign):
    mno, afm, fm = documents(campaign[0])
    assert [(d["method"], d["formula"], d["ordering"]) for d in (mno, afm, fm)] == [
        ("scan", "MnO", "AFM-II"),
        ("relax", "NiO", "AFM-II"),
        ("relax", "NiO", "FM"),
    ]
    for document in (mno, afm, fm):
        assert document["engine"] == "counted"
        assert document["level_of_theory"]["code"] == "spin-lattice"
        assert len(document["history"]) == document["calculations"]
        assert document["core_seconds"] > 0
        assert np.sign(document["magmoms_out"][:2]).tolist() == np.sign(document["magmoms_in"][:2]).tolist()
    assert mno["eos"]["bulk_modulus"] > 50
    assert afm["largest_stress"] < 2e-4
    assert afm["volume_per_atom"] < fm["volume_per_atom"]
    assert afm["energy_per_atom"] < fm["energy_per_atom"]
    grid = np.array([[1, -1, 0], [0, 1, -1], [2, 1, 1]])
    assert abs(pseudo_cubic(np.array(afm["lattice"]), grid)[3] - 90) > 0.005
    assert pseudo_cubic(np.array(fm["lattice"]), grid)[3] == pytest.approx(90, abs=1e-3)


def test_labels_remember_their_parent(campaign):
    with open_store(f"local:{campaign[0] / 'store'}", create=False) as store:
        points = list(find(store))
    assert len(points) == LABELS
    by_start = {(d["formula"], d["ordering"]): d for d in documents(campaign[0])}
    for point in points:
        how = point.deformation_parameters["parent"]
        document = by_start[point.formula, how["ordering"]]
        assert how["method"] == document["method"]
        assert how["level_id"] == point.level_id
        assert how["start"] == document["start"]["parent"] != point.parent
        np.testing.assert_allclose(point.parent_lattice, document["lattice"])


def test_the_undeformed_label_is_the_one_the_relaxation_ended_with(campaign):
    with open_store(f"local:{campaign[0] / 'store'}", create=False) as store:
        points = [p for p in find(store) if p.deformation == "none" and p.formula == "NiO"]
    for document in documents(campaign[0])[1:]:
        how = document["how"]
        (point,) = [
            p for p in points if p.deformation_parameters["parent"] == how and p.ordering == document["ordering"]
        ]
        assert point.free_energy / 4 == pytest.approx(document["energy_per_atom"], abs=1e-9)
        assert np.abs(point.stress).max() < 2e-4


def test_a_second_run_computes_nothing(campaign):
    folder, engine, first = campaign
    before = engine.calls()
    again = run(campaign_file(folder), engine)
    assert (again.executed, again.reused) == (0, first.executed)
    assert engine.calls() == before


def test_another_campaign_in_the_same_store_computes_nothing(campaign):
    folder, engine, _ = campaign
    before = engine.calls()
    result = run(campaign_file(folder, "other"), engine)
    assert "parent" not in result.executed_by_kind
    assert "label" not in result.executed_by_kind
    assert engine.calls() == before


def test_dry_run_first_announces_and_then_uses_what_is_computed(campaign):
    folder, engine, _ = campaign
    options, _ = load_campaign(campaign_file(folder))
    unknown = plan_parents(options.structures, engine, f"local:{folder / 'nowhere'}")
    assert [plan.row()["computed"] for plan in unknown] == [False] * 3
    assert [plan.row()["calculations"] for plan in unknown] == [10, 10, 10]
    assert all(plan.seconds > 0 for plan in unknown)
    assert len(list(generate(planned_structures(options.structures, unknown)))) == LABELS
    known = plan_parents(options.structures, engine, options.store)
    assert [plan.row()["computed"] for plan in known] == [True] * 3
    configs = list(generate(planned_structures(options.structures, known)))
    with open_store(options.store, create=False) as store:
        assert {c.config_id for c in configs} == {p.config_id for p in find(store)}


def test_a_given_lattice_leaves_the_campaign_as_it_is(tmp_path):
    plain = {"species": "Ni", "lattice_constant": 4.17, "cell": "rhombohedral4"}
    flows = []
    for parent in (plain, {**plain, "lattice": "given"}):
        options, engine = load_campaign(campaign_file(tmp_path, parents=[parent]))
        flows.append([job.uuid for job, _ in CampaignMaker(options, engine).make().iterflow()])
    assert flows[0] == flows[1]
    assert len(flows[0]) == 8 + 5  # labels; dataset, training, evaluation, promotion, decision


def plan_of(lattice, engine, **changes):
    (plan,) = plan_parents(structures({**PARENTS[0], "lattice": lattice, **changes}), engine)
    return plan


def test_the_uuid_is_that_of_what_decides_the_result(tmp_path):
    one, two = Counted(log=str(tmp_path / "a")), Counted(log=str(tmp_path / "b"), seconds=1.0)
    relax = {"orderings": ["FM"]}

    def uuid(engine=one, method="relax", **options):
        return plan_of({method: {**relax, **options}}, engine).job.uuid

    assert uuid() == uuid(two) == uuid(steps=50)
    others = [uuid(fmax=0.01), uuid(moves="cell"), uuid(orderings=["AFM-II"]), uuid(method="scan")]
    assert len({uuid(), *others}) == 5
    moved = plan_of({"relax": relax}, one, lattice_constant=4.2).job.uuid
    assert moved != uuid()


def test_costs_are_estimated(tmp_path):
    engine = Counted(log=str(tmp_path / "log"))
    plan = plan_of({"scan": {"orderings": ["FM"], "points": 5}}, engine)
    assert calculations(plan.start) == 6
    assert plan.seconds == pytest.approx(6 * engine.seconds_estimate(plan.start.config))
    assert calculations(plan_of({"relax": {"orderings": ["FM"], "steps": 3}}, engine).start) == 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 10),
        ({"cell": "conventional_2x2x2"}, 10),
        ({"species": {"Ni": 0.5, "Mn": 0.5}}, 14),
        ({"species": {"Ni": 0.5, "Mn": 0.5}, "cell": "conventional_2x2x2"}, 65),
    ],
    ids=["NiO", "NiO 64 atoms", "MnNiO2", "MnNiO2 64 atoms"],
)
def test_free_coordinates_take_more_steps(tmp_path, changes, expected):
    """docs/parents.md says how many were measured."""
    engine = Counted(log=str(tmp_path / "log"))
    assert calculations(plan_of({"relax": {"orderings": ["FM"]}}, engine, **changes).start) == expected
    assert calculations(plan_of({"relax": {"orderings": ["FM"], "moves": "cell"}}, engine, **changes).start) == 10


def parents_only(folder: Path, engine: Counted):
    plans = plan_parents(structures(*PARENTS), engine)
    flow = Flow([plan.job for plan in plans])
    return run_local(flow, f"local:{folder / 'store'}", folder / "files", 2)


def test_a_calculation_without_a_label_fails_the_parent_in_one_line_and_is_gone_on_with(
    campaign, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    log = tmp_path / "log"

    def attempt(**settings):
        plan = plan_of({"relax": {"orderings": ["AFM-II"]}}, Counted(log=str(log), **settings))
        return run_local(Flow([plan.job]), f"local:{tmp_path / 'store'}", tmp_path / "files", 1)

    with pytest.raises(RunError, match=r"relax NiO rhombohedral4 AFM-II: NiO AFM-II at .*no label .no convergence"):
        attempt(fail_at=4)
    attempt()
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) == documents(campaign[0])[1]["calculations"]


DRIVER = """
import sys
from pathlib import Path
from tests.workflows.test_parents import Counted, parents_only
folder = Path(sys.argv[1])
parents_only(folder, Counted(log=str(folder / "log"), seconds=0.05))
"""


def test_kill_and_resume_costs_at_most_the_calculations_in_flight(campaign, tmp_path, monkeypatch):
    """kill -9 in the middle: single points that were finished are not done again, and the result is the same."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    engine = Counted(log=str(tmp_path / "log"), seconds=0.05)
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], env={**os.environ})
    deadline = time.time() + 60
    while engine.calls() < 7:
        assert process.poll() is None
        assert time.time() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    killed = engine.calls()
    result = parents_only(tmp_path, engine.model_copy(update={"seconds": 0.0}))
    assert result.executed + result.reused == 3
    found, expected = documents(tmp_path), documents(campaign[0])
    assert 7 <= killed < sum(d["calculations"] for d in expected)
    assert [d["lattice"] for d in found] == [d["lattice"] for d in expected]
    lines = Path(engine.log).read_text().splitlines()
    assert len(set(lines)) == sum(d["calculations"] for d in expected)
    assert len(lines) - len(set(lines)) <= 2  # one per worker, between the end of a calculation and its record


def test_a_lattice_relaxed_with_a_trained_model(campaign, tmp_path, monkeypatch):
    """The champion of the campaign; it is trained for two epochs only, so one step has to do."""
    folder, engine, _ = campaign
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    model = next((folder / "runs" / "prepared").glob("**/model.pt"))
    lattice = {"relax": {"orderings": ["FM"], "using": str(model), "fmax": 1.0, "moves": "volume"}}
    plan = plan_of(lattice, engine)
    assert plan.job.uuid != plan_of({"relax": {**lattice["relax"], "using": "engine"}}, engine).job.uuid
    copy = tmp_path / "copy.pt"
    copy.write_bytes(model.read_bytes())
    assert plan.job.uuid == plan_of({"relax": {**lattice["relax"], "using": str(copy)}}, engine).job.uuid
    before = engine.calls()
    run_local(Flow([plan.job]), f"local:{tmp_path / 'store'}", tmp_path / "files", 1)
    assert engine.calls() == before
    (document,) = documents(tmp_path)
    assert document["how"]["model"] == document["model"]
    assert len(document["model"][0]) == 64
    assert document["level_id"] == documents(folder)[0]["level_id"]
    assert "engine" not in document["how"]


def test_a_model_that_is_not_there_is_found_before_anything_runs(tmp_path):
    lattice = {"relax": {"using": str(tmp_path / "nothing.pt")}}
    with pytest.raises(CampaignError, match=r"structures\.parents\.0\.lattice: using: there is no model at"):
        plan_parents(structures({**PARENTS[0], "lattice": lattice}), Counted(log=""))


def test_a_scan_beside_the_minimum_ends_the_run_with_the_range_to_write(tmp_path):
    lattice = {"scan": {"orderings": ["FM"], "ratios": [0.8, 0.88]}}
    file = campaign_file(tmp_path, parents=[{**PARENTS[0], "lattice": lattice}])
    done = in_this_process(tmp_path, "run", file)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert "scan NiO rhombohedral4 FM: scan: the minimum of the energy is not inside V/V0 = 0.8 to 0.88" in line
    assert "write ratios: [" in line
    assert "parents 0/1" in done.stdout.partition("| labels 0/8 |")[0]


@pytest.mark.parametrize(
    ("lattice", "part"),
    [
        ({"relax": {"fmx": 0.1}}, "'fmax'"),
        ("relaxed", "use given, scan or relax"),
        ({"scan": {}, "relax": {}}, "either scan or relax"),
        ({"relax": {"orderings": ["AFM-I"]}}, "no ordering AFM-I"),
    ],
    ids=str,
)
def test_bad_options_are_one_line(tmp_path, lattice, part):
    file = campaign_file(tmp_path, parents=[{**PARENTS[0], "lattice": lattice}])
    assert_one_line(in_this_process(tmp_path, "structures", file), 2, part)


def test_the_command_says_what_comes_first(tmp_path):
    file = campaign_file(tmp_path)
    done = in_this_process(tmp_path, "structures", file)
    assert done.returncode == 0, done.stderr
    assert "3 lattices are computed first, in about 0.00 core hours" in done.stdout
    plan = json.loads(in_this_process(tmp_path, "structures", file, "--json").stdout)
    assert [(p["ordering"], p["method"], p["computed"]) for p in plan["parents"]] == [
        ("FM", "relax", False),
        ("AFM-II", "relax", False),
        ("AFM-II", "scan", False),
    ]
    assert plan["configurations"] == LABELS


def test_the_yaml_of_a_campaign_survives_its_way_through_the_store(tmp_path):
    options, _ = load_campaign(campaign_file(tmp_path))
    text = yaml.safe_dump(options.model_dump(mode="json"))
    assert type(options).model_validate(yaml.safe_load(text)) == options
