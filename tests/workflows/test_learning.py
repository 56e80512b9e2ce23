"""Options of active learning that no job could work with are refused when they are read."""

import math

import pytest
from pydantic import BaseModel, ValidationError

from spinmultinet.dynamics import MDOptions
from workflows.campaign import StartOptions
from workflows.learning import LONGEST_STEP, ActiveLearningOptions
from workflows.options import parse_options

MISTAKES = [
    ({"explore": {"dynamics": {"temperatures": [300, -300]}}}, r"dynamics\.temperatures\.1: .* greater than 0"),
    ({"explore": {"dynamics": {"temperatures": []}}}, "at least 1 item"),
    ({"explore": {"dynamics": {"timestep": 50}}}, "less than or equal to 20"),
    ({"explore": {"dynamics": {"pressures": [math.inf]}}}, r"pressures\.0: .* finite number"),
    ({"explore": {"dynamics": {"steps": 10}}}, "interval 20 is more than the 10 steps of a run; lower interval"),
    ({"explore": {"volume": [0.7, math.inf]}}, r"volume\.1: .* finite number"),
    ({"select": {"threshold": {"forces": math.nan}}}, "finite number"),
    ({"stop": {"targets": {"random": {}}}}, r"targets: random has no target; write such as random: \{energy: 5\}"),
    (
        {"stop": {"targets": {"pairs": {"forces": 5}}}},
        "pairs are differences of energy and have no forces; give energy",
    ),
    ({"stop": {"targets": {"pairs": {"energy": 5, "moments": 1}}}}, "have no moments; give energy only"),
]


@pytest.mark.parametrize(("content", "message"), MISTAKES, ids=lambda value: str(value)[:60])
def test_mistakes_are_one_line_that_names_them(content, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_options(ActiveLearningOptions, {"rounds": 3, **content}, "campaign.yaml", ValueError)
    assert "\n" not in str(caught.value)


def floats(options: type[BaseModel], path: tuple[str, ...] = ()):
    """Path of every option that takes a single number with a fraction, at any depth."""
    for name, field in options.model_fields.items():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        if float in kinds:
            yield (*path, name)
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from floats(kind, (*path, name))


@pytest.mark.parametrize("options", [ActiveLearningOptions, StartOptions])
def test_no_number_is_infinite_or_none_at_all(options):
    """A document with such a number could not be written."""
    paths = list(floats(options))
    assert len(paths) > (10 if options is ActiveLearningOptions else 1)
    for path in paths:
        for wrong in (math.nan, math.inf):
            content = wrong
            for name in reversed(path):
                content = {name: content}
            with pytest.raises(ValidationError) as caught:
                options.model_validate(content)
            assert path in [error["loc"] for error in caught.value.errors()], path


def test_steps_are_as_long_as_molecular_dynamics_takes_them():
    MDOptions(temperature=300, steps=1, timestep=LONGEST_STEP)
    with pytest.raises(ValidationError, match="timestep"):
        MDOptions(temperature=300, steps=1, timestep=LONGEST_STEP * 1.001)
