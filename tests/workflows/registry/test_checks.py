"""Damaged and foreign files are refused with one reason; a broken symmetry and an explosion are found."""

import pytest
import torch

from datastore.checksums import file_sha256
from datastore.schema import ModelFile
from spinmultinet import build_model, load_model
from spinmultinet.checkpoint import save_model
from spinmultinet.hypers import ModelOptions
from tests.support.registry import MODEL, example, flip_a_byte
from tests.support.registry import frames_of as labelled
from workflows.learning import PromoteOptions
from workflows.registry.checks import check_behaviour, load_members
from workflows.registry.errors import UnfitModelError

RULES = PromoteOptions(md_steps=5, structures=1)


@pytest.fixture
def place(tmp_path):
    return example(tmp_path / "nio")


def of_file(record, path):
    """The record as if this file had been on record from the beginning."""
    return record.model_copy(update={"files": [ModelFile(path=str(path), sha256=file_sha256(path))]})


def frames(place):
    from datastore.snapshot import load_snapshot

    return labelled(load_snapshot(place.folder / "snapshots" / place.good.snapshot_id), "test")


def test_a_sound_model_passes(place):
    paths, members = load_members(place.good, place.options.store)
    assert paths == [place.file("good")]
    findings = check_behaviour(members, frames(place), RULES)
    assert [(finding.name, finding.passed) for finding in findings] == [("symmetry", True), ("dynamics", True)]
    assert "meV/atom" in findings[1].text


def test_one_flipped_bit_is_found(place):
    flip_a_byte(place.file("good"))
    with pytest.raises(UnfitModelError, match=r"model\.pt is damaged: its SHA-256 is not the one on record"):
        load_members(place.good, place.options.store)


def test_a_file_that_is_gone_or_no_model(place, tmp_path):
    other = tmp_path / "other.pt"
    torch.save({"weights": torch.zeros(3)}, other)
    with pytest.raises(UnfitModelError, match="is no spinmultinet-model file"):
        load_members(of_file(place.good, other), place.options.store)
    other.write_text("hello")
    with pytest.raises(UnfitModelError, match="is corrupt or no SpinMultiNet file"):
        load_members(of_file(place.good, other), place.options.store)
    place.file("good").unlink()
    with pytest.raises(UnfitModelError, match="is gone, and no copy of it was kept"):
        load_members(place.good, place.options.store)
    with pytest.raises(UnfitModelError, match="has no files"):
        load_members(place.good.model_copy(update={"files": []}), place.options.store)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"level_id": "f" * 16}, "another level of theory"),
        ({"level_id": "unknown"}, "another level of theory (unknown"),
        ({"moment_role": "constraint"}, "another role of the input moments"),
        ({"snapshot_id": "else"}, "another training set"),
    ],
)
def test_a_foreign_model_is_refused_even_where_its_checksum_is_on_record(place, tmp_path, change, part):
    model = load_model(place.file("good"))
    model.metadata = {**model.metadata, **change}
    foreign = save_model(model, tmp_path / "foreign.pt")
    with pytest.raises(UnfitModelError) as error:
        load_members(of_file(place.good, foreign), place.options.store)
    assert part in str(error.value)
    assert "is not the model of this record" in str(error.value)


def test_other_species_and_weights_that_are_not_finite(place, tmp_path):
    known = load_model(place.file("good"))
    other = build_model(ModelOptions(**MODEL), ["Mn", "O"])
    other.metadata = dict(known.metadata)
    with pytest.raises(UnfitModelError, match=r"another species \(Mn, O, on record: Ni, O\)"):
        load_members(of_file(place.good, save_model(other, tmp_path / "mno.pt")), place.options.store)
    with torch.no_grad():
        next(known.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(UnfitModelError, match="weights that are not finite"):
        load_members(of_file(place.good, save_model(known, tmp_path / "nan.pt")), place.options.store)


def test_a_model_that_cannot_know_the_sign_breaks_time_reversal(place):
    blind = build_model(ModelOptions(**MODEL, time_reversal="invariant"), ["Ni", "O"])
    blind.metadata = dict(load_model(place.file("good")).metadata)
    (found,) = check_behaviour([blind.eval()], frames(place), RULES.model_copy(update={"md_steps": 0}))
    assert not found.passed
    assert "time reversal: moments differs by" in found.text


def test_a_force_without_bound_is_an_explosion(place):
    model = load_model(place.file("good"))
    strict = RULES.model_copy(update={"md_force": 1e-6})
    _, found = check_behaviour([model], frames(place), strict)
    assert not found.passed
    assert "a force reached" in found.text


def test_nothing_to_check_on_is_no_pass(place):
    (found,) = check_behaviour([load_model(place.file("good"))], [], RULES)
    assert not found.passed
