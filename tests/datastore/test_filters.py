"""Text in, criteria out; what the criteria find is in test_select.py."""

from datetime import datetime

import pytest

from datastore.errors import DataError
from datastore.filters import check_field, conditions, mentioned, parse_filter, parse_mongo, path_of


@pytest.mark.parametrize(
    ("text", "criteria"),
    [
        ("", {}),
        ("  ", {}),
        ("formula=NiO", {"formula": {"$eq": "NiO"}}),
        ("formula = NiO", {"formula": {"$eq": "NiO"}}),
        ("campaign= generation=1", {"$and": [{"campaign": {"$eq": ""}}, {"generation": {"$eq": 1}}]}),
        (
            "campaign='a b' and not flipped",
            {"$and": [{"campaign": {"$eq": "a b"}}, {"$nor": [{"search.flipped": True}]}]},
        ),
        ("flipped=no", {"search.flipped": False}),
        ("formula=Ni(OH)2", {"formula": {"$eq": "Ni(OH)2"}}),
        ("(formula=Ni(OH)2)", {"formula": {"$eq": "Ni(OH)2"}}),
        ("formula='a)' ", {"formula": {"$eq": "a)"}}),
        (r"campaign=a\ b", {"campaign": {"$eq": "a b"}}),
        ("energy<-5.5", {"energy": {"$lt": -5.5}}),
        ("fmax<0.5", {"search.fmax": {"$lt": 0.5}}),
        ("m(Ni)>1.2", {"search.moment.Ni": {"$gt": 1.2}}),
        ("mmax(Ni)>1.2", {"search.moment_max.Ni": {"$gt": 1.2}}),
        ("x(Co)>=0.25", {"search.x.Co": {"$gte": 0.25}}),
        ("x(Co)<0.25", {"$or": [{"search.x.Co": {"$lt": 0.25}}, {"search.x.Co": None}]}),
        ("elements=Co", {"search.x.Co": {"$gt": 0}}),
        ("elements!=Co", {"search.x.Co": None}),
        ("system=Ni-O-Mn", {"search.system": {"$eq": "Mn-Ni-O"}}),
        ("above<50", {"$above": {"$lt": 0.05}}),
        ("since=2026-11-01", {"last_updated": {"$gte": datetime(2026, 11, 1)}}),
        ("before=2026-11-01T12:00+02:00", {"last_updated": {"$lt": datetime(2026, 11, 1, 10)}}),
        ("point_id=1f0c", {"point_id": {"$gte": "1f0c", "$lt": "1f0c\U0010ffff"}}),
        (
            "formula=NiO or formula=MnO cell=a",
            {"$or": [{"formula": {"$eq": "NiO"}}, {"$and": [{"formula": {"$eq": "MnO"}}, {"cell": {"$eq": "a"}}]}]},
        ),
        (
            "(formula=NiO OR formula=MnO) AND cell=a",
            {"$and": [{"$or": [{"formula": {"$eq": "NiO"}}, {"formula": {"$eq": "MnO"}}]}, {"cell": {"$eq": "a"}}]},
        ),
    ],
)
def test_language(text, criteria):
    assert parse_filter(text) == criteria


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("formula=NiO orderin=FM", r"unknown field 'orderin' at character 13; did you mean 'ordering'"),
        ("(formula=NiO", r"'\(' at character 1 is not closed"),
        ("formula=NiO )", r"'\)' closes nothing.* at character 13"),
        ("formula=NiO or", "a term FIELD=VALUE is missing at character 15"),
        ("not", "a term FIELD=VALUE is missing at character 4"),
        ("or formula=NiO", "a term FIELD=VALUE is missing at character 1"),
        ("formula=NiO cell='a", "close the quotes that open at character 18"),
        ("x(Zz)>0", "unknown element 'Zz' in .* at character 1"),
        ("elements=Ni,Xx", "unknown element 'Xx'"),
        ("m(Ni)>high", r"filter term 'm\(Ni\)>high' at character 1: 'high' is no number"),
        ("fmax<nan", "'nan' is no number"),
        ("fmax<1,2", "takes one number"),
        ("above<5 or formula=NiO", "'above' goes with 'and' only"),
        ("not (cell=a above<5)", "'above' goes with 'and' only"),
        ("since>2026-11-01", "write since=2026-11-01"),
        ("since=yesterday", "'yesterday' is no date"),
        ("flipped=maybe", "write flipped, flipped=no or not flipped"),
        ("FM", "'FM' at character 1 has no operator"),
        ("formula<NiO", "is text"),
        ("=NiO", "a term FIELD=VALUE is missing at character 1"),
    ],
)
def test_mistakes_are_told_with_their_place(text, message):
    with pytest.raises(DataError, match=message) as error:
        parse_filter(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["above<5", "m(Ni)>1", "flipped", "elements=Ni", "fmax<1"])
