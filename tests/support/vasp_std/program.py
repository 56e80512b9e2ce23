"""``vasp_std``: from INCAR, POSCAR, KPOINTS and POTCAR of the current folder to VASP's output files."""

import sys

from tests.support.vasp_std.failing import Failing
from tests.support.vasp_std.faults import due
from tests.support.vasp_std.inputs import Inputs, read_inputs
from tests.support.vasp_std.messages import StopError, warning
from tests.support.vasp_std.run import Run
from tests.support.vasp_std.style import Style

_COLLINEAR = """\
 ERROR: non collinear calculations require that VASP is compiled
 without the flag -DNGXhalf and -DNGZhalf"""


def main(vectors: bool = True) -> int:
    """Exit status as VASP's: an error in the input is 1 in version 6, and 0 in version 5.

    ``vectors``: whether this is vasp_ncl; vasp_std refuses non-collinear moments.
    """
    style = Style.chosen()
    print(" running on    1 total cores\n distrk:  each k-point on    1 cores,    1 groups")
    print(f" distr:  one band on    1 cores,    1 groups\n{style.title}")
    try:
        inputs = read_inputs()
        if inputs.spin == 4 and not vectors:
            raise StopError(_COLLINEAR)
        failing = Failing(due(inputs))
        failing.at_start()
        _announce(inputs)
        Run(failing.inputs(inputs), style, failing).go()
        failing.files()
    except StopError as stop:
        print(stop, flush=True)
        return 0 if style.major == 5 else 1
    return 0


def _announce(inputs: Inputs) -> None:
    names = " ".join(f"{p.element:<2}" for p in inputs.potcars)
    print(f" POSCAR found type information on POSCAR {names}")
    print(f" POSCAR found : {len(inputs.counts):2d} types and {inputs.n:7d} ions")
    if inputs.spin > 1 and "MAGMOM" not in inputs.incar:
        print(
            warning(
                "You use a magnetic or noncollinear calculation, but did not specify\n"
                "the initial magnetic moment with the MAGMOM tag. Note that a\n"
                "default of 1 will be used for all atoms."
            ),
            end="",
        )
    print(
        " LDA part: xc-table for Pade appr. of Perdew\n"
        " POSCAR, INCAR and KPOINTS ok, starting setup\n FFT: planning ..."
    )


if __name__ == "__main__":
    sys.exit(main())
