"""Whether the first configurations of a campaign can make its frozen tests; asked before anything is calculated."""

from __future__ import annotations

from collections.abc import Sequence

from datastore.schema import SpinConfig
from datastore.splits import name_test_set
from workflows.campaign import CampaignError, CampaignOptions


def check_tests(options: CampaignOptions, configs: Sequence[SpinConfig]) -> None:
    """Refuse a campaign whose models could not predict a test, or that has targets on tests it does not have.

    ``configs``: those of generation 0. Raises CampaignError.
    """
    test_of = [name_test_set(c.ordering, c.formula, c.species, options.split) for c in configs]
    trained = {
        symbol for c, name in zip(configs, test_of, strict=True) if name != "compositions" for symbol in c.species
    }
    unknown = sorted({symbol for c in configs for symbol in c.species} - trained)
    if unknown:
        raise CampaignError(
            f"campaign {options.name}: split.held_out leaves no label of {', '.join(unknown)} to train on, so no model "
            "could predict what is held out; hold out a mixture whose elements other parents contain"
        )
    for name, key in (("orderings", "an ordering"), ("compositions", "a composition")):
        if name in options.active_learning.stop.targets and name not in test_of:
            raise CampaignError(
                f"campaign {options.name}: active_learning.stop.targets has a target on {name}, and {key} that is held "
                "out is not there; name one in split: {by: named, held_out: [...]}, or remove the target"
            )
