"""SpinMultiNet for torch-sim: many structures relaxed, or run in molecular dynamics, side by side on one device.

torch-sim (package torch-sim-atomistic, Python 3.12 and later) is the extra `torch-sim`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.data import atomic_numbers
from torch import Tensor

from . import keys
from .committee import Committee
from .data import Graph
from .errors import SpinMultiNetError
from .inputs import graphs_of, warn_of_angles
from .levels import check_role
from .model import SpinMultiNet

try:
    from torch_sim.io import atoms_to_state
    from torch_sim.models.interface import ModelInterface
    from torch_sim.neighbors import torchsim_nl
    from torch_sim.state import SimState
except ImportError as error:
    raise ImportError(
        f"spinmultinet.torch_sim needs torch-sim, which wants Python 3.12 or later ({error}): pip install "
        "'spinmultinet-workflows[torch-sim]'"
    ) from error

Model = SpinMultiNet | str | Path
NeighbourSearch = Callable[..., tuple[Tensor, Tensor, Tensor]]
# What `forward` returns as moments; torch-sim stores it in the state, so it must not have the name of the input.
MAGNETIC_MOMENTS = "magnetic_moments"
_NAMES = {"energy": "energy", "forces": "forces", "stress": "stress", "moments": MAGNETIC_MOMENTS}


class SpinMultiNetTorchSim(ModelInterface):
    """A model, or a committee (list), as torch-sim wants it. All is in float64, the precision of the model is its own.

    The state has the input moments (muB) in its per-atom extra `magmom_in`, [N] signed scalars or [N, 3] vectors;
    `state_of` makes such a state. They stay as they are: predicted moments come out under another name, and torch-sim
    keeps them, like the spreads of a committee, in the state's extras.
    """

    def __init__(
        self,
        model: Model | Sequence[Model],
        device: torch.device | str = "cpu",
        compute_forces: bool = True,
        neighbor_list_fn: NeighbourSearch = torchsim_nl,
    ) -> None:
        """`compute_forces` = False leaves out forces and stress. `neighbor_list_fn` is one of torch_sim.neighbors.

        The default search of torch-sim has room for 0.2 atoms per Angstrom^3 and raises an error beyond.
        """
        super().__init__()
        self.neighbor_list_fn = neighbor_list_fn
        committee = Committee([model] if isinstance(model, SpinMultiNet | str | Path) else list(model))
        self.metadata, self.calibration = committee.metadata, committee.calibration
        self.models = torch.nn.ModuleList(committee.members).to(device).eval()
        self._device, self._dtype = torch.device(device), torch.float64
        self._compute_forces = self._compute_stress = compute_forces
        index = torch.full((len(atomic_numbers),), -1)
        index[[atomic_numbers[s] for s in self.model.species]] = torch.arange(len(self.model.species))
        self.register_buffer("species_index", index.to(device))

    @property
    def members(self) -> list[SpinMultiNet]:
        """The models, one or more."""
        return [m for m in self.models if isinstance(m, SpinMultiNet)]

    @property
    def model(self) -> SpinMultiNet:
        """The (first) model."""
        return self.members[0]

    def state_of(self, frames: Sequence[Atoms]) -> SimState:
        """The structures side by side, with their input moments (`magmom_in`, or ASE's initial moments).

        Raises SpinMultiNetError for unknown species, for missing or unfit moments and for another role of the moments
        than the model's; warns where `predict` does. torch-sim wants the same periodicity of all.
        """
        check_role(self.metadata, frames)
        graphs = graphs_of(self.model, frames, labelled=False)
        warn_of_angles(self.model, graphs)
        moments = _as_given(torch.cat([g.moments for g in graphs])).to(self.device)
        state = atoms_to_state(list(frames), self.device, self.dtype)
        state.store_model_extras({keys.MAGMOM_IN: moments})
        return state

    def forward(self, state: SimState, **kwargs: Any) -> dict[str, Tensor]:
        """energy [B] (eV), forces [N, 3] (eV/Angstrom), stress [B, 3, 3] (eV/Angstrom^3, ASE sign; NaN unless periodic
        in 3D) and magnetic_moments (muB, [N] or [N, 3] like the input, if the model predicts them).

        A committee gives means, and energy_std [B], forces_std [N] and magnetic_moments_std [N] (sample standard
        deviation; norm over components), a calibrated one also the expected errors energy_sigma, forces_sigma and
        magnetic_moments_sigma. Raises SpinMultiNetError for unknown species and missing moments.
        """
        species, moments = self._species(state), self._moments(state)
        graphs: dict[float, Graph] = {}  # members of equal cutoff share their neighbour lists
        found = []
        for member in self.members:
            cutoff = member.options.cutoff
            if cutoff not in graphs:
                graphs[cutoff] = _graph(state, species, moments, cutoff, self.neighbor_list_fn)
            found.append(member(graphs[cutoff], forces=self.compute_forces))
        stacked = {n: torch.stack([f[task].double() for f in found]) for task, n in _NAMES.items() if task in found[0]}
        out = {name: values.mean(0) for name, values in stacked.items()}
        if len(found) > 1:
            out |= {f"{n}_std": _spread(v) for n, v in stacked.items() if n != "stress"}
        factors = {} if self.calibration is None else self.calibration.factors
        out |= {f"{_NAMES[t]}_sigma": f.factor * out[f"{_NAMES[t]}_std"] for t, f in factors.items() if t in found[0]}
        if MAGNETIC_MOMENTS in out:
            out[MAGNETIC_MOMENTS] = _as_given(out[MAGNETIC_MOMENTS])
        return out

    def _species(self, state: SimState) -> Tensor:
        species: Tensor = self.species_index[state.atomic_numbers.long()]
        if bool((species < 0).any()):
            number = int(state.atomic_numbers[species < 0][0])
            raise SpinMultiNetError(
                f"the state has atoms of number {number}, unknown to the model, which knows "
                f"{', '.join(self.model.species)}"
            )
        return species

    def _moments(self, state: SimState) -> Tensor:
        """Input moments [N, s]; zeros for a model without spin."""
        if not self.model.options.spin and not state.has_extras(keys.MAGMOM_IN):
            return torch.zeros(state.n_atoms, 1, dtype=torch.float64, device=self.device)
        if keys.MAGMOM_IN not in state.atom_extras:
            raise SpinMultiNetError(
                f"the state has no input moments; give it the per-atom extra '{keys.MAGMOM_IN}' (muB), or make it with "
                "state_of"
            )
        return state.atom_extras[keys.MAGMOM_IN].double().reshape(state.n_atoms, -1)


def _as_given(moments: Tensor) -> Tensor:
    """Moments [N, 1] as [N] scalars; vectors [N, 3] as they are."""
    return moments.squeeze(-1) if moments.shape[1] == 1 else moments


def _spread(values: Tensor) -> Tensor:
    """Sample standard deviation over members, norm over components."""
    spread = values.std(0)
    return spread if spread.ndim == 1 else torch.linalg.vector_norm(spread, dim=-1)


def _graph(state: SimState, species: Tensor, moments: Tensor, cutoff: float, search: NeighbourSearch) -> Graph:
    """The state as the model wants it, with neighbours found on its device; without labels."""
    positions, cells = state.positions.double(), state.row_vector_cell.double()
    pairs, system, images = search(positions, cells, state.pbc, cutoff, state.system_idx)
    n_atoms = torch.bincount(state.system_idx, minlength=state.n_systems)
    volume = torch.linalg.det(cells).abs()
    nothing = positions.new_full((1,), float("nan"))
    return Graph(
        species=species,
        positions=positions,
        moments=moments,
        structure=state.system_idx,
        receiver=pairs[0].long(),
        sender=pairs[1].long(),
        shift=torch.einsum("ei,eij->ej", images.double(), cells[system.long()]),
        reverse=torch.arange(len(pairs[0]), device=positions.device),
        n_atoms=n_atoms,
        volume=volume if bool(state.pbc.all()) else torch.full_like(volume, float("nan")),
        energy=nothing.expand(state.n_systems),
        forces=nothing.expand(state.n_atoms, 3),
        stress=nothing.expand(state.n_systems, 3, 3),
        moments_out=nothing.expand_as(moments),
        magnetic_forces=nothing.expand_as(moments),
    )
