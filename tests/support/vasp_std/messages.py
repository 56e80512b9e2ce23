"""Boxes in which VASP writes errors and warnings, and the error that stops the program as VASP stops."""

_ERROR = """\
EEEEEEE  RRRRRR   RRRRRR   OOOOOOO  RRRRRR      ###     ###     ###
E        R     R  R     R  O     O  R     R     ###     ###     ###
E        R     R  R     R  O     O  R     R     ###     ###     ###
EEEEE    RRRRRR   RRRRRR   O     O  RRRRRR       #       #       #
E        R   R    R   R    O     O  R   R
E        R    R   R    R   O     O  R    R      ###     ###     ###
EEEEEEE  R     R  R     R  OOOOOOO  R     R     ###     ###     ###
"""

_WARNING = """\
      W    W    AA    RRRRR   N    N  II  N    N   GGGG   !!!
      W    W   A  A   R    R  NN   N  II  NN   N  G    G  !!!
      W    W  A    A  R    R  N N  N  II  N N  N  G       !!!
      W WW W  AAAAAA  RRRRR   N  N N  II  N  N N  G  GGG   !
      WW  WW  A    A  R   R   N   NN  II  N   NN  G    G
      W    W  A    A  R    R  N    N  II  N    N   GGGG   !!!
"""

SICK_JOB = "  ---->  I REFUSE TO CONTINUE WITH THIS SICK JOB ... BYE!!! <----"


class StopError(Exception):
    """The program ends here, with these lines on stdout and in the OUTCAR."""


def box(banner: str, text: str) -> str:
    edge = " " + "-" * 77
    body = ["", *banner.splitlines(), "", *text.splitlines(), ""]
    return "\n".join([edge, *(f"|     {line:<72}|" for line in body), edge, ""]) + "\n"


def error(text: str) -> StopError:
    """VASP 6's box around an error that it does not go on after."""
    return StopError(box(_ERROR, f"{text}\n\n{SICK_JOB}"))


def warning(text: str) -> str:
    return box(_WARNING, text)


NOT_CONVERGED = warning(
    "The electronic self-consistency was not achieved in the given\n"
    "number of steps (NELM). The forces and other quantities evaluated\n"
    "might not be reliable so examine the results carefully. If you find\n"
    "spurious results, we suggest increasing NELM, if you were close to\n"
    "convergence or switching to a different ALGO or adjusting the\n"
    "density mixing parameters otherwise."
)
