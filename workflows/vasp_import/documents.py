"""A task document of emmet or atomate2 -> :class:`~workflows.vasp_import.convert.Raw`, one per calculation in it.

A document has been read by somebody else, and nothing is there to check it against but itself. Plain dictionaries are
taken apart here; no class that a document names is ever built.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.io.vasp import Incar

from datastore.mapping import RefusedError
from datastore.schema import FloatArray
from workflows.engines.vasp.corrections import Corrections, read_corrections
from workflows.engines.vasp.levels import centring, kpoints_rule, kpts_of_run
from workflows.engines.vasp.outputs import FIXED_DENSITY, KB_PER_EV_A3
from workflows.engines.vasp.potcars import identity, symbol_of
from workflows.engines.vasp.tags import holds_occupations
from workflows.vasp_import.convert import Raw, turned

CALCULATIONS = "calcs_reversed"
"""Key that makes a document one of emmet's TaskDoc."""

_STEP = ("e_fr_energy", "e_0_energy", "forces", "stress", "structure", "num_electronic_steps")
_SCF = ("e_fr_energy", "e_0_energy")
_OUTPUT = ("structure", "energy", "bandgap", "outcar", "run_stats")
_INPUT = ("incar", "parameters", "structure", "kpoints", "potcar_spec")
_CALCULATION = (
    *(f"input.{name}" for name in _INPUT),
    *(f"output.{name}" for name in _OUTPUT),
    *(f"output.ionic_steps.{name}" for name in _STEP),
    *(f"output.ionic_steps.electronic_steps.{name}" for name in _SCF),
    "has_vasp_completed",
    "vasp_version",
    "task_name",
)
_TASK = (
    *(f"{CALCULATIONS}.{name}" for name in _CALCULATION),
    "orig_inputs.incar",
    "orig_inputs.kpoints.comment",
    "orig_inputs.kpoints.generation_style",
    "custodian",
    "dir_name",
    "task_id",
)
PROJECTION = ("uuid", "index", *_TASK, *(f"output.{name}" for name in _TASK))
"""What is asked of a database: tasks of emmet, or outputs of jobflow's jobs. Densities of states stay there."""

_ROUNDED = 1e-5
"""eV between two energies of a document that are the same one."""


def read_document(document: Mapping[str, Any], origin: str) -> Iterator[Raw | RefusedError]:
    """The calculations of a document, oldest first; for each that gives no label, why."""
    output = document.get("output")
    task = output if isinstance(output, Mapping) and CALCULATIONS in output else document
    calculations = list(reversed(task.get(CALCULATIONS) or []))
    if not calculations:
        yield RefusedError("no task document", f"it has no {CALCULATIONS}, which emmet's TaskDoc has")
    for calculation in calculations:
        name = str(calculation.get("task_name") or "standard")
        try:
            where = origin if len(calculations) == 1 else f"{origin} ({name})"
            yield _raw(calculation, task, where, calculation is calculations[-1])
        except RefusedError as error:
            yield error
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            yield RefusedError("incomplete document", f"{name}: {type(error).__name__}: {error}"[:200])


def _raw(calculation: Mapping[str, Any], task: Mapping[str, Any], where: str, newest: bool) -> Raw:
    given, output = calculation["input"], calculation["output"]
    incar, parameters = dict(given.get("incar") or {}), dict(given.get("parameters") or {})
    steps = output.get("ionic_steps") or []
    last = _last_step(steps, task, newest)
    _check_finished(calculation, incar, parameters, last)
    _check_occupations({**((task.get("orig_inputs") or {}).get("incar") or {}), **incar})
    species, lattice, positions = _structure(last.get("structure") or output["structure"])
    _check_order(species, given, output)
    symbols = [symbol for symbol, _ in groupby(species)]
    potcars = _potcars(given.get("potcar_spec") or [], symbols)
    energy, free_energy, notes = _energies(output, last)
    found = _moments(output, species, _vectors(incar, parameters))
    corrections = _corrections(incar, task)
    original = (task.get("orig_inputs") or {}).get("incar") if corrections.level_changes else None
    comment = _comment(task)
    mesh, centre = _mesh(given.get("kpoints") or {})
    settings = dict(original or incar)
    return Raw(
        species=species,
        lattice=lattice,
        positions=positions,
        magmoms_in=_stated(incar, found.shape),
        magmoms_out=found,
        energy=energy,
        free_energy=free_energy,
        forces=np.array(last["forces"], dtype=np.float64),
        stress=_stress(last.get("stress")),
        total_moment=_total(output) if found.ndim == 1 else None,  # of a vector, one component is there
        charges=_charges(output),
        band_gap=output.get("bandgap"),
        kpoints=mesh,
        incar=settings,
        parameters=parameters,
        symbols=symbols,
        titels=[potcars[symbol]["titel"] for symbol in symbols],
        potcars=[potcars[symbol] for symbol in symbols],
        kpts=kpts_of_run(settings, comment, centre),
        version=str(calculation.get("vasp_version") or "not stated"),
        n_ionic=len(steps) or _unlisted_steps(incar, parameters),
        timings=_timings(output.get("run_stats") or {}),
        corrections=corrections.texts,
        history=corrections.history,
        changes=corrections.level_changes,
        own=bool(kpoints_rule(comment)),
        source={"file": where, **_identity(task), "checked": "a task document: not against OUTCAR", **notes},
    )


