import pytest

from benchmarks.export import peak_memory, prepared, rates


def test_every_row_is_measured(tmp_path):
    pytest.importorskip("h5py")
    place = prepared(tmp_path, 12)
    lines = rates(place, 12, 1, mongo="")
    assert len(lines) == 10
    for line in lines:
        numbers = [float(cell.replace(",", "")) for cell in line.strip("| ").split(" | ")[1:]]
        assert len(numbers) == 5
        assert numbers[0] == numbers[1] == numbers[2] > 0  # one run
    assert lines[0].startswith("| `ase.io.write`")
    assert 20 < peak_memory(place, "snapshot") < 2000
