"""The spin-lattice engine, whose corrections change a setting that decides numbers for some configurations."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from datastore.schema import SpinConfig
from tests.support.counted_engine import Counted
from workflows.engines.interface import RawLabel


class Changing(Counted):
    type: Literal["changing"] = "changing"  # type: ignore[assignment]
    ordering: str = "FM"
    """Configurations of this ordering end at another level of theory."""

    def compute(self, config: SpinConfig, workdir: Path | None) -> RawLabel:
        label = super().compute(config, workdir)
        if config.ordering != self.ordering:
            return label
        return replace(label, corrections=["custodian: tet -> INCAR ISMEAR=0"], level_changes={"ISMEAR": 0})
