import numpy as np

from datastore.converters import ImportLevel, foreign
from datastore.exports import deepmd
from datastore.exports.labels import Labelled
from datastore.frames import read_frames
from datastore.mapping import ImportMapping
from tests.datastore.support import make_point


def test_arrays_that_deepmd_kit_reads(tmp_path):
    vectors = np.arange(12.0).reshape(4, 3)
    constrained = make_point(
        magmoms_in=vectors, magmoms_out=vectors, magnetic_forces=vectors / 7, species=["O", "O", "Ni", "Ni"]
    )
    assert deepmd.write(tmp_path / "s", [Labelled(make_point()), Labelled(constrained)]) == 2
    one, two = tmp_path / "s" / "NiO-4", tmp_path / "s" / "NiO-4_1"
    assert (one / "type_map.raw").read_text().split() == (two / "type_map.raw").read_text().split() == ["Ni", "O"]
    assert (one / "type.raw").read_text().split() == ["0", "0", "1", "1"]
    assert (two / "type.raw").read_text().split() == ["1", "1", "0", "0"]
    found = {path.stem: np.load(path, allow_pickle=False) for path in (one / "set.000").glob("*.npy")}
    assert {name: values.shape for name, values in found.items()} == {
        **dict.fromkeys(("coord", "force", "spin", "magmom_in"), (1, 12)),
        **dict.fromkeys(("box", "virial"), (1, 9)),
        "energy": (1,),
    }
    assert found["energy"][0] == -25.5
    assert found["spin"].reshape(4, 3).tolist() == [[0, 0, m] for m in make_point().magmoms_out]
    volume = abs(np.linalg.det(make_point().lattice))
    assert np.allclose(found["virial"].reshape(3, 3), -volume * make_point().stress, rtol=1e-15)
    assert np.load(two / "set.000" / "force_mag.npy").tolist() == [(vectors / 7).ravel().tolist()]


def test_bounded_memory_makes_more_sets(tmp_path, monkeypatch):
    monkeypatch.setattr(deepmd, "IN_MEMORY", 3)
    labels = [Labelled(make_point(shift=0.01 * k, magnetic_forces=None if k else np.ones(4))) for k in range(8)]
    assert deepmd.write(tmp_path / "s", labels) == 8
    assert sorted(path.name for path in (tmp_path / "s").glob("*/set.*")) == ["set.000", "set.001", "set.002"]
    assert not (tmp_path / "s" / "NiO-4" / "set.000" / "force_mag.npy").exists()  # not all of the set have one
    found = [frame.document["magnetic_forces"] for frame in read_frames(tmp_path / "s")]
    assert found == [[1.0] * 4] + [None] * 7


def test_systems_of_others_need_a_mapping(tmp_path):
    deepmd.write(tmp_path / "s", [Labelled(make_point())])
    for name in ("labels.jsonl", "magmom_in.npy"):
        (tmp_path / "s" / "NiO-4" / "set.000" / name).unlink()
    (frame,) = read_frames(tmp_path / "s")
    keys = {"energy": "energy", "forces": "force", "virial": "virial", "magmoms_in": "spin", "magmoms_out": "spin"}
    theory = {"code": "ABACUS", "functional": "PBE", "hubbard_u": {}, "ecut": 1, "kpts": 1}
    convert = foreign(ImportMapping(**keys, moment_role="constraint"), ImportLevel(level_of_theory=theory))
    point = convert(frame, "here")
    assert point.magmoms_out[:, 2].tolist() == make_point().magmoms_out.tolist()
    assert np.allclose(point.stress, make_point().stress, atol=1e-15)
    assert point.free_energy == -25.5
