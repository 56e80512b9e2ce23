"""The checkpoints that a path or a campaign stands for."""

from __future__ import annotations

from pathlib import Path

from workflows.campaign import CampaignError


def checkpoints(model: Path) -> list[Path]:
    """Checkpoint files that a path stands for: itself, a training's or a committee's, or a campaign's model in use.

    Raises CampaignError (or DataError) where a folder has none; whether a file is one is for its reader to say.
    """
    if model.suffix in (".yaml", ".yml"):
        from workflows.campaign import load_campaign

        options, _ = load_campaign(model)
        return _champion(options.store, options.name)
    if not model.is_dir():
        return [model]
    found = [model / "model.pt"] if (model / "model.pt").exists() else sorted(model.glob("member_*/model.pt"))
    if found:
        return found
    if (model / "store").is_dir():
        return _champion(f"local:{model.resolve() / 'store'}")
    raise CampaignError(
        f"{model} holds no model.pt, no member_*/model.pt and no store of a campaign; name a checkpoint"
    )


def _champion(store: str, campaign: str | None = None) -> list[Path]:
    from datastore import open_store
    from workflows.results import champion_files

    with open_store(store, create=False) as opened:
        return champion_files(opened, campaign)
