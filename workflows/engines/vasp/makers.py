"""atomate2 Makers on our input sets, for flows of one's own: ``SpinStaticMaker().make(structure)``.

The structure carries signed moments as ``magmom`` site property. What is written is read back and compared before
VASP starts, as for labels of the engine. The TaskDoc has the sites in the order of POSCAR, one block per species; which
of the structure's sites each is, stands in ``site_order.json`` and in the TaskDoc's ``additional_json``.

custodian watches with atomate2's own handlers here: the wall time, and moments that flip before a restart, are looked
after by the engine only (:mod:`workflows.engines.vasp.run`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

from atomate2 import SETTINGS
from atomate2.vasp.jobs.base import BaseVaspMaker, vasp_job
from jobflow import Response
from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import UnknownPotcarWarning

from workflows.engines.vasp.inputs import SpinRelaxSetGenerator, SpinStaticSetGenerator


@dataclass
class SpinStaticMaker(BaseVaspMaker):
    """Job of one GGA+U single point with spins.

    ``input_set_generator``: a :class:`SpinStaticSetGenerator`, whose ``settings`` take what an engine's YAML takes.
    """

    name: str = "spin static"
    input_set_generator: SpinStaticSetGenerator = field(default_factory=SpinStaticSetGenerator)

    @vasp_job
    def make(self, structure: Structure, prev_dir: str | Path | None = None) -> Response:
        """Write, check, run and parse. Raises LabelError for inputs that are not what ``structure`` says.

        ``prev_dir`` is refused (EngineError): the wavefunction of another run brings its spin state along.
        """
        if self.input_set_generator.settings.spins != "collinear":
            self.run_vasp_kwargs.setdefault("vasp_cmd", SETTINGS.VASP_NCL_CMD)
            # custodian would take the collinear program for a mesh of one point
            self.run_vasp_kwargs.setdefault("vasp_job_kwargs", {}).setdefault("auto_gamma", False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnknownPotcarWarning)  # their hashes are compared
            response: Response = super().make.original(self, structure, prev_dir)
        return response


@dataclass
class SpinRelaxMaker(SpinStaticMaker):
    """Job of one relaxation with spins; ``input_set_generator``: a :class:`SpinRelaxSetGenerator`."""

    name: str = "spin relax"
    input_set_generator: SpinRelaxSetGenerator = field(default_factory=SpinRelaxSetGenerator)