def _last_step(steps: list[Mapping[str, Any]], task: Mapping[str, Any], newest: bool) -> Mapping[str, Any]:
    """The last ionic step; slim documents have of it what the task's output says, which is that of the newest run."""
    if steps:
        return steps[-1]
    if not newest:
        raise RefusedError("incomplete document", "a calculation before the newest has no ionic steps, so no forces")
    return task.get("output") or {}


def _unlisted_steps(incar: Mapping[str, Any], parameters: Mapping[str, Any]) -> int:
    """1 for a single point; 0, for an unknown number, where the ions moved by the settings."""
    tags = {**incar, **parameters}
    return 0 if int(tags.get("NSW") or 0) > 1 and int(tags.get("IBRION", 0)) != -1 else 1


def _check_order(species: list[str], given: Mapping[str, Any], output: Mapping[str, Any]) -> None:
    """Refuse structures whose sites are in several orders: moments and forces would meet the wrong sites."""
    for structure in (given["structure"], output["structure"]):
        if _structure(structure)[0] != species:
            raise RefusedError("inconsistent", "its structures have the species in different orders")


def _vectors(incar: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    """Whether the moments are vectors. Raises RefusedError where SAXIS has turned them: emmet keeps no such frame."""
    if not (parameters.get("LNONCOLLINEAR") or incar.get("LNONCOLLINEAR")):
        return False
    for tags in (incar, parameters):
        if turned(tags.get("SAXIS")):
            raise RefusedError("turned moments", "SAXIS is not 0 0 1; import the folder instead")
    return True


def _comment(task: Mapping[str, Any]) -> str:
    """First line of the KPOINTS file, ``-`` for an empty one; empty where no such file is known."""
    kpoints = (task.get("orig_inputs") or {}).get("kpoints")
    return (str(kpoints.get("comment") or "").strip() or "-") if kpoints else ""


def _check_occupations(incar: Mapping[str, Any]) -> None:
    """Refuse the energy of held occupation matrices. Raises RefusedError."""
    if holds_occupations("\n".join(f"{tag} = {value}" for tag, value in incar.items())):
        raise RefusedError("occupations held", "occupation matrices were held: the energy belongs to no state")


def _check_finished(
    calculation: Mapping[str, Any], incar: Mapping[str, Any], parameters: Mapping[str, Any], last: Mapping[str, Any]
) -> None:
    """Refuse what is no converged, self-consistent energy with moments. Raises RefusedError."""
    if incar.get("ML_LMLFF"):
        raise RefusedError("foreign", "a machine-learned force field (ML_LMLFF) made it, and no calculation")
    if int(parameters.get("ICHARG", incar.get("ICHARG", 2))) > FIXED_DENSITY:
        raise RefusedError("not self-consistent", "ICHARG above 10 keeps the charge density")
    if int(parameters.get("ISPIN", incar.get("ISPIN", 1))) != 2 and not parameters.get("LNONCOLLINEAR"):
        raise RefusedError("no moments", "it is not spin-polarised")
    if parameters.get("I_CONSTRAINED_M") or incar.get("I_CONSTRAINED_M"):
        raise RefusedError("penalty not known", "moments were held; import the folder, whose OSZICAR says how well")
    steps = last.get("num_electronic_steps") or len(last.get("electronic_steps") or [])
    limit = int(parameters.get("NELM", incar.get("NELM", 60)))
    if steps >= limit:
        raise RefusedError("not converged", f"{steps} electronic steps of NELM = {limit}")
    completed = calculation.get("has_vasp_completed")
    if not steps and completed not in (True, "successful"):
        raise RefusedError("not converged", f"has_vasp_completed is {completed!r}, and electronic steps are not there")


def _energies(output: Mapping[str, Any], last: Mapping[str, Any]) -> tuple[float, float, dict[str, str]]:
    """E(sigma -> 0) and the free energy. In VASP 5, ``e_0_energy`` of an ionic step is none."""
    energy = float(output["energy"])
    if last.get("e_fr_energy") is None:
        return energy, energy, {"energies": "the document has one energy"}
    free_energy = float(last["e_fr_energy"])
    if scf := last.get("electronic_steps"):
        extrapolated = free_energy + float(scf[-1]["e_0_energy"]) - float(scf[-1]["e_fr_energy"])
        if abs(extrapolated - energy) > _ROUNDED:
            raise RefusedError("inconsistent", f"its energy is {energy}, and {extrapolated:.8f} by its last step")
    return energy, free_energy, {}


def _structure(content: Mapping[str, Any]) -> tuple[list[str], FloatArray, FloatArray]:
    """Species, lattice (3, 3) and Cartesian positions of a structure's dictionary."""
    lattice = np.array(content["lattice"]["matrix"], dtype=np.float64)
    species = []
    for site in content["sites"]:
        if len(site["species"]) != 1 or float(site["species"][0].get("occu", 1)) != 1.0:
            raise RefusedError("partly occupied sites", "no calculation has them")
        species.append(str(site["species"][0]["element"]))
    fractional = np.array([site["abc"] for site in content["sites"]], dtype=np.float64)
    return species, lattice, fractional @ lattice


def _stress(kilobar: Any) -> FloatArray | None:
    """VASP's stress in eV/Angstrom^3 with ASE's sign, symmetric to the last digit."""
    if kilobar is None:
        return None
    stress = -np.array(kilobar, dtype=np.float64) / KB_PER_EV_A3
    return (stress + stress.T) / 2


def _moments(output: Mapping[str, Any], species: list[str], vectors: bool) -> FloatArray:
    """(N,) moments of OUTCAR's last table, or (N, 3). emmet makes signed lengths of the vectors in that table."""
    table = [] if vectors else (output.get("outcar") or {}).get("magnetization") or []
    values = [_moment(row["tot"]) for row in table]
    if not values:  # slim documents keep them on the sites only
        sites = output["structure"]["sites"]
        values = [_moment((site.get("properties") or {}).get("magmom")) for site in sites]
    if len(values) != len(species) or any(value is None for value in values):
        raise RefusedError("no moments", "neither output.outcar.magnetization nor the sites have them; set LORBIT = 11")
    moments = np.array(values, dtype=np.float64)
    if vectors and moments.ndim != 2:
        raise RefusedError("direction lost", "it has lengths of vector moments; import the folder of the run instead")
    return moments


def _moment(value: Any) -> Any:
    """A number or a vector; pymatgen's Magmom is a dictionary, whose direction counts."""
    if not isinstance(value, Mapping):
        return value
    if turned(value.get("saxis")):
        raise RefusedError("turned moments", "SAXIS is not 0 0 1; import the folder instead")
    return value["moment"]


def _stated(incar: Mapping[str, Any], shape: tuple[int, ...]) -> FloatArray | None:
    """MAGMOM; None where the INCAR has none."""
    if incar.get("MAGMOM") is None:
        return None
    values = np.array([_moment(value) for value in incar["MAGMOM"]], dtype=np.float64)
    return values.reshape(shape) if values.size == np.prod(shape) else values


def _total(output: Mapping[str, Any]) -> float | None:
    total = (output.get("outcar") or {}).get("total_magnetization")
    return float(total) if isinstance(total, int | float | str) else None


def _charges(output: Mapping[str, Any]) -> FloatArray | None:
    table = (output.get("outcar") or {}).get("charge") or []
    return np.array([row["tot"] for row in table], dtype=np.float64) if table else None


def _mesh(kpoints: Mapping[str, Any]) -> tuple[list[int] | None, str]:
    """Divisions of a regular mesh and its centring; None and '' for a list of k points."""
    shift = kpoints.get("usershift") or kpoints.get("kpts_shift") or ()
    centre = centring(str(kpoints.get("generation_style", "")), shift)
    rows = kpoints.get("kpoints") or []
    return ([int(n) for n in rows[0]], centre) if centre and len(rows) == 1 else (None, "")


def _potcars(specs: list[Mapping[str, Any]], symbols: list[str]) -> dict[str, dict[str, str]]:
    """Element -> TITEL, and the MD5 that emmet keeps of a POTCAR, where it had one.

    pymatgen reads a POTCAR with two blocks of one element as one with more of them, so that positions tell nothing.
    """
    found: dict[str, dict[str, str]] = {}
    for spec in specs:
        titel = " ".join(str(spec.get("titel") or "").split())
        known = {"md5": str(spec["hash"])} if spec.get("hash") else {}
        content = {**identity(titel, None), **known}
        if found.setdefault(symbol_of(titel).split("_")[0], content) != content:
            raise RefusedError("inconsistent", f"two POTCARs for one element, one of them {titel}")
    if set(found) != set(symbols):
        named = ", ".join(found) or "none"
        raise RefusedError("inconsistent", f"its POTCARs are those of {named}, its species {' '.join(symbols)}")
    return found


def _corrections(incar: Mapping[str, Any], task: Mapping[str, Any]) -> Corrections:
    """custodian's corrections, read as in a folder; settings before them are known where one run was made."""
    log = [entry for entry in task.get("custodian") or [] if entry]
    if not any(entry.get("corrections") for entry in log):
        return Corrections([], [], {})
    original = (task.get("orig_inputs") or {}).get("incar")
    with tempfile.TemporaryDirectory(prefix="vasp-document-") as folder:
        Path(folder, "custodian.json").write_text(json.dumps(log, default=str))
        if original and len(task[CALCULATIONS]) == 1:
            Path(folder, "INCAR").write_text(str(Incar(dict(incar))))
            Path(folder, "INCAR.orig").write_text(str(Incar(dict(original))))
        return read_corrections(Path(folder))


def _timings(statistics: Mapping[str, Any]) -> dict[str, float]:
    names = {"elapsed_time": "wall", "cores": "cores"}
    return {ours: float(statistics[key]) for key, ours in names.items() if statistics.get(key)}


def _identity(task: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(task[key]) for key in ("task_id", "dir_name") if task.get(key)}
