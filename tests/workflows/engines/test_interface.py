"""What an engine cannot honour is refused, and never passed over."""

import pytest

from datastore.schema import SpinConfig
from workflows.engines import LabelError, get_engine
from workflows.structures import apply_ordering, rocksalt


@pytest.mark.parametrize(
    ("name", "remedy"), [("gpaw", "starts)"), ("spin-lattice", "starts)"), ("vasp", "state occupation_control: true")]
)
def test_engines_without_occupation_matrices_refuse_them(vasp_on_path, name, remedy):
    structure = apply_ordering(rocksalt("Ni", cell="rhombohedral4"), "AFM-II")
    config = SpinConfig.from_structure(structure, "AFM-II", occupations="1\n1 2 1\n")
    with pytest.raises(LabelError, match=f"{name}.*cannot start from occupation matrices") as caught:
        get_engine(name).label(config)
    assert caught.value.kind == "refused"
    assert str(caught.value).endswith(remedy)
