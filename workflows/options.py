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
    """``cls(**content)``; the first few mistakes become one line each, with the nearest right key."""
    try:
        return cls.model_validate(content)
    except ValidationError as err:
        raise error("; ".join(_describe(cls, item, where) for item in err.errors()[:4])) from None


def _describe(cls: type[BaseModel], item: Any, where: str) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        known = sorted(_field_names(cls))
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{where}: unknown key {key!r}; {hint}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {key + ': ' if key else ''}{message}"


def _field_names(cls: type[BaseModel], depth: int = 4) -> set[str]:
    """Names of the fields of ``cls`` and of the option classes inside it."""
    names = set(cls.model_fields)
    if depth:
        for field in cls.model_fields.values():
            for inner in _models_in(field.annotation):
                names |= _field_names(inner, depth - 1)
    return names


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in getattr(annotation, "__args__", ()) for model in _models_in(arg)]
