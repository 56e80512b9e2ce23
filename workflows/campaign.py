"""A campaign in one YAML file: what to calculate, how, what to train on it, and when to ask for more."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datastore.splits import SplitOptions
from datastore.uris import has_secret
from workflows.contradictions import contradictions, misread
from workflows.engines import Engine, get_engine
from workflows.learning import ActiveLearningOptions
from workflows.options import load_yaml, parse_options
from workflows.policy.starts import Sign
from workflows.structures.errors import StructureError
from workflows.structures.files import read_candidates
from workflows.structures.generate import StructureOptions
from workflows.structures.parents import parent_elements, with_content
from workflows.structures.starts import STARTS

SECRET = (
    "the store's URI holds a password, which goes into stored jobs and flows; put the URI into an environment variable "
    "(export SPIN_STORE='mongodb://...') and write store: env:SPIN_STORE"
)
METALS_3D = frozenset({"Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn"})


class PasswordWarning(UserWarning):
    """A campaign file that holds a password."""


class CampaignError(ValueError):
    """A campaign file that cannot be run; the message names the remedy."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StartOptions(_Options):
    """Labels that look metastable are started again from other initial moments; the lowest result is the label."""

    count: int = Field(default=2, ge=1, le=len(STARTS), description=f"further starts of a label: {', '.join(STARTS)}")
    when: list[Sign] = Field(
        default=["committee", "neighbours", "spin-state"],
        min_length=1,
        description="what makes a label suspect: the committee of the round before predicts a lower energy, it lies "
        "above the energy surface of its neighbours, a site ended in another spin state, or always",
    )
    energy: float = Field(default=0.005, ge=0, description="eV/atom that it must lie above prediction or surface")
    spreads: float = Field(default=3.0, ge=0, description="of the committee that it must lie above the prediction")
    limit: int | None = Field(default=None, ge=1, description="labels started again per round, the highest; none: all")


