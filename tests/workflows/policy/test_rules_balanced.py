from collections import Counter
from dataclasses import replace

from workflows.learning import SelectOptions
from workflows.policy.batch import choose
from workflows.policy.pool import Candidate, Pool
from workflows.policy.rules import make_rule

OPTIONS = SelectOptions(rule="balanced", spread_over=[], geometry_once=False)


def candidates(formula, ordering, count, deformation="shear"):
    names = [f"{formula}-{ordering}-{deformation}-{k}" for k in range(count)]
    return [Candidate(name, name, ordering, deformation, formula=formula) for name in names]


def chosen(pool, count, seed=(0,)):
    return [choice.candidate for choice in choose(pool, make_rule(OPTIONS), count, OPTIONS, seed)]


def test_every_composition_in_every_ordering_gets_as_many_labels_the_known_ones_counted():
    known = candidates("NiO", "FM", 3)
    pool = Pool([*candidates("NiO", "FM", 9), *candidates("NiO", "AFM-II", 9), *candidates("MnO", "FM", 9)])
    first = Counter((c.formula, c.ordering) for c in chosen(pool, 9))
    assert first == {("NiO", "FM"): 3, ("NiO", "AFM-II"): 3, ("MnO", "FM"): 3}
    others = [replace(c, config_id=f"known-{c.config_id}") for c in known]
    later = Counter((c.formula, c.ordering) for c in chosen(replace(pool, known=tuple(others)), 9))
    assert later == {("NiO", "FM"): 1, ("NiO", "AFM-II"): 4, ("MnO", "FM"): 4}


def test_among_equals_the_deformation_with_fewest_labels():
    pool = Pool([*candidates("NiO", "FM", 40), *candidates("NiO", "FM", 2, "volume")])
    assert Counter(c.deformation for c in chosen(pool, 4)) == {"shear": 2, "volume": 2}


def test_a_group_is_never_passed_over_for_the_sake_of_a_deformation():
    known = tuple(replace(c, config_id=f"k{c.config_id}") for c in candidates("MnO", "FM", 50))
    pool = Pool([*candidates("NiO", "FM", 1), *candidates("MnO", "FM", 5, "volume")], known=known)
    assert chosen(pool, 1)[0].formula == "NiO"


def test_chance_is_that_of_the_seed_and_the_reason_says_how_many_there_are():
    pool = Pool(candidates("NiO", "FM", 50))
    assert chosen(pool, 5, (1,)) == chosen(pool, 5, (1,)) != chosen(pool, 5, (2,))
    reason = choose(pool, make_rule(OPTIONS), 1, OPTIONS)[0].reason
    assert reason.startswith("0 labels of NiO in FM")


def test_states_that_count_as_one_share_one_group_and_take_its_share_only():
    """20 labels of two orderings, and 32 states of spin moves, each with a name of its own."""
    known = [replace(c, config_id=f"k{c.config_id}") for name in ("FM", "AFM-II") for c in candidates("NiO", name, 10)]
    signs = [format(k, "05b").replace("0", "+").replace("1", "-") for k in range(32)]
    moves = [
        Candidate(f"s{k}", f"q{k // 4}", f"FiM[{s}]", "spin-move", "NiO", state="other states")
        for k, s in enumerate(signs)
    ]
    pool = Pool([*candidates("NiO", "FM", 20), *candidates("NiO", "AFM-II", 20), *moves], known=tuple(known))
    options = SelectOptions(rule="balanced")
    first = Counter(c.candidate.spins for c in choose(pool, make_rule(options), 8, options))
    assert first["other states"] == 4  # a third of eight, and one: the quota of a group
    labelled = tuple(replace(c, config_id=f"l{c.config_id}") for c in moves[:10])
    later = Counter(c.spins for c in chosen(replace(pool, known=(*known, *labelled)), 9))
    assert later == {"FM": 3, "AFM-II": 3, "other states": 3}


def test_without_states_orderings_are_groups_as_before():
    pool = Pool(
        [*candidates("NiO", "FM", 20), *candidates("NiO", "AFM-II", 20), *candidates("MnO", "AFM-I", 9, "volume")]
    )
    named = replace(pool, candidates=[replace(c, state=c.ordering) for c in pool.candidates])
    plain = [choice.config_id for choice in chosen(pool, 12)]
    assert plain == [choice.config_id for choice in chosen(named, 12)]
    assert Counter(name.rsplit("-", 2)[0] for name in plain) == {"NiO-FM": 4, "NiO-AFM-II": 4, "MnO-AFM-I": 4}
