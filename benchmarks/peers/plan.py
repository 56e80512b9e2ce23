"""What is measured: the programs, their models of about 4 million parameters, and the order of the measurements."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SPECIES = ("O", "Mn", "Co", "Ni")  # those of the paper's model; NiO holds two of them
CUTOFF = 5.0  # Angstrom
NEIGHBOURS = 57.8  # of an atom in NiO within the cutoff
N_STRUCTURES = 4  # different ones, taken in turn
TASKS = ("train", "infer")
OURS = "ours"
SPIN = {"use_spin": [s != "O" for s in SPECIES]}


@dataclass(frozen=True)
class Variant:
    """One model of one program. `program` names the environment and the worker."""

    name: str
    program: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)
    compiled: bool = False


def _ours(name: str, title: str, **changes: Any) -> Variant:
    base = {"layers": 4, "channels": 82, "species_channels": 4, "l_max": 2, "parity": False, "n_bessel": 8}
    return Variant(name, OURS, title, base | {"radial_hidden": [64], "cutoff": CUTOFF} | changes)


def _nequip(width: str, features: int, embedding: int | None, said: str) -> list[Variant]:
    options = {
        "num_layers": 4,
        "l_max": 2,
        "parity": False,
        "num_features": features,
        "type_embed_num_features": embedding,
        "radial_mlp_depth": 1,
        "radial_mlp_width": 64,
        "num_bessels": 8,
        "avg_num_neighbors": NEIGHBOURS,
    }
    return [
        Variant(f"nequip{width}-{mode}", "nequip", f"nequip, {said}, {mode}", options, mode == "compiled")
        for mode in ("eager", "compiled")
    ]


_MACE = {
    "num_bessel": 8,
    "max_ell": 3,
    "num_interactions": 2,
    "hidden_irreps": "298x0e+298x1o",
    "avg_num_neighbors": NEIGHBOURS,
    "correlation": 3,
    "radial_MLP": [64, 64, 64],
}
_CHGNET = {
    **dict.fromkeys(("atom_fea_dim", "bond_fea_dim", "angle_fea_dim", "atom_conv_hidden_dim"), 202),
    "bond_conv_hidden_dim": 202,
    "mlp_hidden_dims": [202, 202, 202],
    "bond_graph_cutoff": 3,
}
_FITTING = {"neuron": [240, 240, 240], "resnet_dt": True, "precision": "float32", "seed": 1}
_DPA4 = {
    "type": "DPA4",
    "spin": SPIN | {"scheme": "native"},
    "descriptor": {
        "sel": 120,
        "rcut": CUTOFF,
        "channels": 86,
        "n_radial": 8,
        "lmax": 2,
        "mmax": 1,
        "n_blocks": 4,
        "precision": "float32",
        "seed": 1,
    },
    "fitting_net": {"neuron": [0], "precision": "float32", "seed": 1},
}
_DEEPSPIN = {
    "spin": SPIN | {"virtual_scale": [0.314] * 3},
    "descriptor": {
        "type": "se_e2_a",
        "sel": [40, 40, 40, 40],
        "rcut": CUTOFF,
        "rcut_smth": 4.5,
        "neuron": [25, 50, 100],
        "axis_neuron": 16,
        "precision": "float32",
        "seed": 1,
    },
    "fitting_net": _FITTING,
}

REFERENCE = _ours("ours", "ours: paper.yaml, with spin", spin=True, moments=True)
NO_SPIN = (
    _ours("ours-nospin-channels", "no spin, as many channels", spin=False, moments=False),
    _ours("ours-nospin-width", "no spin, as many features (channels x 2)", spin=False, moments=False, channels=164),
    _ours("ours-nospin-parameters", "no spin, as many parameters", spin=False, moments=False, channels=183),
)
PEERS = (
    *_nequip("", 69, None, "69 features, its default species embedding"),
    *_nequip("-wide", 202, 4, "202 features, species embedding of 4"),
    Variant("mace", "mace", "mace-torch, 2 layers, 298x0e+298x1o, correlation 3", _MACE),
    Variant("chgnet", "chgnet", "chgnet, width 202", _CHGNET),
    Variant("deepmd-dpa4", "deepmd", "deepmd-kit DPA4, native spin, 4 blocks, l 2, 86 channels", _DPA4),
    Variant("deepmd-se_e2_a", "deepmd", "deepmd-kit DeepSPIN, se_e2_a", _DEEPSPIN),
)
PROGRAMS = tuple(dict.fromkeys(v.program for v in PEERS))


@dataclass(frozen=True)
class Measurement:
    """One process to run: variant, task ('train', 'infer' or 'prepare'), number of atoms, repeat."""

    variant: Variant
    task: str
    n_atoms: int
    repeat: int

    @property
    def key(self) -> str:
        """Its name in the file of results."""
        return f"{self.variant.name}/{self.task}/{self.n_atoms}/{self.repeat}"

    @property
    def group(self) -> tuple[str, str, int]:
        """What its repeats have in common."""
        return self.variant.name, self.task, self.n_atoms


def variants(programs: Sequence[str], parts: Sequence[str]) -> list[Variant]:
    """Ours first, then those asked for."""
    peers = [v for v in PEERS if v.program in programs] if "peers" in parts else []
    return [REFERENCE, *(NO_SPIN if "spin" in parts else ()), *peers]


def measurements(
    chosen: Sequence[Variant], sizes: Sequence[int], scaling: Sequence[int], repeats: int
) -> Iterator[Measurement]:
    """All of them, interleaved: one repeat of everything before the next, so that noise hits all alike."""
    for v in chosen:
        if v.compiled:
            yield Measurement(v, "prepare", min(sizes), 0)
    for repeat in range(repeats):
        for n_atoms in sizes:
            for task in TASKS:
                for v in chosen:
                    yield Measurement(v, task, n_atoms, repeat)
        for n_atoms in scaling:
            if n_atoms not in sizes:
                yield Measurement(REFERENCE, "infer", n_atoms, repeat)


def source_hash() -> str:
    """Of our model's sources and of this driver's: measurements of another state are not comparable with these."""
    digest = hashlib.sha256()
    for folder in ("spinmultinet", "benchmarks/peers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
