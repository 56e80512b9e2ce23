"""Mistakes in option files: the hint names the right key of that level, or the level that the key belongs to."""

import pytest

from workflows.campaign import CampaignError, CampaignOptions
from workflows.options import load_yaml, parse_options

GOOD = {
    "name": "x",
    "engine": "spin-lattice",
    "structures": {
        "parents": [{"species": "Ni", "cell": "rhombohedral4"}],
        "orderings": ["FM"],
        "deformations": [{"kind": "none"}],
    },
}


def changed(place, **more):
    """GOOD with ``more`` keys at a dotted place."""
    content = {
        **GOOD,
        "structures": {**GOOD["structures"], "parents": [dict(GOOD["structures"]["parents"][0])]},
        "active_learning": {},
    }
    target = content
    for part in place.split(".") if place else []:
        target = target[int(part) if part.isdigit() else part]
    target.update(more)
    return content


@pytest.mark.parametrize(
    ("place", "key", "hint"),
    [
        ("", "labels", "it belongs under active_learning"),
        ("", "rounds", "it belongs under active_learning"),
        ("", "commitee", "did you mean 'committee'?"),
        ("", "kind", "it belongs under structures.deformations"),
        ("structures", "committee", "it belongs at the top level"),
        ("structures", "orderngs", "did you mean 'orderings'?"),
        ("structures", "species", "it belongs under structures.parents"),
        ("structures.parents.0", "spezies", "did you mean 'species'?"),
        ("structures.parents.0", "rounds", "it belongs under active_learning"),
        ("active_learning", "lables", "did you mean 'labels'?"),
        ("active_learning", "zzz", "known keys: candidates, explore, labels"),
    ],
)
def test_unknown_keys(place, key, hint):
    with pytest.raises(CampaignError) as error:
        parse_options(CampaignOptions, changed(place, **{key: 1}), "x.yaml", CampaignError)
    where = f"{place}.{key}".strip(".")
    assert str(error.value).startswith(f"x.yaml: unknown key '{where}'; {hint}")


def test_a_name_of_two_places_names_both():
    with pytest.raises(CampaignError, match=r"at the top level or under .*structures\.parents"):
        parse_options(CampaignOptions, changed("active_learning", seed=1), "x.yaml", CampaignError)


def test_broken_files_name_the_line(tmp_path):
    (tmp_path / "a.yaml").write_text("name: x\n  y: [\n")
    with pytest.raises(CampaignError, match=r"a\.yaml: line 2 is not valid YAML"):
        load_yaml(tmp_path / "a.yaml", CampaignError)
    (tmp_path / "b.yaml").write_text("- 1\n")
    with pytest.raises(CampaignError, match="expected 'key: value' lines, found list"):
        load_yaml(tmp_path / "b.yaml", CampaignError)