class CampaignOptions(_Options):
    """Everything a campaign is.

    ``folder`` and ``store`` are relative to the folder the command runs in; the YAML files named here are looked for
    there and then beside the campaign file and in the folders above it.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="also the name of its folder")
    folder: str = Field("", description="where its files go; default runs/NAME")
    store: str = Field(
        "", description="local:PATH, mongodb://..., or env:NAME of a variable with one; default local:FOLDER/store"
    )
    models: str = Field(
        "",
        description="where checkpoints are kept: folder:PATH, gridfs: (in the store's MongoDB) or s3://BUCKET/PREFIX; "
        "'' where training wrote them",
    )
    engine: dict[str, Any] | str = Field(description="engine settings with 'type', or a YAML file of them")
    structures: StructureOptions
    split: SplitOptions = Field(SplitOptions(min_test=6), description="pairs of equal geometry stay together")
    model: str = Field("configs/models/tiny.yaml", description="YAML file with model and training options")
    baseline: str = Field("configs/models/nospin_tiny.yaml", description="the same model without spin; '' for none")
    committee: int = Field(default=3, ge=1, description="members, each from its own seed")
    seed: int = 0
    active_learning: ActiveLearningOptions = ActiveLearningOptions()
    starts: StartOptions | None = Field(None, description="further starts of labels that look metastable; none: off")
    chunk: int = Field(
        default=500,
        ge=1,
        le=2000,
        description="labels that are added to the flow at a time; decides memory, not results",
    )

    @field_validator("name")
    @classmethod
    def _not_dotted(cls, name: str) -> str:
        if ".." in name:
            raise ValueError("must not contain '..'")
        return name

    @field_validator("store")
    @classmethod
    def _shared(cls, store: str) -> str:
        if store.startswith("memory:"):
            raise ValueError("memory: is seen by one process only and gone at its end; use local:FOLDER or mongodb://")
        return store

    @field_validator("models")
    @classmethod
    def _place(cls, models: str) -> str:
        if models and not models.startswith(("folder:", "gridfs:", "s3://")):
            raise ValueError(f"{models!r} is no place for models; write folder:PATH, gridfs: or s3://BUCKET/PREFIX")
        path = models.removeprefix("folder:")
        return f"folder:{Path(path).expanduser().resolve()}" if models.startswith("folder:") and path else models

    @model_validator(mode="before")
    @classmethod
    def _fill_paths(cls, data: Any) -> Any:
        # Absolute, because each job runs in a folder of its own.
        if isinstance(data, dict) and isinstance(data.get("name"), str):
            folder = Path(data.get("folder") or f"runs/{data['name']}").expanduser().resolve()
            store = str(data.get("store") or f"local:{folder}/store")
            if store.startswith("local:") and len(store) > len("local:"):
                store = f"local:{Path(store.removeprefix('local:')).expanduser().resolve()}"
            return {**data, "folder": str(folder), "store": store}
        return data


def load_campaign(path: Path, engine: str | None = None) -> tuple[CampaignOptions, Engine]:
    """Options and engine of a campaign file; ``engine`` (type or YAML file) replaces the file's.

    Another level of theory gives another campaign, with a name and a folder of its own, so that files, models and
    reports never mix with those of the first. Of an engine's default POTCARs, those of
    the campaign's elements are taken.
    """
    content = load_yaml(path, CampaignError)
    _refuse(misread(content), path)
    defaults = {name: CampaignOptions.model_fields[name].default for name in ("model", "baseline")}
    for key in ("engine", "model", "baseline"):
        value = content.get(key, defaults.get(key))
        if isinstance(value, str) and value.endswith((".yaml", ".yml")):
            content[key] = str(_find(value, path, key))
    _find_structure_files(content, path)
    _find_candidate_files(content, path)
    own = content.get("engine")
    if engine is not None:
        content["engine"] = _settings(get_engine(engine))
    options = _parsed(content, path)
    if has_secret(options.store):
        warnings.warn(f"{path}: {SECRET}", PasswordWarning, stacklevel=2)
    _refuse(contradictions(options.active_learning, options.structures, options.committee), path)
    chosen = _of_elements(get_engine(options.engine), _elements(options))
    if engine is not None and isinstance(own, dict | str):
        first = _of_elements(get_engine(own), _elements(options))
        options = _parsed(_renamed(content, first, chosen), path)
    _check_hubbard(options, chosen, path, own=engine is None)
    _check_potcars(options, chosen, path)
    if chosen != get_engine(options.engine):
        options = options.model_copy(update={"engine": _settings(chosen)})
    return options, chosen


def _parsed(content: dict[str, Any], path: Path) -> CampaignOptions:
    return _with_structure_files(parse_options(CampaignOptions, content, str(path), CampaignError), path)


def _refuse(found: Iterable[str], path: Path) -> None:
    """CampaignError with what was ``found``, if anything was."""
    if text := "; ".join(found):
        raise CampaignError(f"{path}: {text}")


def _settings(engine: Engine) -> dict[str, Any]:
    return {**engine.model_dump(mode="json", exclude_unset=True), "type": engine.type}


def _of_elements(engine: Engine, present: set[str]) -> Engine:
    """``engine`` with POTCARs of the elements ``present`` only, where it states none but has the table of defaults.

    Its level of theory then speaks of these elements, and no other POTCAR has to be there.
    """
    known: dict[str, str] | None = getattr(engine, "potcars", None)
    if known is None or "potcars" in engine.model_fields_set:
        return engine
    own = {element: name for element, name in known.items() if element in present}
    settings = _settings(engine)
    hashes = {element: value for element, value in settings.get("potcar_hashes", {}).items() if element in own}
    return get_engine({**settings, "potcars": own, "potcar_hashes": hashes})


def _renamed(content: dict[str, Any], first: Engine, engine: Engine) -> dict[str, Any]:
    """The campaign under another name where the labels of ``engine`` are others than those of its ``first`` one.

    A level of theory is asked for only where it decides: it holds hashes of POTCARs, which a preview may lack.
    """
    if first == engine or (first.type == engine.type and first.level_id() == engine.level_id()):
        return content
    suffix = engine.type if engine.type != first.type else f"{engine.type}-{engine.level_id()[:6]}"
    folder = f"{content['folder']}-{suffix}" if content.get("folder") else ""
    return {**content, "name": f"{content.get('name', '')}-{suffix}", "folder": folder}


def _find(name: str, campaign: Path, key: str) -> Path:
    """The file ``name`` in the working folder, or beside ``campaign``, or in a folder above it."""
    folders = [Path.cwd(), *campaign.resolve().parents]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise CampaignError(f"{campaign}: {key}: no file {name} here, beside the campaign file or above it")


def _find_structure_files(content: dict[str, Any], path: Path) -> None:
    """Make the structure files of parents absolute; mistakes in the form of ``content`` are for the parser."""
    structures = content.get("structures")
    parents = structures.get("parents") if isinstance(structures, dict) else None
    for number, parent in enumerate(parents if isinstance(parents, list) else []):
        if isinstance(parent, dict) and isinstance(parent.get("file"), str):
            parent["file"] = str(_find(parent["file"], path, f"structures.parents.{number}.file").resolve())


def _find_candidate_files(content: dict[str, Any], path: Path) -> None:
    """The same for files of candidates."""
    learning = content.get("active_learning")
    explore = learning.get("explore") if isinstance(learning, dict) else None
    files = explore.get("files") if isinstance(explore, dict) else None
    if isinstance(explore, dict) and isinstance(files, list) and all(isinstance(file, str) for file in files):
        explore["files"] = [str(_find(file, path, "active_learning.explore.files").resolve()) for file in files]


def _with_structure_files(options: CampaignOptions, path: Path) -> CampaignOptions:
    """``options`` with what the structure files hold: a later edit must not change a campaign that runs."""
    parents = []
    for number, parent in enumerate(options.structures.parents):
        try:
            parents.append(with_content(parent))
        except StructureError as error:
            raise CampaignError(f"{path}: structures.parents.{number}: {error}") from None
    found = options.model_copy(update={"structures": options.structures.model_copy(update={"parents": parents})})
    return _with_candidate_files(found, path)


def _with_candidate_files(options: CampaignOptions, path: Path) -> CampaignOptions:
    learning, explore = options.active_learning, options.active_learning.explore
    if not explore.files or explore.content:
        return options
    try:
        content = read_candidates([Path(file) for file in explore.files], _elements(options))
    except StructureError as error:
        raise CampaignError(f"{path}: active_learning.explore.files: {error}") from None
    explore = explore.model_copy(update={"content": content})
    return options.model_copy(update={"active_learning": learning.model_copy(update={"explore": explore})})


def _check_hubbard(options: CampaignOptions, engine: Engine, path: Path, own: bool) -> None:
    """Every 3d metal needs a U where the engine has any, or its labels would silently be without one.

    A U that the campaign's ``own`` settings state for an element it does not contain is a mistake; a default is not.
    """
    known = getattr(engine, "hubbard_u", None)
    if known is None:
        return
    present = _elements(options)
    missing = sorted((present & METALS_3D) - set(known))
    if missing:
        raise CampaignError(
            f"{path}: engine {engine.type} has no U for {', '.join(missing)}; add it to engine.hubbard_u (eV, 0 for "
            f"none), beside those it has: {{{', '.join(f'{symbol}: {u:g}' for symbol, u in sorted(known.items()))}}}"
        )
    stated = options.engine.get("hubbard_u", {}) if own and isinstance(options.engine, dict) else {}
    absent = sorted(set(stated) - present)
    if absent:
        raise CampaignError(
            f"{path}: engine.hubbard_u names {', '.join(absent)}, which no parent contains "
            f"({', '.join(sorted(present))}); remove it or add the element to structures.parents"
        )


def _check_potcars(options: CampaignOptions, engine: Engine, path: Path) -> None:
    """Where an engine names its POTCARs, every element needs one; else each of its labels would be refused."""
    known = getattr(engine, "potcars", None)
    missing = sorted(_elements(options) - set(known)) if known is not None else []
    if known is not None and missing:
        raise CampaignError(
            f"{path}: engine {engine.type} has no POTCAR named for {', '.join(missing)}; add it to engine.potcars, "
            f"beside those it has: {{{', '.join(f'{symbol}: {name}' for symbol, name in sorted(known.items()))}}}"
        )


def _elements(options: CampaignOptions) -> set[str]:
    return {"O"}.union(*(parent_elements(parent) for parent in options.structures.parents))
