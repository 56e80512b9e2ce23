"""Which mistakes in VASP's input files the check before a run catches, as the table of docs/vasp.md.

    python benchmarks/vasp_input_mutations.py

Right files are written for eight atoms whose species alternate, with invented POTCARs, and each changed in one way.
Exit code 1 where a change passes, or where another way to say the same does not.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pymatgen.core import SETTINGS

from datastore.schema import SpinConfig
from tests.support import vasp_mutations
from tests.support.vasp_mutations import HARMLESS, MUTATIONS, Mutation
from tests.support.vasp_std.potcars import write_potcars
from workflows.engines.interface import LabelError
from workflows.engines.vasp.check import check_inputs
from workflows.engines.vasp.inputs import SpinStaticSetGenerator
from workflows.engines.vasp.settings import VaspSettings

SHOWN = 150
"""Characters of a message in the table."""


def verdict(mutation: Mutation) -> str:
    """What the check says of one mutation; empty where it lets it pass."""
    config, settings = vasp_mutations.configuration(mutation.vectors), vasp_mutations.settings(mutation.vectors)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, config, settings)
        mutation.apply(folder)
        try:
            check_inputs(folder, config, settings)
        except LabelError as error:
            return str(error).split("configuration says: ", 1)[1]
    return ""


def write(folder: Path, config: SpinConfig, settings: VaspSettings) -> None:
    generator = SpinStaticSetGenerator(settings=settings, moment_role=config.moment_role)
    generator.input_for(config).write_input(folder)


def short(message: str) -> str:
    shown = message if len(message) <= SHOWN else message[:SHOWN].rsplit(" ", 1)[0] + " ..."
    return shown.replace("|", "\\|")


def main() -> int:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        SETTINGS["PMG_VASP_PSP_DIR"] = str(write_potcars(Path(folder)))
        caught = [(mutation.name, verdict(mutation)) for mutation in MUTATIONS]
        stopped = [(mutation.name, said) for mutation in HARMLESS if (said := verdict(mutation))]
    print("| change in the files | what the check says |\n| --- | --- |")
    for name, said in caught:
        print(f"| {name} | {short(said) or '**nothing**'} |")
    missed = [name for name, said in caught if not said]
    print(f"\n{len(caught) - len(missed)} of {len(caught)} changes are caught.")
    print(f"{len(HARMLESS) - len(stopped)} of {len(HARMLESS)} other ways to say the same pass: ", end="")
    print("; ".join(mutation.name for mutation in HARMLESS) + ".")
    return 1 if missed or stopped else 0


if __name__ == "__main__":
    sys.exit(main())
