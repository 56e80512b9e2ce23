"""The checkpoints that a path or a campaign stands for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spinmultinet import keys
from workflows.campaign import CampaignError

if TYPE_CHECKING:
    from spinmultinet.committee import Committee


@dataclass(frozen=True)
class Chosen:
    """Checkpoints, and the model_id where they are a campaign's model in use (empty otherwise)."""

    paths: list[Path]
    model_id: str = ""


def checkpoints(model: Path) -> list[Path]:
    """Checkpoint files that a path stands for; see :func:`chosen`."""
    return chosen(model).paths


def made_by(models: Iterable[Path], committee: Committee) -> dict[str, str]:
    """What a prediction says of the model that made it.

    ``model_sha256``: of the members' files, sorted, parted by commas; ``model_id`` where ``models`` is a campaign's
    model in use.
    """
    ids = [found for model in models if (found := chosen(model).model_id)]
    return ({"model_id": ",".join(ids)} if ids else {}) | {keys.MODEL_SHA256: ",".join(committee.identity)}


def chosen(model: Path) -> Chosen:
    """What a path stands for: itself, a training's or a committee's checkpoints, or a campaign's model in use.

    Raises CampaignError (or DataError) where a folder has none; whether a file is one is for its reader to say.
    """
    if model.suffix in (".yaml", ".yml"):
        from workflows.campaign import load_campaign

        options, _ = load_campaign(model)
        return _champion(options.store, options.name)
    if not model.is_dir():
        return Chosen([model])
    found = [model / "model.pt"] if (model / "model.pt").exists() else sorted(model.glob("member_*/model.pt"))
    if found:
        return Chosen(found)
    if (model / "store").is_dir():
        return _champion(f"local:{model.resolve() / 'store'}")
    raise CampaignError(
        f"{model} holds no model.pt, no member_*/model.pt and no store of a campaign; name a checkpoint"
    )


def _champion(store: str, campaign: str | None = None) -> Chosen:
    from datastore import open_store
    from workflows.results import champion_files, champion_of

    with open_store(store, create=False) as opened:
        paths = champion_files(opened, campaign)
        record = champion_of(opened, campaign)
    return Chosen(paths, "" if record is None else record.model_id)
