"""SpinMultiNet: assembly of the network; forces, stress and magnetic forces by automatic differentiation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers
from torch import Tensor, nn

from .data import Graph
from .errors import SpinMultiNetError
from .hypers import ModelOptions, parse, read_config
from .nn.coupling import CouplingTable, SphericalHarmonics, hidden_irreps
from .nn.embedding import BesselBasis, NodeEmbedding, bounded, envelope, legendre
from .nn.fused import Edges
from .nn.interaction import Interaction, Sector, SpeciesGroups
from .nn.readout import EnergyReadout, MomentReadout
from .nn.soc import SpinOrbit
from .statistics import Statistics

_ROCKSALT_DENSITY = 8 / 4.17**3  # atoms per Angstrom^3 of NiO: number of neighbours before a training set is known


class SpinMultiNet(nn.Module):
    """Energy, forces, stress and signed moments of a magnetic structure from positions and input moments.

    Exact by construction: U invariant under translation, permutation, O(3) and m -> -m; predicted moments odd under
    m -> -m. Moments are signed scalars [N, 1] or vectors [N, 3], with the same weights: scalars give what vectors along
    any one axis give. Without spin-orbit coupling O(3) acts on space and on spins separately; with it (option `soc`,
    vectors only) on both together, spins being axial vectors. Source: SpinMultiNet, as a Z2 grading with a spin axis.
    `metadata` holds what a checkpoint says about the training data.
    """

    neighbour_norm: Tensor
    magnetic: Tensor

    def __init__(self, options: ModelOptions, species: Sequence[str]) -> None:
        super().__init__()
        self.options = options
        self.species = list(species)
        self.metadata: dict[str, Any] = {}
        self.warned_of_angles = False
        o, n = options, len(self.species)
        irreps = hidden_irreps(o.l_max, o.parity)
        self.coupling = CouplingTable(irreps, o.l_max)
        self.harmonics = SphericalHarmonics(o.l_max)
        self.bessel = BesselBasis(o.cutoff, o.n_bessel)
        self.embedding = NodeEmbedding(n, o.channels, o.n_spin_basis, o.spin, o.has_odd, o.spin_gain)
        n_inputs = o.n_bessel + (o.n_spin_basis if o.spin else 0)
        self.interactions = nn.ModuleList()
        reached: list[list[int]] = []  # irreps there are after each layer
        ins = [0]
        for k in range(o.layers):
            outs = [0] if k == o.layers - 1 else list(range(len(irreps)))
            layer = Interaction(
                self.coupling,
                ins,
                outs,
                o.channels,
                (n, o.species_channels),
                o.has_odd,
                n_inputs,
                o.radial_hidden,
                o.spin_gain,
            )
            self.interactions.append(layer)
            ins = layer.outs
            reached.append(ins)
        self.energy_readout = EnergyReadout(n, o.channels)
        kind = "odd" if o.has_odd else ("even" if o.spin else "magnitude")
        self.moment_readout = MomentReadout(n, o.channels, kind) if o.moments else None
        # Built last: the other weights are then those that the same seed gives without it.
        between = reached[:-1] if o.soc else []
        self.spin_orbit = nn.ModuleList(SpinOrbit(irreps, present, o.channels, o.spin_gain) for present in between)
        expected = o.avg_neighbours or 4 / 3 * math.pi * o.cutoff**3 * _ROCKSALT_DENSITY
        self.register_buffer("neighbour_norm", torch.tensor(expected**-0.5, dtype=torch.float64))
        self.register_buffer("magnetic", torch.ones(n, dtype=torch.bool))
        self._cast(torch.float64 if o.dtype == "float64" else torch.float32)

    def _cast(self, dtype: torch.dtype) -> None:
        """Weights and bases in the working precision; statistics stay in float64."""
        for name, module in self.named_modules():
            for key, value in module._parameters.items():
                if value is not None:
                    module._parameters[key] = nn.Parameter(value.data.to(dtype))
            for key, buffer in module._buffers.items():
                if buffer is not None and name.startswith(("coupling", "harmonics", "bessel", "spin_orbit")):
                    module._buffers[key] = buffer.to(dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of weights and features."""
        return self.energy_readout.weight.dtype

    @property
    def moment_kind(self) -> str:
        """'odd', 'even', 'magnitude' (see MomentReadout), or 'none'."""
        return self.moment_readout.kind if self.moment_readout is not None else "none"

    def n_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters())

    def set_statistics(self, s: Statistics) -> None:
        """Take scales and shifts from a training set."""
        self.energy_readout.shift.copy_(s.energy_shift)
        self.energy_readout.scale.copy_(s.energy_scale)
        self.magnetic.copy_(s.magnetic)
        if self.moment_readout is not None:
            self.moment_readout.prior.copy_(s.moment_prior)
            self.moment_readout.scale.copy_(s.moment_scale)
        if self.options.avg_neighbours is None:
            self.neighbour_norm.fill_(s.avg_neighbours**-0.5)

    @torch.no_grad()
    def calibrate(self, graph: Graph) -> None:
        """Start training from sensible outputs: scale the energy readout to unit spread and take off its mean.

        Random networks sum many neighbours with a common sign; without this the first epochs only unlearn that.
        """
        even, _ = self.features(graph, graph.edge_vectors(), graph.moments)
        readout = self.energy_readout
        raw = readout.raw(even).double()
        readout.weight.mul_(1.0 / max(float(raw.abs().max()), 1e-6))
        raw = readout.raw(even).double()
        for k in range(len(self.species)):
            mine = raw[graph.species == k]
            if len(mine):
                readout.shift[k] -= readout.scale[k] * mine.mean()

    def forward(self, graph: Graph, *, forces: bool = True, magnetic_forces: bool = False) -> dict[str, Tensor]:
        """Predictions: energy [B], atom_energies [N] (eV), forces [N, 3], stress [B, 3, 3] (NaN unless periodic in 3D),
        moments [N, s] (muB, if the model predicts them), magnetic_forces [N, s] (-dE/dm, eV/muB, on request).

        In training mode the derivatives can be differentiated again.
        """
        with torch.enable_grad() if (forces or magnetic_forces) else torch.set_grad_enabled(self.training):
            vectors = graph.edge_vectors()
            moments = graph.moments
            if forces:
                vectors = vectors.detach().requires_grad_(True)
            if magnetic_forces:
                moments = moments.detach().requires_grad_(True)
            even, odd = self.features(graph, vectors, moments)
            atom_energies = self.energy_readout(even, graph.species)
            energy = atom_energies.new_zeros(graph.n_atoms.shape[0]).index_add(0, graph.structure, atom_energies)
            out = {"energy": energy, "atom_energies": atom_energies}
            if self.moment_readout is not None:
                b = bounded(moments, self.options.moment_unit).to(self.dtype)
                out["moments"] = self.moment_readout(even, odd, graph.species, b)
            wanted = [x for x, on in ((vectors, forces), (moments, magnetic_forces)) if on]
            slopes = self._slopes(energy, wanted)
        if forces:
            out["forces"], out["stress"] = _forces_stress(graph, vectors, slopes.pop(0))
        if magnetic_forces:
            out["magnetic_forces"] = -slopes.pop(0)
        return out if self.training else {k: v.detach() for k, v in out.items()}

    def _slopes(self, energy: Tensor, wanted: list[Tensor]) -> list[Tensor]:
        if not wanted:
            return []
        found = torch.autograd.grad(energy.sum(), wanted, create_graph=self.training, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found, strict=True)]

    def features(self, graph: Graph, vectors: Tensor, moments: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scalars after the last layer: even [N, U] and odd [N, s, U] (None without a T-odd sector)."""
        o = self.options
        if o.soc and moments.shape[1] != 3:
            raise SpinMultiNetError(
                f"moments have shape {tuple(moments.shape)}; a model with spin-orbit coupling wants vectors [N, 3]"
            )
        vectors = vectors.to(self.dtype)
        b = bounded(moments, o.moment_unit).to(self.dtype)
        edges = Edges(graph.receiver, graph.sender, graph.reverse, graph.species.shape[0])
        distance = vectors.norm(dim=-1)
        length = distance[edges.chosen]  # what weighs a pair is the same in both directions
        cut = envelope(length / o.cutoff, o.envelope_power).unsqueeze(-1)
        edge_inputs = self.bessel(length)
        if o.spin:
            product = (b[edges.receiver[edges.chosen]] * b[edges.sender[edges.chosen]]).sum(-1)
            edge_inputs = torch.cat([edge_inputs, o.spin_gain * legendre(product, o.n_spin_basis)], dim=-1)
        folded = self.coupling.fold(self.harmonics(vectors / distance.unsqueeze(-1)))
        even0, odd0 = self.embedding(graph.species, b)
        even: Sector = {0: even0}
        odd: Sector | None = None if odd0 is None else {0: odd0}
        groups = SpeciesGroups.of(graph.species, len(self.species)) if o.species_channels else None
        nodes, norm = (graph.species, groups), self.neighbour_norm.to(self.dtype)
        for k, layer in enumerate(self.interactions):
            if k > 0 and odd is not None and o.soc:
                odd = self.spin_orbit[k - 1](odd)
            even, odd = layer(even, odd, b, nodes, edges, folded, edge_inputs, cut, norm)
        return even[0].squeeze(1), None if odd is None else odd[0].squeeze(1)


def _forces_stress(graph: Graph, vectors: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """From dE/dr_ij [E, 3]: forces [N, 3] and stress [B, 3, 3] = (1/V) sum r_ij (x) dE/dr_ij, symmetrised."""
    zero = slope.new_zeros(graph.species.shape[0], 3)
    forces = zero.index_add(0, graph.receiver, slope).index_add(0, graph.sender, -slope)
    virial = vectors.unsqueeze(2) * slope.unsqueeze(1)
    total = virial.new_zeros(graph.n_atoms.shape[0], 3, 3).index_add(0, graph.structure[graph.receiver], virial)
    volume = graph.volume[:, None, None]
    known = torch.isfinite(volume)
    # Dividing by NaN, even where the result is unused, would put NaN into the gradient of the weights.
    stress = 0.5 * (total + total.transpose(1, 2)) / torch.where(known, volume, torch.ones_like(volume))
    return forces, torch.where(known, stress, torch.full_like(stress, float("nan")))


def build_model(
    options: str | Path | Mapping[str, Any] | ModelOptions, species: Sequence[str], seed: int = 0
) -> SpinMultiNet:
    """An untrained model. `options`: path of a YAML file (its section `model`), a mapping, or ModelOptions.

    Raises SpinMultiNetError for unknown options or species.
    """
    if isinstance(options, str | Path):
        options = read_config(options)[0]
    elif not isinstance(options, ModelOptions):
        options = parse(ModelOptions, dict(options), "model options")
    unknown = [s for s in species if s not in atomic_numbers or s == "X"]
    if unknown or not species or len(set(species)) != len(species):
        raise SpinMultiNetError(
            f"species {list(species)}: give different chemical symbols, at least one"
            + "".join(f"; '{s}' is not one" for s in unknown)
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpinMultiNet(options, species)