def test_failures_have_no_results(text):
    with pytest.raises(DataError, match=r"of failures|no operator"):
        parse_filter(text, failures=True)


def test_mongo():
    assert parse_mongo('{"formula": "NiO", "energy": {"$lt": -5}}') == {"formula": "NiO", "energy": {"$lt": -5}}
    assert parse_mongo('{"last_updated": {"$gte": {"$date": "2026-11-01"}}}') == {
        "last_updated": {"$gte": datetime(2026, 11, 1)}
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"$where": "1"}',
        '{"$and": [{"a": 1}, {"$or": [{"$where": "sleep(1e9)"}]}]}',
        '{"$expr": {"$function": {"body": "x", "args": [], "lang": "js"}}}',
        '{"a": {"$accumulator": {}}}',
        '{"a": {"$not": {"$where": "1"}}}',
        '{"$expr": {"$eq": ["$a", "$b"]}}',
        '{"$above": {"$lt": 1}}',
    ],
)
def test_operators_that_may_run_code_are_refused(text):
    with pytest.raises(DataError, match=r"operator '\$\w+' is refused, because it may run code"):
        parse_mongo(text)


@pytest.mark.parametrize("text", ["{", "[]", "1", '"formula"', '{"a": {"$date": "x"}}'])
def test_what_is_no_filter(text):
    with pytest.raises(DataError, match=r"no JSON|no MongoDB filter|no date"):
        parse_mongo(text)


def test_paths():
    assert path_of("fmax") == "search.fmax"
    assert path_of("mmax(Ni)") == "search.moment_max.Ni"
    assert path_of("energy") == "energy"
    assert path_of("since") == "last_updated"
    for field in ("above", "elements"):
        with pytest.raises(DataError, match="for filters only"):
            path_of(field)
    check_field("lattice")
    with pytest.raises(DataError, match="did you mean 'fmax'"):
        check_field("fmx")


def test_parts():
    assert conditions({"$and": [{"a": 1}, {"$and": [{"b": 2, "c": 3}]}]}) == [{"a": 1}, {"b": 2}, {"c": 3}]
    assert mentioned({"$or": [{"a": 1}, {"b": {"$gt": 2}}]}) == {"$or", "a", "b", "$gt"}


def test_commas_in_quotes_and_after_backslashes_are_part_of_the_value():
    assert parse_filter("ordering='a,b'") == {"ordering": {"$eq": "a,b"}}
    assert parse_filter(r"ordering=a\,b,'c,d',e") == {"ordering": {"$in": ["a,b", "c,d", "e"]}}


@pytest.mark.parametrize("opening", ["(", "not ", "not ("])
def test_filters_in_each_other_have_an_end(opening):
    closing = ")" * opening.count("(")
    assert parse_filter(opening * 20 + "formula=NiO" + closing * 20)
    for times in (51, 3000):
        with pytest.raises(DataError, match="over 50 parentheses and 'not' in each other at character"):
            parse_filter(opening * times + "formula=NiO" + closing * times)


@pytest.mark.parametrize("times", [60, 100_000])
def test_filters_in_json_have_an_end(times):
    assert parse_mongo('{"$nor": [' * 40 + "{}" + "]}" * 40)
    with pytest.raises(DataError, match="over 50 parts in each other"):
        parse_mongo('{"$nor": [' * times + "{}" + "]}" * times)


def test_numbers_beyond_those_of_databases_stay_numbers():
    assert parse_filter("generation<99999999999999999999999") == {"generation": {"$lt": 1e23}}
