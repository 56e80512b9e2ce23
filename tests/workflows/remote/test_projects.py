import stat
from pathlib import Path

import pytest
import yaml

jobflow_remote = pytest.importorskip("jobflow_remote")

from jobflow_remote.config.base import Project  # noqa: E402

from workflows.remote.projects import LAYOUTS, Host, Plan, Site, check, project, worker_map, write  # noqa: E402
from workflows.remote.routing import RemoteOptions, RemoteSetupError, load_remote, route  # noqa: E402

URI = "mongodb://me:secret@db.example.org/oxides"


@pytest.fixture(autouse=True)
def projects(tmp_path, monkeypatch):
    folder = tmp_path / "projects"
    monkeypatch.setattr(jobflow_remote.SETTINGS, "projects_folder", str(folder))
    return folder


def plan(layout="slurm", uri=URI, **site) -> Plan:
    jump = Host("gate.example.org", "me", 22, "/home/me/.ssh/key")
    far = Host("login.example.org", "me", 2222, "/home/me/.ssh/key", jump) if layout in LAYOUTS[2:] else None
    labels = Site(Path("/scratch/me"), far, "/opt/venv/bin/python", "module load vasp", "normal", "p1", 48, **site)
    train = Site(Path("/scratch/gpu"), far and Host("gpu.example.org", "me"), "/gpu/bin/python", partition="a100")
    return Plan(layout, "mine", uri, Site(Path("/home/me/jobs")), labels, train)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_jobflow_remote_reads_it_and_the_map_fits(layout):
    parsed = Project.model_validate(project(plan(layout)))
    options = RemoteOptions.model_validate(worker_map(plan(layout)))
    assert options.project == "mine"
    assert options.names() <= set(parsed.workers)
    assert parsed.workers["local"].is_local
    for kind in ("label", "parent", "train", "light"):
        for sites in (2, 8, 64, 500):
            assert route(options, kind, sites).worker in parsed.workers


def test_what_a_killed_runner_had_locked_is_free_within_the_hour():
    assert Project.model_validate(project(plan())).runner.lock_timeout == 3600


@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_are_the_campaigns_and_the_queue_is_beside(layout):
    parsed = Project.model_validate(project(plan(layout)))
    results, queue = parsed.get_jobstore(), parsed.get_queue_store()
    assert (results.docs_store.database, results.docs_store.collection_name) == ("oxides", "jobs")
    assert set(results.additional_stores) == {"files"}
    assert queue.database == "oxides_queue"


def test_a_cluster_over_ssh_is_reached_through_its_jump_host():
    worker = Project.model_validate(project(plan("ssh"))).workers["cluster_cpu"]
    assert (worker.host, worker.user, worker.port) == ("login.example.org", "me", 2222)
    assert worker.gateway.host == "gate.example.org"
    assert worker.gateway.key_filename == "/home/me/.ssh/key"
    assert not worker.login_shell


def test_two_clusters_have_hosts_and_environments_of_their_own():
    workers = Project.model_validate(project(plan("two-clusters"))).workers
    assert (workers["dft"].host, workers["gpu"].host) == ("login.example.org", "gpu.example.org")
    assert "module load vasp\nexport PATH=/opt/venv/bin:$PATH" in workers["dft"].pre_run
    assert workers["gpu"].pre_run.startswith("export PATH=/gpu/bin:$PATH")
    assert workers["dft"].resources["account"] == "p1"
    assert "account" not in workers["gpu"].resources


def test_the_pilot_has_folders_of_its_own_and_ends_before_its_time():
    pilot = Project.model_validate(project(plan())).workers["pilot"]
    hours = int(pilot.resources["time"].split(":")[0])
    assert pilot.batch.max_time < 3600 * hours
    assert len({pilot.batch.jobs_handle_dir, pilot.batch.work_dir, pilot.work_dir}) == 3


def test_only_its_owner_reads_the_file(projects, tmp_path):
    path = write(plan(), tmp_path / "map.yaml")
    assert path == projects / "mine.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(projects.stat().st_mode) == 0o700
    assert Project.model_validate(yaml.safe_load(path.read_text())).name == "mine"
    assert load_remote(tmp_path / "map.yaml").project == "mine"
    assert "secret" not in (tmp_path / "map.yaml").read_text()
    assert "secret" not in repr(plan())


def test_nothing_is_written_over_unless_wanted(tmp_path):
    path = write(plan(), tmp_path / "map.yaml")
    before = path.read_text()
    with pytest.raises(RemoteSetupError, match=r"mine.yaml and .*map.yaml exists; .* --force"):
        write(plan("workstation"), tmp_path / "map.yaml")
    assert path.read_text() == before
    write(plan("workstation"), tmp_path / "map.yaml", force=True)
    assert "labels" in yaml.safe_load(path.read_text())["workers"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (plan(uri="local:runs/store"), "need a MongoDB: mongodb://"),
        (plan(uri="mongodb://me:se@cret@db/x/y"), "is no valid MongoDB URI"),
        (Plan("slurm", "mine", URI, Site(Path("jobs")), Site(Path("jobs")), Site(Path("jobs"))), "must be an absolute"),
    ],
)
def test_what_would_not_work_is_refused_without_the_password(wrong, message):
    with pytest.raises(RemoteSetupError, match=message) as caught:
        check(wrong)
    assert "se" + "cret" not in str(caught.value)
    assert "se@cret" not in str(caught.value)
