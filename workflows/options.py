"""Read a YAML file and parse it into pydantic options with errors a person can mend."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Options = TypeVar("Options", bound=BaseModel)


def load_yaml(path: Path, error: type[Exception]) -> dict[str, Any]:
    """Mapping in a YAML file; a missing, broken or empty file raises ``error`` with one line."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as err:
        raise error(f"{path}: cannot be read ({err.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        where = getattr(err, "problem_mark", None)
        line = f" line {where.line + 1}" if where else ""
        raise error(f"{path}:{line} is not valid YAML: {getattr(err, 'problem', err)}") from None
    if not isinstance(content, dict):
        raise error(f"{path}: expected 'key: value' lines, found {type(content).__name__}")
    return content


def parse_options(cls: type[Options], content: dict[str, Any], where: str, error: type[Exception]) -> Options:
    """``cls(**content)``; the first few mistakes become one line each, with the nearest right key or its place."""
    try:
        return cls.model_validate(content)
    except ValidationError as err:
        raise error("; ".join(_describe(cls, item, where) for item in err.errors()[:4])) from None


def _describe(cls: type[BaseModel], item: Any, where: str) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}; {_hint(cls, path)}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {key + ': ' if key else ''}{message}"


def _hint(cls: type[BaseModel], path: list[str]) -> str:
    """What to write instead of the unknown key at the end of ``path``: a name of its level, or the right place."""
    name = path[-1]
    known = sorted({field for model in _models_at(cls, path[:-1]) for field in model.model_fields})
    places = _places(cls)
    if near := difflib.get_close_matches(name, known, n=1, cutoff=0.75):
        return f"did you mean {near[0]!r}?"
    if name in places:
        ordered = sorted(places[name], key=lambda place: (place.count(".") if place else -1, place))
        return "it belongs " + " or ".join(f"under {place}" if place else "at the top level" for place in ordered)
    if near := difflib.get_close_matches(name, known, n=1, cutoff=0.5):
        return f"did you mean {near[0]!r}?"
    return f"known keys: {', '.join(known)}"


def _models_at(cls: type[BaseModel], path: list[str]) -> list[type[BaseModel]]:
    """Option classes that a position in the file may belong to; numbers of list items do not lead further down."""
    models = [cls]
    for part in path:
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        models = [inner for field in fields for inner in _models_in(field.annotation)] or models
    return models


def _places(cls: type[BaseModel], prefix: str = "", depth: int = 4) -> dict[str, list[str]]:
    """Name of a field -> the dotted keys it may stand under; '' is the top level."""
    found: dict[str, list[str]] = {}
    for name, field in cls.model_fields.items():
        found.setdefault(name, []).append(prefix)
        for inner in _models_in(field.annotation) if depth else []:
            for key, places in _places(inner, f"{prefix}.{name}".strip("."), depth - 1).items():
                found.setdefault(key, []).extend(places)
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in getattr(annotation, "__args__", ()) for model in _models_in(arg)]
