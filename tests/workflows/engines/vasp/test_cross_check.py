"""Every number that both files state: changed in one of them, the folder is refused."""

import re
import shutil

import pytest

from workflows.engines.vasp.outputs import OutputError, read_run

NUMBERS = {
    # what: (file, pattern whose first group is replaced in its last match, by)
    "free energy": ("OUTCAR", r"free  energy   TOTEN  = +(\S+) eV", "-62.62400821"),
    "free energy in vasprun.xml": ("vasprun.xml", r'name="e_fr_energy"> *(\S+) <', "-62.62400821"),
    "E0": ("OUTCAR", r"energy\(sigma->0\) = +(\S+)", "-62.62100821"),
    "E0 in vasprun.xml": ("vasprun.xml", r'name="e_0_energy"> *(\S+) <(?=[\s\S]*</scstep>)', "-62.62100821"),
    "force": ("vasprun.xml", r'name="forces" *>\s*<v> *(\S+) ', "0.12345678"),
    "force in OUTCAR": ("OUTCAR", r"TOTAL-FORCE.*\n.*\n +\S+ +\S+ +\S+ +(\S+)", "0.123456"),
    "stress": ("vasprun.xml", r'name="stress" *>\s*<v> *(\S+) ', "1.23456789"),
    "stress in OUTCAR": ("OUTCAR", r"\n  in kB +(\S+)", "1.23456"),
    "lattice": ("vasprun.xml", r'name="basis" *>\s*<v> *(\S+) (?=[\s\S]*name="forces")', "4.30100000"),
    "position": ("vasprun.xml", r'name="positions" *>\s*<v> *(\S+) (?=[\s\S]*name="forces")', "0.12345678"),
    "position in OUTCAR": ("OUTCAR", r"TOTAL-FORCE.*\n.*\n +(\S+)", "0.12345"),
    "electrons": ("OUTCAR", r"NELECT = +(\S+) +total number", "81.0000"),
    "version": ("vasprun.xml", r'name="version" type="string">(\S+) *<', "6.3.2"),
    "POTCAR": ("vasprun.xml", r"<c> *PAW_PBE (\S+) \S+ *</c>", "Mn"),
    "ions": ("OUTCAR", r"ions per type = +(\d+) ", "2"),
    "U of a block": ("OUTCAR", r"for each species LDAUU = +\S+ +(\S+)", "0.0"),
}


def change(folder, name: str, pattern: str, new: str) -> None:
    text = (folder / name).read_text()
    match = list(re.finditer(pattern, text))[-1]
    assert match[1] != new
    (folder / name).write_text(text[: match.start(1)] + new + text[match.end(1) :])


def refused(folder) -> str:
    with pytest.raises(OutputError) as caught:
        read_run(folder)
    return caught.value.reason


@pytest.mark.parametrize("what", NUMBERS)
@pytest.mark.parametrize("run", ["static", "version_5"])
def test_a_number_that_differs(finished, tmp_path, what, run):
    name, pattern, new = NUMBERS[what]
    shutil.copytree(finished(run), tmp_path / "run")
    change(tmp_path / "run", name, pattern, new)
    assert refused(tmp_path / "run") in ("foreign", "inconsistent")


@pytest.mark.parametrize("what", ["free energy", "E0", "force in OUTCAR", "stress in OUTCAR", "force", "stress"])
@pytest.mark.parametrize("new", ["**********", "NaN"])
def test_overflow(finished, tmp_path, what, new):
    name, pattern, _ = NUMBERS[what]
    shutil.copytree(finished("static"), tmp_path / "run")
    change(tmp_path / "run", name, pattern, new)
    assert refused(tmp_path / "run") == "overflow"


@pytest.mark.parametrize("file", ["OUTCAR", "vasprun.xml"])
def test_a_lost_electronic_step(finished, tmp_path, file):
    shutil.copytree(finished("static"), tmp_path / "run")
    text = (tmp_path / "run" / file).read_text()
    pattern = r"-+ Iteration +1\( +3\).*\n" if file == "OUTCAR" else r"(?s)<scstep>.*?</scstep>"
    text, n = re.subn(pattern, "", text, count=1)
    assert n == 1
    (tmp_path / "run" / file).write_text(text)
    assert refused(tmp_path / "run") == "inconsistent"


def test_the_image_of_a_site_does_not_matter(finished, tmp_path):
    """OUTCAR keeps sites where they are, vasprun.xml wraps them into the cell."""
    shutil.copytree(finished("static"), tmp_path / "run")
    text = (tmp_path / "run" / "OUTCAR").read_text()
    row = re.search(r"TOTAL-FORCE.*\n.*\n( +\S+)", text)
    moved = f"{float(row[1]) - 4.3:13.5f}"
    (tmp_path / "run" / "OUTCAR").write_text(text[: row.start(1)] + moved + text[row.end(1) :])
    assert read_run(tmp_path / "run").energy == read_run(finished("static")).energy


def test_files_opened_within_seconds_are_of_one_run(finished, tmp_path):
    shutil.copytree(finished("static"), tmp_path / "run")
    change(tmp_path / "run", "OUTCAR", r"date \d{4}\.\d\d\.\d\d +(\S+)", "12:00:09")
    change(tmp_path / "run", "vasprun.xml", r'name="time"[^>]*>\s*(\S+) *<', "12:00:01")
    assert read_run(tmp_path / "run")
    change(tmp_path / "run", "vasprun.xml", r'name="time"[^>]*>\s*(\S+) *<', "11:59:01")
    assert refused(tmp_path / "run") == "foreign"


@pytest.mark.parametrize("date", ["2026.99.01", "2026.02.31"])
def test_a_start_that_no_calendar_has_is_none(finished, tmp_path, date):
    shutil.copytree(finished("static"), tmp_path / "run")
    change(tmp_path / "run", "OUTCAR", r"date (\d{4}\.\d\d\.\d\d)", date)
    assert read_run(tmp_path / "run").energy == read_run(finished("static")).energy
