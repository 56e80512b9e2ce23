"""The comparison of GPAW and VASP inputs sees a difference in what both are asked for."""

import numpy as np
import pytest

from benchmarks import gpaw_vasp
from workflows.engines.vasp.settings import VaspSettings

CASES = dict(gpaw_vasp.configurations())


@pytest.fixture
def settings(vasp_on_path):
    return VaspSettings()


@pytest.mark.parametrize("name", CASES)
def test_both_programs_are_asked_for_the_same(name, settings):
    gpaw_vasp.check_same(CASES[name], gpaw_vasp.through_vasp(CASES[name], settings), settings.hubbard_u)


@pytest.mark.parametrize("key", ["species", "magmoms", "u", "positions"])
def test_a_difference_in_one_site_is_an_error(key, settings):
    config = CASES["MnO, displaced, AFM-II"]
    found = gpaw_vasp.through_vasp(config, settings)
    first, *rest, last = found[key]
    with pytest.raises(AssertionError):
        gpaw_vasp.check_same(config, {**found, key: [last, *rest, first]}, settings.hubbard_u)


def test_sites_in_any_order_come_back_in_it(settings):
    plain = CASES["NiO, displaced, AFM-II"]
    order = np.array([2, 0, 3, 1])
    fields = {"positions": plain.positions[order], "magmoms_in": plain.magmoms_in[order]}
    mixed = plain.model_copy(update={**fields, "species": [plain.species[site] for site in order]})
    gpaw_vasp.check_same(mixed, gpaw_vasp.through_vasp(mixed, settings), settings.hubbard_u)
