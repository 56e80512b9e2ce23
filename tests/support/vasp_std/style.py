"""Which VASP the program writes like, and lines that several files share."""

import os
from dataclasses import dataclass

import numpy as np

VARIABLE = "VASP_STD_STYLE"
"""Environment variable: 6 (default) or 5."""


@dataclass(frozen=True)
class Style:
    version: str
    subversion: str
    major: int

    @classmethod
    def chosen(cls) -> "Style":
        if os.environ.get(VARIABLE, "6").startswith("5"):
            return cls("5.4.4.18Apr17-6-g9f103f2a35", "(build Jan  1 2020 00:00:00) complex", 5)
        return cls("6.4.1", "05Apr23 (build Jan  1 2024 00:00:00) complex", 6)

    @property
    def title(self) -> str:
        joined = f" vasp.{self.version} {self.subversion}"
        return f"{joined:<81}"


def fortran(value: float, decimals: int, width: int) -> str:
    """A number in Fortran's E format: 0.12345E+03, whose mantissa starts with a zero, or a dot where it is negative."""
    if value == 0:
        mantissa, exponent = 0.0, 0
    else:
        exponent = int(np.floor(np.log10(abs(value)))) + 1
        mantissa = round(value / 10.0**exponent, decimals)
        if abs(mantissa) >= 1:
            mantissa, exponent = mantissa / 10, exponent + 1
    text = f"{mantissa:.{decimals}f}E{exponent:+03d}"
    return text.rjust(width) if len(text) <= width else text.replace("-0.", "-.", 1).rjust(width)


def truth(value: bool) -> str:
    return "T" if value else "F"


def rows(matrix: np.ndarray, form: str) -> list[str]:
    """One string per row."""
    return ["".join(form.format(x) for x in row) for row in np.atleast_2d(matrix)]
