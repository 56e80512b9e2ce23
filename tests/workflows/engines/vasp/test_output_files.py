import bz2
import gzip
import lzma

import pytest

from workflows.engines.vasp.output_files import OutputError, newest_outputs, read_bytes, truly_named


def names(folder, *files: str) -> tuple[str | None, str | None]:
    for name in files:
        (folder / name).touch()
    vasprun, outcar = newest_outputs(folder)
    return vasprun.name if vasprun else None, outcar.name if outcar else None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["OUTCAR", "vasprun.xml"], ("vasprun.xml", "OUTCAR")),
        (["OUTCAR.gz", "vasprun.xml.bz2"], ("vasprun.xml.bz2", "OUTCAR.gz")),
        (["OUTCAR.xz", "vasprun.xml.lzma"], ("vasprun.xml.lzma", "OUTCAR.xz")),
        (["OUTCAR.orig", "vasprun.xml.orig", "inputs_INCAR", "OUTCAR.bak", "vasprun.txt"], (None, None)),
        (
            [f"{name}.relax{i}.gz" for i in (1, 2) for name in ("OUTCAR", "vasprun.xml")],
            ("vasprun.xml.relax2.gz", "OUTCAR.relax2.gz"),
        ),
        (["OUTCAR.relax1", "vasprun.relax1.xml"], ("vasprun.relax1.xml", "OUTCAR.relax1")),
        (
            ["OUTCAR.relax1", "vasprun.xml.relax1", "OUTCAR.static", "vasprun.xml.static"],
            ("vasprun.xml.static", "OUTCAR.static"),
        ),
        (["OUTCAR.relax1", "vasprun.xml.relax1", "OUTCAR"], (None, "OUTCAR")),
        (["OUTCAR", "OUTCAR.gz", "vasprun.xml.gz", "vasprun.xml"], ("vasprun.xml", "OUTCAR")),
    ],
)
def test_the_newest_step(tmp_path, files, expected):
    assert names(tmp_path, *files) == expected


def test_files_of_two_steps_are_not_paired(tmp_path):
    assert names(tmp_path, "OUTCAR.relax1", "vasprun.xml.relax1", "OUTCAR.relax2") == (None, "OUTCAR.relax2")


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "OUTCAR").touch()
    with pytest.raises(OutputError, match="name a folder"):
        newest_outputs(tmp_path / "OUTCAR")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
def test_compression_is_told_by_content_and_not_by_name(tmp_path, pack, suffix):
    path = tmp_path / f"vasprun.xml{suffix}"
    path.write_bytes(pack(b"<modeling>"))
    assert read_bytes(path) == b"<modeling>"
    assert read_bytes(path, 3) == b"<mo"
    with truly_named(path) as true:
        same = {bytes: "", gzip.compress: ".gz", bz2.compress: ".bz2", lzma.compress: ".xz"}[pack] == suffix
        assert (true == path) == same
        if not same:
            assert true.read_bytes() == b"<modeling>"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_a_cut_compressed_file(tmp_path, pack, keep):
    whole = pack(bytes(range(256)) * 50)
    path = tmp_path / "OUTCAR.gz"
    path.write_bytes(whole[: max(8, int(keep * len(whole)))])
    with pytest.raises(OutputError) as caught:
        read_bytes(path)
    assert caught.value.reason == "truncated"


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "OUTCAR.Z").write_bytes(b"\x1f\x9d\x90")
    with pytest.raises(OutputError, match="uncompress"):
        read_bytes(tmp_path / "OUTCAR.Z")
    with pytest.raises(OutputError) as caught:
        read_bytes(tmp_path / "absent")
    assert caught.value.reason == "unreadable"
