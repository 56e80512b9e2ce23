import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

jobflow_remote = pytest.importorskip("jobflow_remote")

from workflows import __version__  # noqa: E402
from workflows.remote.checks import examine, file_problem, key_problem  # noqa: E402
from workflows.remote.projects import Plan, Site, write  # noqa: E402
from workflows.remote.routing import RemoteSetupError  # noqa: E402

ROOT = Path(__file__).parents[3]
NOBODY = "mongodb://me:secret@127.0.0.1:1/oxides"


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A workstation's project; no database answers."""
    monkeypatch.setattr(jobflow_remote.SETTINGS, "projects_folder", str(tmp_path / "projects"))
    monkeypatch.setattr("workflows.remote.checks.TIMEOUT_MS", 100)
    site = Site(tmp_path / "jobs", python=sys.executable, pre_run=f"export PYTHONPATH={ROOT}")
    return write(Plan("workstation", "mine", NOBODY, site, site, site), tmp_path / "map.yaml")


def problems() -> dict[str, str]:
    return {each["what"]: each["problem"] for each in examine("mine") if each["problem"]}


def change(path, **workers):
    content = yaml.safe_load(path.read_text())
    for name, changes in workers.items():
        content["workers"][name] |= changes
    path.write_text(yaml.safe_dump(content))


def test_of_a_fresh_project_only_the_database_is_missing(path):
    found = problems()
    assert set(found) == {"queue", "results", "store files"}
    assert "does not answer" in found["queue"]
    assert "secret" not in str(examine("mine"))


def test_the_file_is_for_its_owner(path):
    path.chmod(0o640)
    assert problems()[f"project {path}"].endswith(f"chmod 600 {path}")
    path.chmod(0o600)
    path.parent.chmod(0o777)
    assert file_problem(path) == f"others may replace it: chmod go-w {path.parent}"


def test_keys_are_for_their_owner(tmp_path):
    key = tmp_path / "id"
    assert "there is no key" in key_problem(key)
    key.write_text("private")
    for mode, fine in ((0o600, True), (0o400, True), (0o644, False), (0o440, False), (0o620, False)):
        key.chmod(mode)
        assert (key_problem(key) is None) == fine, oct(mode)
    key.chmod(0o644)
    assert f"has permissions 0644, and others may read it: chmod 600 {key}" in key_problem(key)
    (tmp_path / "id.pub").write_text("public")
    assert "is the public key" in key_problem(tmp_path / "id.pub")


def test_keys_and_passwords_on_the_whole_way_are_looked_at(path, tmp_path):
    for name in ("own", "gate"):
        (tmp_path / name).write_text("private")
        (tmp_path / name).chmod(0o644)
    gateway = {"host": "127.0.0.1", "port": 1, "key_filename": str(tmp_path / "gate"), "password": "hidden"}
    own = {"type": "remote", "host": "127.0.0.1", "port": 1, "key_filename": str(tmp_path / "own")}
    change(path, labels={**own, "gateway": gateway})
    found = problems()
    assert {f"key {tmp_path / name}" for name in ("own", "gate")} <= set(found)
    assert found["worker labels: secrets"].startswith("its password for 127.0.0.1 stands in the project; use a key")
    assert "127.0.0.1 does not answer" in found["worker labels"]
    assert "hidden" not in str(found)


def test_one_database_for_both_is_refused(path):
    content = yaml.safe_load(path.read_text())
    content["queue"]["store"]["database"] = "oxides"
    path.write_text(yaml.safe_dump(content))
    assert problems()["queue and results in two databases"].startswith("both are in oxides: give the queue another")


def test_workers_that_cannot_run_a_job_say_why(path):
    change(
        path,
        labels={"pre_run": "export PATH=/usr/bin:/bin"},
        train={"scheduler_type": "sge"},
        local={"work_dir": "/proc/nowhere"},
    )
    found = problems()
    assert (
        "there is no `jf` after pre_run; install this package with the extra `remote` there" in found["worker labels"]
    )
    assert "`qstat -help` fails: is sge there" in found["worker train"]
    assert "/proc/nowhere cannot be written" in found["worker local"]


def test_versions_of_workers_are_compared_with_ours(path, tmp_path):
    """Another version of ours is a problem; PyTorch and Python are told."""
    other = tmp_path / "other"
    for package, text in {"workflows": '__version__ = "0.0.9"', "jobflow_remote": ""}.items():
        (other / package).mkdir(parents=True)
        (other / package / "__init__.py").write_text(text)
    metadata = other / "torch-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
    lines = ["echo hello", f"export PYTHONPATH={other}", f"export PATH={Path(sys.executable).parent}:$PATH"]
    change(path, labels={"pre_run": "\n".join(lines)})
    found = {each["what"]: each["problem"] for each in examine("mine")}
    mine, torch = platform.python_version(), version("torch")
    assert found[f"worker train: Python {mine}, torch {torch}"] is None
    problem = found[f"worker labels: Python {mine}, torch 1.0 (here {torch})"]
    assert problem == (
        f"it has version 0.0.9 of spinmultinet-workflows, and here is {__version__}; install the same version in both "
        "places"
    )


def test_projects_that_cannot_be_read(path):
    with pytest.raises(RemoteSetupError, match="mine"):
        examine("other")
    content = yaml.safe_load(path.read_text())
    content["queue"]["store"]["type"] = "NoStore"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RemoteSetupError) as caught:
        examine("mine")
    assert "secret" not in str(caught.value)
