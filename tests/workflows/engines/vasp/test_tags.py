"""INCAR tags as stated: known, typed, and never against the configuration."""

import pytest

from workflows.engines.vasp.tags import OWNED, clean, converges, holds_occupations, typed, unlisted


@pytest.mark.parametrize(
    ("stated", "typed_as"),
    [
        ({"ediff": "1e-7"}, {"EDIFF": 1e-7}),  # YAML reads 1e-7 as text
        ({"NCORE": 4.0}, {"NCORE": 4}),
        ({"LREAL": "auto"}, {"LREAL": "Auto"}),
        ({"LREAL": ".FALSE."}, {"LREAL": False}),
        ({"LASPH": True}, {"LASPH": True}),
        ({"ROPT": "2*-1e-3 0"}, {"ROPT": [-1e-3, -1e-3, 0]}),
        ({"ROPT": [1, 2]}, {"ROPT": [1, 2]}),
        ({"GGA": 91}, {"GGA": 91}),
        ({"LMAXMIX": None}, {"LMAXMIX": None}),
        (
            {"PREC": "acc", "ALGO": "f", "METAGGA": "R2SCAN", "IVDW": 13},
            {"PREC": "Acc", "ALGO": "F", "METAGGA": "R2scan", "IVDW": 13},
        ),
        ({"ALGO": "damped", "GGA": "ps", "ISYM": 0}, {"ALGO": "Damped", "GGA": "Ps", "ISYM": 0}),
        ({"ISPIN": 2, "LDAU": True, "LDAUTYPE": 2, "NSW": 0, "NUPDOWN": -1}, {}),  # what holds anyhow
    ],
)
def test_values_get_the_type_that_vasp_reads(stated, typed_as):
    assert clean(stated) == typed_as


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"ENCTU": 500}, "'ENCTU' is no INCAR tag that pymatgen lists; did you mean 'ENCUT'"),
        ({"QWERTZ": 1}, "state it under incar_unlisted"),
        ({"NCORE": 2.5}, "NCORE is 2.5; it takes a whole number"),
        ({"NCORE": True}, "takes a whole number"),
        ({"LASPH": 1}, "LASPH is 1; it takes true or false"),
        ({"EDIFF": "small"}, "takes a number"),
        ({"EDIFF": float("nan")}, "takes a number"),
        ({"ROPT": ["a"]}, "takes numbers"),
        ({"GGA": ["PE"]}, "takes a word"),
        ({"SIGMA": 0.1, "sigma": 0.2}, "SIGMA is stated twice"),
        ({"LORBIT": 0}, "wants 10, 11 or 12"),
        ({"LORBIT": None}, "wants 10, 11 or 12"),
        ({"PREC": "bogus"}, "PREC is Bogus; VASP has Low, Medium, High"),
        ({"GGA": "XX"}, "GGA is Xx; VASP has CA"),
        ({"ISYM": 7}, "ISYM is 7; VASP has -1"),
        ({"SIGMA": -1}, "SIGMA is -1.0; it must be positive"),
        ({"NELM": 0}, "NELM is 0; it must be positive"),
        ({"SYSTEM": "a; MAGMOM=1"}, "SYSTEM has ';' in its value"),
        ({"SYSTEM": "a # b"}, "SYSTEM has '#' in its value"),
    ],
)
def test_mistakes_are_named(stated, message):
    with pytest.raises(ValueError, match="(?s)" + message.replace(".", r"\.")):
        clean(stated)


@pytest.mark.parametrize(
    "value", ["bogus", "None", "Nothing", "GW0", "gw", "Eigenval", "Subrot", "CHI", "Exact", "BSE"]
)
def test_algorithms_that_make_no_single_point_are_refused(value):
    with pytest.raises(ValueError, match="single points are made with Normal, VeryFast, Fast"):
        clean({"ALGO": value})
    assert not converges(value)


def test_unlisted_tags_are_normalised():
    assert unlisted({" libxc1": "gga_x_pbe ", "LNEW": ".t.", "BEXT": 0.1}) == {
        **{"LIBXC1": "Gga_x_pbe", "LNEW": True, "BEXT": 0.1}
    }


DISAGREEING = {
    "MAGMOM": {"Mn": 5},
    "NUPDOWN": 0,
    "LDAU": False,
    "LDAUU": [3, 0],
    "LDAUJ": [1, 0],
    "LDAUL": [2, 2],
    "LDAUTYPE": 1,
    "ISPIN": 1,
    "LNONCOLLINEAR": True,
    "LSORBIT": True,
    "SAXIS": [1, 0, 0],
    "I_CONSTRAINED_M": 1,
    "M_CONSTR": [0, 0, 1],
    "LAMBDA": 10,
    "RWIGS": [1, 1],
    "KSPACING": 0.2,
    "KGAMMA": False,
    "NSW": 5,
    "IBRION": 2,
    "ISIF": 3,
    "EDIFFG": -0.01,
    "PSTRESS": 10,
    "IMAGES": 4,
    "MDALGO": 2,
    "TEBEG": 300,
    "TEEND": 300,
    "SMASS": 0,
    "IALGO": 48,
    "ICHARG": 1,
    "ISTART": 1,
}


@pytest.mark.parametrize("tag", OWNED)
def test_a_tag_that_the_configuration_or_another_option_decides_is_refused(tag):
    """The message says what to state in its place."""
    try:
        typed(tag, DISAGREEING[tag])
    except ValueError:
        return  # MAGMOM by element is not even a list of numbers
    with pytest.raises(ValueError, match=f"{tag} cannot be set here: "):
        clean({tag: DISAGREEING[tag]})


def test_trap_3_moments_by_element_cannot_be_set():
    """``{"MAGMOM": {"Mn": 5}}`` overrides the moments of the sites in pymatgen: AFM silently becomes FM."""
    with pytest.raises(ValueError, match="MAGMOM"):
        clean({"MAGMOM": {"Mn": 5}})
    with pytest.raises(ValueError, match=r"the moments are those of each configuration"):
        clean({"MAGMOM": [5, 5]})


def test_vectors_are_stated_once():
    assert clean({"LNONCOLLINEAR": True, "LSORBIT": False}, "noncollinear") == {}
    with pytest.raises(ValueError, match="state spins"):
        clean({"LSORBIT": True}, "noncollinear")


@pytest.mark.parametrize(
    ("incar", "held"),
    [
        ("ENCUT = 520\nOCCEXT = 1 ! held", True),
        ("ENCUT = 520; occext=1", True),
        ("OCCDIR12 = 1 1 2 1 5 5 1 1.0", True),
        ("OCCEXT = 0\nSYSTEM = without OCCDIR1", False),
        ("#OCCEXT = 1", False),
        ("", False),
    ],
)
def test_an_incar_that_holds_occupations(incar, held):
    assert holds_occupations(incar) is held
