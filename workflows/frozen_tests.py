"""Whether the first configurations of a campaign can make its frozen tests; asked before anything is calculated."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from datastore.errors import DataError
from datastore.leaks import geometry_of
from datastore.schema import SpinConfig
from datastore.splits import Member, divide, name_test_set
from workflows.campaign import CampaignError, CampaignOptions
from workflows.contradictions import without_candidates

PAIR = "pair:"


def check_tests(options: CampaignOptions, configs: Iterable[SpinConfig]) -> None:
    """Refuse a campaign that must end after its first labels: no test to judge by, no candidates, unknown targets.

    ``configs``: those of generation 0, divided here as their labels will be if all are accepted and none are twins.
    Raises CampaignError.
    """
    for problem in without_candidates(options.active_learning, options.structures):
        raise _error(options, problem)
    members = list(_members(configs))
    _check_names(options, members)
    trained = {symbol for m in members if _test_of(options, m) != "compositions" for symbol in m.elements}
    unknown = sorted({symbol for m in members for symbol in m.elements} - trained)
    if unknown:
        raise _error(
            options,
            f"split.held_out leaves no label of {', '.join(unknown)} to train on, so no model could predict what is "
            "held out; hold out a mixture whose elements other parents contain",
        )
    most = options.active_learning.stop.labels
    if most is not None and most < len(members):
        raise _error(
            options,
            f"active_learning.stop.labels is {most}, and the first labels are {len(members)} already; raise it, or ask "
            "for fewer under structures",
        )
    tested = _tested(options, members)
    pairs = Counter(token for m in members if m.point_id in tested for token in m.tokens if token.startswith(PAIR))
    names: set[str] = {_test_of(options, m) for m in members if m.point_id in tested}
    _check_targets(options, names | ({"pairs"} if max(pairs.values(), default=0) > 1 else set()))


def first_tests(options: CampaignOptions, configs: Iterable[SpinConfig]) -> set[str]:
    """config_ids of generation 0 that the tests are made of. Raises CampaignError where there are none."""
    return _tested(options, list(_members(configs)))


def _error(options: CampaignOptions, text: str) -> CampaignError:
    return CampaignError(f"campaign {options.name}: {text}")


def _check_names(options: CampaignOptions, members: Sequence[Member]) -> None:
    """Every name that is held out is one of an ordering, or of a formula or an element, as ``split.by`` says."""
    by = options.split.by
    orderings = {m.ordering for m in members} if by != "composition" else set()
    compositions = {name for m in members for name in (m.formula, *m.elements)} if by != "ordering" else set()
    known = sorted(orderings | compositions)
    for name in options.split.held_out:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"name one of {', '.join(known)}"
            raise _error(options, f"split.held_out: no configuration is of {name}; {remedy}")


def _tested(options: CampaignOptions, members: Sequence[Member]) -> set[str]:
    """Ids of those that go to the test split."""
    try:
        split_of = divide(members, options.split, {}).split_of
    except DataError as error:
        raise _error(options, f"split: {error}") from None
    tested = {name for name, split in split_of.items() if split == "test"}
    if not tested:
        fractions = ", ".join(f"{share:g}" for share in options.split.fractions)
        raise _error(
            options,
            f"split.fractions [{fractions}] and min_test {options.split.min_test} leave none of the {len(members)} "
            "first labels for tests, so no model could be judged; raise the third fraction or min_test",
        )
    return tested


def _test_of(options: CampaignOptions, member: Member) -> str:
    return name_test_set(member.ordering, member.formula, member.elements, options.split)


def _members(configs: Iterable[SpinConfig]) -> Iterator[Member]:
    """Labels of ``configs`` as :mod:`datastore.snapshot` describes them to the split, before twins are looked for."""
    tokens: dict[str, str] = {}
    formulas: dict[tuple[str, ...], str] = {}
    for config in configs:
        how = config.deformation_parameters.get("parent")
        species = tuple(config.species)
        if species not in formulas:
            formulas[species] = config.formula
        pair = (f"{PAIR}{config.pair_id}",) if config.pair_id else ()
        # Orderings of one geometry follow one another: hashing it takes most of the time.
        if not pair or pair[0] not in tokens:
            tokens = {pair[0] if pair else "": geometry_of(config).token}
        yield Member(
            point_id=config.config_id,
            tokens=(tokens[pair[0] if pair else ""], *pair),
            stratum=config.deformation,
            generation=config.generation,
            parent=config.parent,
            ordering=config.ordering,
            formula=formulas[species],
            elements=frozenset(species),
            start=str(how.get("start", "")) if isinstance(how, dict) else "",
        )


def _check_targets(options: CampaignOptions, there: set[str]) -> None:
    """Every target is on one of the tests that are ``there``."""
    held = "{} that is held out is not there; name one in split: {{by: named, held_out: [...]}}"
    missing = {
        "orderings": held.format("an ordering"),
        "compositions": held.format("a composition"),
        "pairs": "no geometry is tested in two orderings; set structures.paired: true, or add an ordering",
        "random": "all that is tested is held out; give it a share in split: {by: named, fractions: [...]}",
    }
    for name in options.active_learning.stop.targets:
        if name not in there:
            raise _error(
                options,
                f"active_learning.stop.targets has a target on {name}, and {missing[name]}, or remove the target",
            )
