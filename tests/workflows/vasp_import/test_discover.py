"""Which runs a tree has: names, suffixes, links, what cannot be looked into."""

import os
from pathlib import Path

import pytest

from workflows.vasp_import.discover import Obstacle, Run, find_runs, printable


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def runs(root):
    return [run for run in find_runs(root) if isinstance(run, Run)]


def places(root):
    return [f"{os.path.relpath(run.folder, root)}{run.suffix and ':' + run.suffix}" for run in runs(root)]


@pytest.mark.parametrize(
    "name",
    ["OUTCAR", "OUTCAR.gz", "OUTCAR.bz2", "OUTCAR.xz", "OUTCAR.Z", "vasprun.xml", "vasprun.xml.gz"],
)
def test_one_output_makes_a_run(tmp_path, name):
    make(tmp_path, f"a b/c/{name}", "a b/c/INCAR.gz", "a b/c/CHGCAR", "d/INCAR", "d/POSCAR")
    (run,) = runs(tmp_path)
    assert run.folder == str(tmp_path / "a b/c")
    assert dict(run.files) == {name: name, "INCAR.gz": "INCAR.gz"}


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("OUTCAR.relax1", "OUTCAR"),
        ("OUTCAR.relax2.gz", "OUTCAR.gz"),
        ("vasprun.xml.relax1.gz", "vasprun.xml.gz"),
        ("vasprun.relax1.xml", "vasprun.xml"),
        ("OUTCAR.static.gz", "OUTCAR.gz"),
        ("OUTCAR.orig", None),
        ("OUTCAR.old", None),
        ("OUTCAR_1", None),
        ("myOUTCAR", None),
        ("vasprun", None),
    ],
)
def test_suffixes_of_chains_count_and_copies_do_not(tmp_path, name, standard):
    make(tmp_path, name)
    found = runs(tmp_path)
    assert [dict(run.files) for run in found] == ([{standard: name}] if standard else [])


def test_several_runs_in_one_folder_share_what_carries_no_suffix(tmp_path):
    make(tmp_path, "OUTCAR.relax1.gz", "OUTCAR.relax2.gz", "OUTCAR.gz", "INCAR.relax1", "INCAR.gz", "POTCAR.spec.gz")
    make(tmp_path, "custodian.json", "POTCAR.relax2", "POTCAR")
    found = {run.suffix: dict(run.files) for run in runs(tmp_path)}
    assert found["relax1"] == {
        **{"OUTCAR.gz": "OUTCAR.relax1.gz", "INCAR": "INCAR.relax1", "POTCAR": "POTCAR"},
        **{"POTCAR.spec.gz": "POTCAR.spec.gz", "custodian.json": "custodian.json"},
    }
    assert found["relax2"]["POTCAR"] == "POTCAR.relax2"
    assert "INCAR.gz" not in found["relax2"]
    assert found[""]["INCAR.gz"] == "INCAR.gz"
    origins = [run.origin for run in runs(tmp_path)]
    assert len(set(origins)) == 3
    assert f"{tmp_path} (relax1)" in origins


def make_outside(root):
    outside = root.with_name(f"{root.name} outside")
    make(outside, "OUTCAR", "deeper/OUTCAR")
    return outside


def test_a_tree_is_walked_once_in_order_without_hidden_folders(tmp_path):
    make(tmp_path, "b/OUTCAR", "a/OUTCAR", "a/z/OUTCAR", ".git/OUTCAR", "a/.snapshot/OUTCAR", "c.d/e f/OUTCAR")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "a/twin").symlink_to(tmp_path / "b")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "Before").symlink_to(tmp_path / "b")
    assert places(tmp_path) == ["a", "a/z", "b", "c.d/e f"]  # under its own name, whatever links to it
    (tmp_path / "far").symlink_to(make_outside(tmp_path))
    assert places(tmp_path) == ["a", "a/z", "b", "c.d/e f", "far", "far/deeper"]
    assert places(tmp_path / ".git") == ["."]


def test_a_deep_tree_needs_no_recursion(tmp_path):
    folder = tmp_path
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("ddd", dir_fd=descriptor)
        inner = os.open("ddd", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor, folder = inner, folder / "ddd"
    os.close(os.open("OUTCAR", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    assert [run.folder for run in runs(tmp_path)] == [str(folder)]


def test_archives_and_closed_folders_are_told(tmp_path, monkeypatch):
    make(tmp_path, "a/OUTCAR", "a/error.1.tar.gz", "a/data.tar.gz", "b/old.ZIP", "closed/OUTCAR")
    real = os.scandir

    def scandir(folder):
        if Path(folder).name == "closed":  # root may look into everything
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    told = [item for item in find_runs(tmp_path) if isinstance(item, Obstacle)]
    assert [(Path(item.folder).name, item.reason) for item in told] == [
        ("data.tar.gz", "packed folder"),
        ("old.ZIP", "packed folder"),
        ("closed", "unreadable folder"),
    ]
    assert "Permission denied" in told[2].detail
    assert places(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *((name, True) for name in ("OUTCAR.bak", "OUTCAR_1", "OUTCAR.1", "OUTCAR~", "OUTCAR.standard", "OUTCAR2")),
        *((name, True) for name in ("run1.OUTCAR", "run1.vasprun.xml", "vasprun_old.xml", "vasprun.xml.zst")),
        *((name, False) for name in ("OUTCAR.relax1", "vasprun.xml.gz", "myOUTCAR", "OUTCARs", "vasprun.py")),
        *((name, False) for name in ("vaspruns", "INCAR.bak", "CONTCAR_1")),
    ],
)
def test_outputs_under_names_of_no_run_are_told(tmp_path, name, told):
    make(tmp_path, name)
    found = [(item.reason, item.folder) for item in find_runs(tmp_path) if isinstance(item, Obstacle)]
    assert found == ([("unknown name", str(tmp_path / name))] if told else [])


def test_the_stamp_follows_the_files_and_nothing_else(tmp_path):
    make(tmp_path, "OUTCAR", "INCAR", "CHGCAR")
    (before,) = runs(tmp_path)
    (tmp_path / "CHGCAR").write_bytes(b"longer")
    assert runs(tmp_path) == [before]
    os.utime(tmp_path / "INCAR", (1, 1))
    (touched,) = runs(tmp_path)
    assert touched.stamp != before.stamp
    (tmp_path / "KPOINTS").write_bytes(b"x")
    assert runs(tmp_path)[0].stamp not in (before.stamp, touched.stamp)


def test_names_that_are_no_utf8_become_text(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    make(tmp_path, f"{name}/OUTCAR")
    (run,) = runs(tmp_path)
    assert run.origin.endswith("caf\\xe9")
    run.origin.encode()
    assert printable("Ångström ü") == "Ångström ü"
