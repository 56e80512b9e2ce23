"""``spinmultinet data export`` and the import of what it wrote, in this process."""

import json
import re

import ase.io
import pytest

from datastore import open_store
from datastore.checksums import file_sha256
from tests.datastore.support import make_point
from tests.support.cli import tiny_campaign
from workflows import cli


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Working folder with tiny.yaml and its store: twelve labels, one of them rejected."""
    monkeypatch.chdir(tmp_path)
    tiny_campaign(tmp_path)
    with open_store("local:runs/tiny/store") as store:
        for number in range(11):
            store.put_point(make_point(shift=0.1 * number, deformation=["shear", "volume"][number % 2], pair_id=""))
        store.put_point(make_point(shift=3.0, verdict="rejected", verdict_reasons=["flipped"]))
    return tmp_path


def run(capsys, *arguments, code=0):
    found = cli.run(["data", *arguments])
    out, err = capsys.readouterr()
    assert found == code, err
    return out if code == 0 else err


def test_formats_follow_from_the_name(place, capsys):
    for name in ("a.extxyz", "a.db", "a.json", "a.csv", "out/a.xyz"):
        assert f"{name}: 11 labels at level of theory" in run(capsys, "export", "tiny.yaml", name)
    assert "12 labels" in run(capsys, "export", "tiny.yaml", "systems", "--format", "deepmd", "--rejected")
    assert "systems/NiO-4/set.000/spin.npy" in (place / "systems.card.md").read_text()
    assert "6 labels" in run(capsys, "export", "runs/tiny", "shear.csv", "deformation=shear")


def test_what_was_exported_is_imported_as_it_is(place, capsys):
    formats = {"a.db": [], "a.json": [], "systems": ["--format", "deepmd"], "m.extxyz": ["--keys", "mace"]}
    for name, option in formats.items():
        run(capsys, "export", "tiny.yaml", name, "--rejected", *option)
        cli.run(["data", "import", name, "--into", f"local:copy-{name}", "--json"])  # ends with 1: these are outliers
        found = json.loads(capsys.readouterr().out)
        assert found["frames"] == found["in_store"] == 12


def test_json_says_what_was_written(place, capsys):
    told = json.loads(run(capsys, "export", "tiny.yaml", "a.extxyz", "--json"))
    assert told["labels"] == 11
    assert told["files"] == ["a.extxyz"]
    assert told["card"] == "a.extxyz.card.md"
    assert len(told["level_id"]) == 16


def test_the_card_is_right_and_repeatable(place, capsys):
    run(capsys, "export", "tiny.yaml", "a.extxyz", "--keys", "nequip", "--rejected")
    card = (place / "a.extxyz.card.md").read_text()
    assert file_sha256(place / "a.extxyz") in card
    assert "    spinmultinet data export tiny.yaml a.extxyz --keys nequip --rejected\n" in card
    assert "| NiO | AFM-II | shear | accepted | 6 |" in card
    assert "| NiO | AFM-II | none | rejected | 1 |" in card
    assert "extended XYZ with the keys of nequip" in card
    run(capsys, "export", "tiny.yaml", "a.extxyz", "--keys", "nequip", "--rejected")
    again = (place / "a.extxyz.card.md").read_text()
    assert re.sub(r"Written on \S+", "", again) == re.sub(r"Written on \S+", "", card)


def test_a_snapshot_is_exported_with_its_splits(place, capsys):
    folder = json.loads(run(capsys, "snapshot", "tiny.yaml", "sets", "--json"))["folder"]
    assert "11 labels" in run(capsys, "export", folder, "all.extxyz", "--keys", "mace")
    splits = [atoms.info["split"] for atoms in ase.io.read("all.extxyz", ":")]
    run(capsys, "export", folder, "each.extxyz", "--splits", "files")
    for split in ("train", "val", "test"):
        assert len(ase.io.read(f"each-{split}.extxyz", ":")) == splits.count(split) > 0
    assert "6 labels" in run(capsys, "export", folder, "shear.db", "deformation=shear")
    card = (place / "all.extxyz.card.md").read_text()
    assert f"| train | {splits.count('train')} |" in card
    assert "has no rejected labels" in run(capsys, "export", folder, "no.db", "--rejected", code=2)


def test_mistakes(place, capsys):
    for arguments, part in [
        (["tiny.yaml", "a.txt"], "the name tells no format; state --format"),
        (["tiny.yaml", "a.db", "--keys", "mace"], "format ase has no keys 'mace'"),
        (["tiny.yaml", "a.db", "ordering=FM"], "no label matches"),
        (["tiny.yaml", "a.db", "--splits", "files"], "make a snapshot"),
        (["nowhere", "a.db"], "names no store"),
    ]:
        assert part in run(capsys, "export", *arguments, code=2)
