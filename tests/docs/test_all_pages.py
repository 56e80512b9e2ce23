"""Every page: its commands are understood, its YAML is valid for the class it is meant for, its Python compiles."""

import re
import shlex

import pytest
import typer
import yaml
from pydantic import BaseModel, TypeAdapter

from datastore.converters import ImportLevel
from datastore.mapping import ImportMapping
from spinmultinet.hypers import ModelOptions, TrainOptions
from tests.support.pages import (
    COMMAND,
    FENCE,
    PAGES,
    ROOT,
    arguments_of,
    blocks,
    command_lines,
    name_of,
    parse,
    root_command,
)
from workflows.campaign import CampaignOptions
from workflows.engines import get_engine
from workflows.remote.routing import RemoteOptions

SPAN = re.compile(r"`(?:\S*/bin/)?spinmultinet ([^`\n]+)`")
JF = re.compile(r"(?:^ *|`)jf (-p [^`\n]+)", re.MULTILINE)


def pages_with(find):
    """A test per page on which ``find`` finds something, with what it found."""
    found = [(page, find(page.read_text())) for page in PAGES]
    return pytest.mark.parametrize("shown", [pytest.param(shown, id=name_of(page)) for page, shown in found if shown])


def complete_lines(text):
    """Command lines without placeholders for options."""
    return [line for line in command_lines(text) if "[-" not in line]


def spans(text):
    """Commands in the text, and lines such as ``spinmultinet run CAMPAIGN [--json]``, without their brackets."""
    synopses = [line for line in command_lines(text) if "[-" in line]
    bare = [re.sub(r"[\[\]]", "", COMMAND.match(line)[1]) for line in synopses]
    return [*SPAN.findall(FENCE.sub("", text)), *bare]


@pages_with(complete_lines)
def test_commands_are_understood(shown):
    for line in shown:
        arguments = arguments_of(line)
        assert parse(arguments), line
        for path in (argument for argument in arguments if argument.startswith("configs/")):
            assert (ROOT / path).exists(), line


@pages_with(spans)
def test_commands_in_the_text_exist_with_their_options(shown):
    for span in shown:
        command, words = root_command(), span.split()
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands or words[0].startswith("-"), span
            command = command.commands.get(words.pop(0), command)
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= options | {"--help"}, span


@pages_with(JF.findall)
def test_commands_of_jobflow_remote_are_understood(shown):
    jf = pytest.importorskip("jobflow_remote.cli.jf", reason="jobflow-remote is not installed")
    for line in shown:
        command, words = typer.main.get_command(jf.app), shlex.split(line, comments=True)
        while hasattr(command, "commands"):
            context = command.make_context("jf", words, resilient_parsing=True)
            _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command.make_context(line, words).command is command


@pages_with(lambda text: blocks(text, "python"))
def test_python_compiles(shown):
    for number, source in enumerate(shown):
        assert compile(source, f"block {number}", "exec").co_code


@pages_with(lambda text: blocks(text, "yaml"))
def test_yaml_is_valid_for_its_class(shown):
    for text in shown:
        content = yaml.safe_load(text)
        readers = [reader for names, reader in KINDS if set(content) <= names]
        assert readers, f"no options have all of the keys {list(content)}"
        readers[0](content)


def test_yaml_that_is_wrong_is_noticed():
    for wrong in ({"committee": 0}, {"model": {"layer": 1}}, {"type": "vasp", "incar": {"MAGMOM": 1}}):
        reader = next(reader for names, reader in KINDS if set(wrong) <= names)
        with pytest.raises(ValueError, match=r"(?i)greater|layer|MAGMOM"):
            reader(wrong)


def part_of(options: type[BaseModel]):
    """Reads some of the fields of ``options``."""

    def read(content):
        for name, value in content.items():
            TypeAdapter(options.model_fields[name].rebuild_annotation()).validate_python(value)

    return read


def read_campaign(content):
    part_of(CampaignOptions)(content)
    if "engine" in content:
        get_engine(content["engine"])


def read_model(content):
    for name, kind in {"model": ModelOptions, "training": TrainOptions}.items():
        kind.model_validate(content.get(name, {}))


KINDS = [
    ({"model", "training"}, read_model),
    (set(CampaignOptions.model_fields), read_campaign),
    (set(RemoteOptions.model_fields), RemoteOptions.model_validate),
    (set(ImportMapping.model_fields), ImportMapping.model_validate),
    (set(ImportLevel.model_fields), ImportLevel.model_validate),
    *((set(type(get_engine(name)).model_fields), get_engine) for name in ("spin-lattice", "gpaw", "vasp")),
]
"""Keys of each kind of file that pages show, and what reads it; the first that knows all keys of a block does."""
