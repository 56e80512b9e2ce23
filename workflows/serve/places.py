"""Which stores are shown: those of campaign files, of campaign folders, of folders of either, and stores by URI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datastore.stores import FILE, mask
from workflows.campaign import CampaignError, CampaignOptions, load_campaign
from workflows.engines import Engine
from workflows.serve.errors import ServeError

SUFFIXES = (".yaml", ".yml")
FOLDERS = ("", "runs", "configs/campaigns")
"""Where campaigns are looked for, below a folder that is none itself."""


@dataclass(frozen=True)
class Campaign:
    """A campaign whose file is known."""

    options: CampaignOptions
    engine: Engine


@dataclass(frozen=True)
class Project:
    """One store, and the campaign files that name it."""

    key: str
    """Its name in addresses: letters, digits, ``-``, ``_`` and ``.``."""
    uri: str
    campaigns: tuple[Campaign, ...] = ()

    @property
    def shown_uri(self) -> str:
        """The URI without its password; of a local store below the working folder, the rest of the path."""
        path = Path(self.uri.removeprefix("local:"))
        if self.uri.startswith("local:") and path.is_relative_to(Path.cwd()):
            return f"local:{path.relative_to(Path.cwd())}"
        return mask(self.uri)

    @property
    def folder(self) -> Path | None:
        """Folder of the campaign that a local store belongs to; None for others."""
        path = Path(self.uri.removeprefix("local:"))
        return path.parent if self.uri.startswith("local:") and path.name == "store" else None

    def campaign(self, name: str) -> Campaign | None:
        """The campaign of that name, where its file is known."""
        return next((known for known in self.campaigns if known.options.name == name), None)


def find_projects(places: Sequence[str]) -> list[Project]:
    """What ``places`` (files, folders, URIs) name, each store once, with keys that differ.

    Raises ServeError where a place holds nothing to show, and CampaignError for a file that is no campaign.
    """
    found: dict[str, Project] = {}
    for place in places:
        for project in _of_place(place):
            known = found.get(project.uri)
            found[project.uri] = replace(known, campaigns=known.campaigns + project.campaigns) if known else project
    keys: list[str] = []
    for project in found.values():
        keys.append(_free(project.key, keys))
    return [replace(project, key=key) for key, project in zip(keys, found.values(), strict=True)]


def _of_place(place: str) -> list[Project]:
    path = Path(place)
    if place.endswith(SUFFIXES):
        return [_of_file(path)]
    if path.is_dir():
        projects = list(_of_folder(path))
        if not projects:
            raise ServeError(
                f"no campaign file, campaign folder or store in {place}; give one of these, or run a campaign first"
            )
        return projects
    if ":" not in place:
        raise ServeError(
            f"{place!r} is no file, folder or store; give a campaign's YAML file or folder, a folder of these, or a "
            "URI such as local:runs/NAME/store"
        )
    return [_of_uri(place)]


def _of_file(path: Path) -> Project:
    options, engine = load_campaign(path)
    return Project(_key(options.name), options.store, (Campaign(options, engine),))


def _of_folder(path: Path) -> Iterator[Project]:
    if (path / FILE).is_file() or (path / "store" / FILE).is_file():
        yield _of_store(path if (path / FILE).is_file() else path / "store")
        return
    for folder in (path / name for name in FOLDERS):
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if (entry / "store" / FILE).is_file():
                yield _of_store(entry / "store")
            elif entry.suffix in SUFFIXES:
                yield from _campaign_in(entry)


def _campaign_in(path: Path) -> Iterator[Project]:
    """The campaign of a file found beside others, if it is one: a folder holds files of models and engines, too."""
    try:
        yield _of_file(path)
    except CampaignError:
        return


def _of_store(path: Path) -> Project:
    path = path.resolve()
    return Project(_key(path.parent.name if path.name == "store" else path.name), f"local:{path}")


def _of_uri(uri: str) -> Project:
    if uri.startswith("local:"):
        return _of_store(Path(uri.removeprefix("local:")).expanduser())
    return Project(_key(mask(uri).partition("?")[0].rstrip("/").rpartition("/")[2]), uri)


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "store"


def _free(key: str, taken: Sequence[str]) -> str:
    number = 2
    free = key
    while free in taken:
        free, number = f"{key}-{number}", number + 1
    return free
