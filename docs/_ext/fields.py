"""Directive ``{fields} module.Class``: name, type, default and explanation of the fields of a pydantic class.

The tables of the reference are made of the classes at each build, so that they cannot differ from the code.
"""

import inspect
from collections.abc import Iterable
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from docutils import nodes
from docutils.statemachine import StringList
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.util.docutils import SphinxDirective

from datastore.stores import COLLECTIONS
from workflows.cli.option_tables import default_of, meaning_of

HEAD = "| name | type | default | |\n| --- | --- | --- | --- |\n"
TARGET = "fields-"
"""Begins the label of a class, so that types lead to the table of their class; one without a table is a warning."""
HIDDEN = ("content",)
"""Fields that the program fills in by itself."""


class Fields(SphinxDirective):
    """What a class is for, and the table of its fields; ``:own:`` leaves out the fields of its bases."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"own": lambda _: True}

    def run(self) -> list[nodes.Node]:
        """Nodes of the first paragraph of the docstring and of the table."""
        module, _, name = self.arguments[0].rpartition(".")
        kind = getattr(import_module(module), name)
        self.env.note_dependency(inspect.getsourcefile(kind))
        purpose = f"({TARGET}{name})=\n{inspect.getdoc(kind).split(chr(10) * 2)[0]}\n\n"
        text = StringList((purpose + field_table(kind, "own" in self.options)).splitlines(), source=self.arguments[0])
        found = nodes.container()
        self.state.nested_parse(text, self.content_offset, found)
        return found.children


class Collections(SphinxDirective):
    """The collections of a store: what identifies a document, and what queries are fast on."""

    def run(self) -> list[nodes.Node]:
        """Nodes of the table."""
        rows = [f"| `{name}` | `{key}` | {_code(fast)} |" for name, (key, fast) in COLLECTIONS.items()]
        text = StringList(["| collection | key | indexes |", "| --- | --- | --- |", *rows], source="COLLECTIONS")
        found = nodes.container()
        self.state.nested_parse(text, self.content_offset, found)
        return found.children


def _code(indexes: Iterable[str | tuple[str, ...]]) -> str:
    """Indexes; of several fields with a plus between them."""
    fields = ((index,) if isinstance(index, str) else index for index in indexes)
    return ", ".join(" + ".join(f"`{name}`" for name in names) for names in fields)


def field_table(kind: type[BaseModel], own: bool = False) -> str:
    """Markdown table of the fields of ``kind``; ``own``: without those of its bases."""
    names = set(kind.__annotations__) if own else set(kind.model_fields)
    rows = [
        f"| `{name}` | {type_name(field)} | {_default(field)} | {meaning_of(field)} |\n"
        for name, field in kind.model_fields.items()
        if name in names and name not in HIDDEN
    ]
    return "".join([HEAD, *rows])


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    return "its defaults" if isinstance(value, BaseModel) else default_of(field)


def type_name(field: FieldInfo) -> str:
    """The type of a field in words of a YAML file."""
    return _name(field.annotation).replace("|", "\\|")


def _name(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _name(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_name(part) for part in inner if part is not NoneType)
    if origin in (list, tuple, set, frozenset):
        return f"list of {_name(inner[0])}"
    if origin is dict:
        return f"mapping of {_name(inner[0])} to {_name(inner[1])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#{TARGET}{kind.__name__})"
    return {str: "text", float: "number", int: "integer", bool: "yes/no", Any: "any"}.get(kind, kind.__name__)


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("fields", Fields)
    app.add_directive("collections", Collections)
    return {"parallel_read_safe": True}
