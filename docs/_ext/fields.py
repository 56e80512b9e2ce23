"""Directive ``{fields} module.Class``: name, type, default and explanation of the fields of a pydantic class.

The tables of the reference are made of the classes at each build, so that they cannot differ from the code.
"""

from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from docutils import nodes
from docutils.statemachine import StringList
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from workflows.cli.option_tables import default_of, meaning_of

HEAD = "| name | type | default | |\n| --- | --- | --- | --- |\n"
HIDDEN = ("content",)
"""Fields that the program fills in by itself."""


class Fields(SphinxDirective):
    """The table of one class; ``:own:`` leaves out those of its bases."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"own": lambda _: True}

    def run(self) -> list[nodes.Node]:
        """Nodes of the table."""
        module, _, name = self.arguments[0].rpartition(".")
        kind = getattr(import_module(module), name)
        self.env.note_dependency(import_module(kind.__module__).__file__)
        text = StringList(field_table(kind, own="own" in self.options).splitlines(), source=self.arguments[0])
        found = nodes.container()
        nested_parse_with_titles(self.state, text, found)
        return found.children


def field_table(kind: type[BaseModel], own: bool = False) -> str:
    """Markdown table of the fields of ``kind``; ``own``: without those of its bases."""
    names = set(kind.__annotations__) if own else set(kind.model_fields)
    rows = [
        f"| `{name}` | {type_name(field)} | {default_of(field)} | {meaning_of(field)} |\n"
        for name, field in kind.model_fields.items()
        if name in names and name not in HIDDEN
    ]
    return "".join([HEAD, *rows])


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
        return f"{_name(inner[0])}: {_name(inner[1])}"
    return {str: "text", float: "number", int: "integer", bool: "yes/no", Any: "any"}.get(kind, kind.__name__)


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("fields", Fields)
    return {"parallel_read_safe": True}
