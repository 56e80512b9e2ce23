"""What a path stands for when a model is asked for."""

import pytest

from workflows.campaign import CampaignError
from workflows.model_files import checkpoints


def test_a_file_is_itself_and_folders_give_what_they_hold(tmp_path):
    single, committee = tmp_path / "single", tmp_path / "committee"
    for file in (single / "model.pt", committee / "member_1" / "model.pt", committee / "member_0" / "model.pt"):
        file.parent.mkdir(parents=True)
        file.touch()
    assert checkpoints(single / "model.pt") == checkpoints(single) == [single / "model.pt"]
    assert checkpoints(committee) == [committee / f"member_{k}" / "model.pt" for k in (0, 1)]


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(CampaignError, match="name a checkpoint"):
        checkpoints(tmp_path)
