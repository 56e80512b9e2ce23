"""``spinmultinet data import``, in this process and, where it is killed, in one of its own."""

import csv
import json
import signal
import subprocess
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase.db import connect

from datastore import open_store
from datastore.atoms import point_to_atoms, write_points
from datastore.errors import DataError
from datastore.queries import find
from tests.datastore.support import make_point
from tests.support.cli import command, environment, tiny_campaign
from workflows import cli

LEVEL = {"code": "VASP", "functional": "PBE+U", "hubbard_u": {"Ni": 5.3}, "ecut": 600, "kpts": [4, 4, 2]}
MAPPING = {"moment_role": "guess", "magmoms_in": "magmom_in", "magmoms_out": "magmom_out"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("level.yaml").write_text(yaml.safe_dump({"level_of_theory": LEVEL, "citation": "doi:10.1/2"}))
    Path("map.yaml").write_text(yaml.safe_dump(MAPPING))
    write_points("ours.extxyz", [make_point(), make_point(shift=0.1)])


def run(capsys, *arguments):
    code = cli.run(["data", "import", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


FOREIGN = ("--into", "local:store", "--mapping", "map.yaml", "--level", "level.yaml")


def stored(uri="local:store"):
    with open_store(uri, create=False) as store:
        return list(find(store))


def test_an_export_needs_neither_mapping_nor_level(capsys):
    code, out, _ = run(capsys, "ours.extxyz", "--into", "local:store")
    assert code == 0
    assert "2 frames; 2 new labels accepted" in out
    code, out, _ = run(capsys, "ours.extxyz", "--into", "local:store")
    assert code == 0
    assert "0 new labels accepted; 2 were there already" in out
    assert [p.energy for p in stored()] == [-25.4, -25.4]


def test_labels_go_into_the_store_of_a_campaign(capsys, tmp_path):
    tiny_campaign(tmp_path)
    code, _, err = run(capsys, "ours.extxyz", "--into", "tiny.yaml", *FOREIGN[2:], "--campaign", "tiny")
    assert code == 0, err
    assert [p.campaign for p in stored("local:runs/tiny/store")] == ["tiny", "tiny"]


def test_every_format_gives_the_same_labels(capsys):
    frames = [point_to_atoms(point) for point in (make_point(), make_point(shift=0.1))]
    rows = [
        {
            **{name: getattr(point, name).tolist() for name in ("lattice", "positions", "forces", "stress")},
            **{"species": point.species, "energy": point.energy, "free_energy": point.free_energy},
            **{"magmom_in": point.magmoms_in.tolist(), "magmom_out": point.magmoms_out.tolist()},
        }
        for point in (make_point(), make_point(shift=0.1))
    ]
    with connect("a.db") as database:
        for atoms in frames:
            database.write(atoms, data={key: atoms.arrays[key] for key in ("magmom_in", "magmom_out")})
    with open("a.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({key: json.dumps(value) for key, value in row.items()} for row in rows)
    Path("a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = run(capsys, "ours.extxyz", "a.db", "a.csv", "a.jsonl", *FOREIGN)
    assert code == 0
    assert "8 frames; 2 new labels accepted; 6 were there already" in out
    first, second = stored()
    assert first.ordering == "AFM-II"  # recognised: the mapping names no key of it
    assert first.free_energy == -25.5
    assert first.source["citation"] == "doi:10.1/2"
    np.testing.assert_array_equal(second.forces, make_point().forces)


def test_refused_frames_are_reported_and_change_the_exit_code(capsys):
    write_points("bad.extxyz", [make_point(shift=0.2), make_point(shift=0.3, forces=np.full((4, 3), 2e3))])
    code, out, err = run(capsys, "ours.extxyz", "bad.extxyz", *FOREIGN, "--report", "deep/report.json", "--json")
    assert code == 1
    assert err == ""
    content = json.loads(out)
    assert content == json.loads(Path("deep/report.json").read_text())
    assert (content["frames"], content["in_store"], content["not_in_store"]) == (4, 3, 1)
    assert content["refused"]["implausible forces"]["count"] == 1
    code, out, _ = run(capsys, "ours.extxyz", "bad.extxyz", *FOREIGN)
    assert code == 1
    assert "bad.extxyz, frame 1: implausible forces" in " ".join(out.split())
    assert "3 were there already; 1 not taken in" in out


def test_a_wrong_mapping_is_corrected_with_a_reason(capsys):
    Path("wrong.yaml").write_text(yaml.safe_dump({**MAPPING, "stress_sign": "vasp"}))
    assert run(capsys, "ours.extxyz", *FOREIGN[:3], "wrong.yaml", *FOREIGN[4:])[0] == 0
    code, out, _ = run(capsys, "ours.extxyz", *FOREIGN)
    assert code == 1
    assert "--replace REASON" in out
    code, out, _ = run(capsys, "ours.extxyz", *FOREIGN, "--replace", "sign of stress", "--author", "Ada")
    assert code == 0
    assert "2 replaced" in out
    assert [point.source["replaced"][0]["author"] for point in stored()] == ["Ada", "Ada"]
    np.testing.assert_array_equal(stored()[0].stress, make_point().stress)


def test_doubtful_units_change_the_exit_code(capsys):
    shifts = np.linspace(-0.4, 0.4, 20)
    pull = np.outer([1, -1, 0, 0], [1, 0, 0])
    energies = [{"energy": 5 * s**2, "free_energy": 5 * s**2, "forces": -10 * s * pull} for s in shifts]
    write_points("sign.extxyz", [make_point(shift=s, **e) for s, e in zip(shifts, energies, strict=True)])
    code, out, _ = run(capsys, "sign.extxyz", *FOREIGN)
    assert code == 1
    assert "units or signs of energy, forces and stress do not fit each other" in out


def test_the_proposal_is_a_mapping_once_the_role_is_stated(capsys):
    code, out, _ = run(capsys, "ours.extxyz", "--show-keys")
    assert code == 0
    assert "exported here" in out
    atoms = ase.io.read("ours.extxyz")
    atoms.info = {"REF_energy": atoms.calc.results["energy"]}
    atoms.arrays["REF_forces"] = atoms.calc.results["forces"]
    atoms.calc = None
    ase.io.write("mace.extxyz", atoms)
    code, out, _ = run(capsys, "mace.extxyz", "--show-keys")
    proposal = out[out.index("# Proposal") :]
    assert "REF_forces  " in out
    Path("map.yaml").write_text(proposal)
    code, _, err = run(capsys, "mace.extxyz", *FOREIGN)
    assert code == 2
    assert "moment_role" in err
    Path("map.yaml").write_text(proposal.replace("moment_role:", "moment_role: guess"))
    code, _, err = run(capsys, "mace.extxyz", *FOREIGN)
    assert code == 0, err
    (shown,) = json.loads(run(capsys, "mace.extxyz", "--show-keys", "--json")[1])
    assert shown["mapping"]["energy"] == "REF_energy"
    assert shown["keys"]["REF_forces"]["holds"] == "numbers (4, 3)"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["ours.extxyz"], "--into"),
        (["ours.extxyz", "--into", "local:store", "--mapping", "map.yaml"], "hubbard_u: {Ni: 5.3}, ecut: 600"),
        (["ours.extxyz", "--into", "local:store", "--level", "level.yaml"], "data import --show-keys ours.extxyz"),
        (["foreign.extxyz", "--into", "local:store"], "foreign.extxyz was not exported here"),
        (["ours.extxyz", "--into", "local:store", "--campaign", "x"], "leave out --campaign"),
        (["ours.extxyz", "missing.extxyz", *FOREIGN], "missing.extxyz: no such file"),
        (["ours.extxyz", "--into", "nowhere"], "names no store"),
        (["ours.extxyz", *FOREIGN[:3], "wrong.yaml", *FOREIGN[4:]], "did you mean 'forces'"),
        (["ours.extxyz", *FOREIGN[:5], "poor.yaml"], "state kpts; write for example"),
        (["ours.extxyz", *FOREIGN, "--author", "Ada"], "say why with --replace"),
    ],
)
def test_bad_input_is_one_line_and_stores_nothing(capsys, arguments, part):
    ase.io.write("foreign.extxyz", ase.Atoms("NiO", cell=[3, 3, 3], pbc=True), format="extxyz")
    Path("wrong.yaml").write_text(yaml.safe_dump({**MAPPING, "force": "F"}))
    poor = {"level_of_theory": {key: value for key, value in LEVEL.items() if key != "kpts"}}
    Path("poor.yaml").write_text(yaml.safe_dump(poor))
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert part in err
    assert not Path("store").exists()


def test_killed_in_the_middle_and_run_again(capsys):
    number = 1500
    write_points("many.extxyz", (make_point(shift=2e-4 * i) for i in range(number)))
    arguments = ["data", "import", "many.extxyz", "--into", "local:store"]
    process = subprocess.Popen(command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while _count() < 300:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {point.point_id: point.source for point in stored()}
    assert 300 <= len(before) < number
    code, out, _ = run(capsys, "many.extxyz", "--into", "local:store", "--json")
    content = json.loads(out)
    assert code == 0
    assert (content["present"], content["accepted"]) == (len(before), number - len(before))
    after = {point.point_id: point.source for point in stored()}
    assert len(after) == number
    assert before.items() <= after.items()


def _count():
    try:
        with open_store("local:store", create=False) as store:
            return store.points.count()
    except DataError:  # not made yet
        return 0
