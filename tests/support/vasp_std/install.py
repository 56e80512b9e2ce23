"""Puts ``vasp_std`` and ``vasp_ncl`` where a test wants them."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]

_SCRIPT = """\
#!{python}
import sys

sys.path.insert(0, {repository!r})
sys.modules["torch"] = None  # vesin would import it, which takes longer than all the rest
from tests.support.vasp_std.program import main

sys.exit(main(vectors={vectors}))
"""


def install(folder: Path) -> Path:
    """Executables ``vasp_std``, ``vasp_ncl`` and ``vasp_gam`` in ``folder``, which is returned; one program for all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vasp_std", "vasp_ncl", "vasp_gam"):
        path = folder / name
        path.write_text(_SCRIPT.format(python=sys.executable, repository=str(REPOSITORY), vectors=name == "vasp_ncl"))
        path.chmod(0o755)
    return folder
