"""``spinmultinet models``: tables, JSON, exit codes; a damaged file is refused and the reason is told."""

import json

import pytest
import yaml

from datastore import open_store
from datastore.registry import champion, history, promote
from tests.support.registry import CAMPAIGN, example, flip_a_byte
from workflows import cli


@pytest.fixture
def place(tmp_path):
    return example(tmp_path / "nio")


def run(capsys, place, command, *arguments):
    """Exit code, stdout and stderr of ``models COMMAND`` on the example."""
    capsys.readouterr()
    code = cli.run(["models", command, str(place.folder), *arguments])
    return (code, *capsys.readouterr())


def in_use(place):
    with open_store(place.options.store) as store:
        found = champion(store, "nio")
    return None if found is None else found.model_id


def test_promote_compare_show_and_go_back(place, capsys):
    code, out, _ = run(capsys, place, "promote", "poor", "--reason", "the first", "--by", "Ada")
    assert (code, in_use(place)) == (0, "poor")
    assert "poor promoted by Ada" in out
    code, out, _ = run(capsys, place, "promote", "go", "--reason", "better", "--json")
    assert (code, json.loads(out)["model_id"], json.loads(out)["previous"]) == (0, "good", "poor")
    rows = json.loads(run(capsys, place, "list", "--json")[1])
    assert [(row["model_id"], row["state"]) for row in rows] == [("poor", "retired"), ("good", "in use")]
    assert "2 models" in run(capsys, place, "list")[1]
    code, out, error = run(capsys, place, "promote", "poor", "--reason", "I like it")
    assert (code, in_use(place)) == (1, "good")
    assert "is not promoted: errors changed by +" in error
    assert error.splitlines()[-1].startswith("error: ")
    found = json.loads(run(capsys, place, "compare", "poor", "good", "--json")[1])
    assert found["ratio"] < 1
    assert {row["name"] for row in found["rows"] if row["kind"] == "test"} == {"random", "pairs"}
    assert "geometric mean of test sets and tasks" in run(capsys, place, "compare", "poor", "good")[1]
    code, out, _ = run(capsys, place, "show", "good")
    assert code == 0
    assert "good promoted in place of poor" in out
    assert "test split" in out
    assert run(capsys, place, "rollback", "--reason", "explodes")[0] == 0
    assert in_use(place) == "poor"
    code, _, error = run(capsys, place, "rollback", "--reason", "again")
    assert (code, in_use(place)) == (2, "poor")
    assert "no other model before" in error
    assert run(capsys, place, "rollback", "--to", "good", "--reason", "forth")[0] == 0
    assert json.loads(run(capsys, place, "show", "good", "--json")[1])["in_use"]


def test_force_overrules_the_comparison_and_nothing_else(place, capsys):
    run(capsys, place, "promote", "good", "--reason", "the first")
    code, out, _ = run(capsys, place, "promote", "poor", "--reason", "trust me", "--force")
    assert (code, in_use(place)) == (0, "poor")
    assert "promoted against the rules of comparison" in out
    flip_a_byte(place.file("good"))
    for extra in ([], ["--force"]):
        code, _, error = run(capsys, place, "promote", "good", "--reason", "trust me", *extra)
        assert (code, in_use(place)) == (1, "poor")
        assert "is damaged: its SHA-256 is not the one on record" in error
        assert error.count("\n") == 1
    code, _, error = run(capsys, place, "rollback", "--to", "good", "--reason", "back")
    assert (code, in_use(place)) == (1, "poor")
    with open_store(place.options.store) as store:
        assert [entry.action for entry in history(store, "nio")] == ["promote", "promote"]


def test_a_model_of_another_level_is_not_promoted_by_hand(place, capsys):
    with open_store(place.options.store) as store:
        store.put_model(place.poor.model_copy(update={"status": "champion", "level_id": "f" * 16}))
    code, _, error = run(capsys, place, "promote", "good", "--reason", "x", "--force")
    assert (code, in_use(place)) == (1, "poor")
    assert "a campaign does not mix them" in error


def test_the_file_of_one_campaign_does_not_act_on_another_in_the_same_store(place, capsys, tmp_path):
    with open_store(place.options.store) as store:
        promote(store, "nio", "poor", "Ada", ["the first"], "")
        promote(store, "nio", "good", "Ada", ["better"], "poor")
    content = {**CAMPAIGN, "name": "other", "folder": str(tmp_path / "other"), "store": place.options.store}
    file = tmp_path / "other.yaml"
    file.write_text(yaml.safe_dump(content))
    for command, arguments in (("promote", ["poor", "--force"]), ("rollback", ["--to", "poor"])):
        capsys.readouterr()
        code = cli.run(["models", command, str(file), *arguments, "--reason", "x"])
        error = capsys.readouterr().err
        assert (code, in_use(place)) == (2, "good")
        assert "model poor is of campaign 'nio', not of 'other'" in error
        assert error.count("\n") == 1
    code, _, error = run(capsys, place, "rollback", "--to", "poor", "--campaign", "other", "--reason", "x")
    assert (code, in_use(place)) == (2, "good")
    assert "is of campaign 'nio'" in error


@pytest.mark.parametrize(
    ("command", "arguments", "part"),
    [
        ("show", ["x"], "no model 'x' in this store"),
        ("promote", ["good", "--reason", " "], "--reason is empty"),
        ("promote", ["good"], "Missing option '--reason'"),
        ("rollback", ["--reason", "x"], "no other model before"),
        ("list", ["--campaign", "coo"], "no model of campaign 'coo'"),
    ],
)
def test_bad_input(place, capsys, command, arguments, part):
    code, _, error = run(capsys, place, command, *arguments)
    assert code == 2
    assert part in error
    assert error.count("\n") == 1


def test_predictions_say_which_model_made_them(place, capsys, tmp_path):
    import ase.io

    from datastore.checksums import file_sha256

    run(capsys, place, "promote", "good", "--reason", "the first")
    structure = next((place.folder / "snapshots").glob("*/test.extxyz"))
    atoms = ase.io.read(structure, "0")
    ase.io.write(tmp_path / "one.extxyz", atoms)
    sha256 = file_sha256(place.file("good"))
    capsys.readouterr()
    common = [str(tmp_path / "one.extxyz"), "--model", str(place.folder), "--json"]
    out = tmp_path / "out.extxyz"
    for command in (["predict", *common], ["relax", *common, "--fmax", "10"], ["md", *common, "--steps", "2"]):
        assert cli.run([*command, "--out", str(out)]) == 0
        content = json.loads(capsys.readouterr().out)
        content = content[0] if isinstance(content, list) else content
        assert (content["model_id"], content["model_sha256"]) == ("good", sha256)
        assert ase.io.read(out, "0").info["model_sha256"] == sha256
        out.unlink()
