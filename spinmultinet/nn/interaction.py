"""One interaction layer: messages along edges, on-site spin paths, gate.

Features are {irrep index: tensor}: even [N, 2l+1, U], odd [N, 2l+1, s, U]. Time reversal flips the odd ones.
Spin mixes the sectors through scalar products over the spin axis only, so s = 1 and s = 3 use the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .coupling import CouplingTable, FoldedTensorProduct
from .embedding import SIGMOID_GAIN, SILU_GAIN, RadialNetwork
from .fused import Edges

Sector = dict[int, Tensor]


@dataclass(frozen=True)
class SpeciesGroups:
    """Which nodes are of which species: their `order` by species, its `inverse`, and `counts` per species."""

    order: Tensor
    inverse: Tensor
    counts: list[int]

    @classmethod
    def of(cls, species: Tensor, n_species: int) -> SpeciesGroups:
        """From species [N], indices below n_species."""
        order = torch.argsort(species, stable=True)
        return cls(order, torch.argsort(order), torch.bincount(species, minlength=n_species).tolist())

    def times(self, x: Tensor, weights: Tensor) -> Tensor:
        """x [N, ..., in] times the matrix of each node's species, weights [S, in, out] -> [N, ..., out]."""
        parts = torch.split(x.index_select(0, self.order), self.counts)
        return torch.cat([part @ w for part, w in zip(parts, weights, strict=True)]).index_select(0, self.inverse)


class SpinLinear(nn.Module):
    """Linear maps within the sectors and, through the site's own moment b, between them.

    E' = E W_ee + gain (b . O) W_oe   and   O' = O W_oo + (E b) W_eo, for each irrep. `inputs` {irrep: channels of
    either sector} and `outputs` {irrep: (even, odd)}; without an odd sector only W_ee exists. With `kinds` (number of
    species, length T of their embedding) each W is the sum over t of embedding[Z, t] W_t, a matrix per species.
    """

    def __init__(
        self,
        inputs: dict[int, int],
        outputs: dict[int, tuple[int, int]],
        odd: bool,
        gain: float,
        kinds: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.gain = gain
        self.species = nn.Parameter(torch.randn(kinds)) if kinds else None
        terms = () if kinds is None else (kinds[1],)
        self.outputs = {o: outputs[o] for o in outputs if o in inputs}
        self.even = nn.ParameterDict()
        self.odd = nn.ParameterDict()
        for o, (n_even, n_odd) in self.outputs.items():
            self.even[str(o)] = nn.Parameter(torch.randn(*terms, inputs[o], n_even + (n_odd if odd else 0)))
            if odd:
                self.odd[str(o)] = nn.Parameter(torch.randn(*terms, inputs[o], n_odd + n_even))

    def forward(
        self, even: Sector, odd: Sector | None, b: Tensor, groups: SpeciesGroups | None = None
    ) -> tuple[Sector, Sector | None]:
        """Sectors in, bounded moments [N, s] -> sectors out; `groups` is wanted where matrices depend on species."""
        new_even: Sector = {}
        new_odd: Sector = {}
        for o, (n_even, n_odd) in self.outputs.items():
            p = self._map(even[o], self.even[str(o)], groups)
            if odd is None:
                new_even[o] = p
                continue
            q = self._map(odd[o], self.odd[str(o)], groups)
            spin = b[:, None, :, None]
            new_even[o] = p[..., :n_even] + self.gain * (spin * q[..., n_odd:]).sum(2)
            new_odd[o] = q[..., :n_odd] + spin * p[..., None, n_even:]
        return new_even, new_odd if odd is not None else None

    def _map(self, x: Tensor, weight: Tensor, groups: SpeciesGroups | None) -> Tensor:
        if self.species is None or groups is None:
            return x @ (weight * weight.shape[0] ** -0.5)
        own = torch.tensordot(self.species, weight, dims=1) * (weight.shape[0] * weight.shape[1]) ** -0.5
        return groups.times(x, own)


class Interaction(nn.Module):
    """h_i <- Gate(Linear(sum_j W_ij [h_j (x) Y_ij]) + SelfConnection(h_i, Z_i)), with the on-site spin paths.

    `kinds`: number of species, and the length of their embedding in the self-connection, as in NequIP; with length 0
    it is one matrix for all, and a gain per species and channel.
    """

    def __init__(
        self,
        table: CouplingTable,
        ins: list[int],
        outs: list[int],
        channels: int,
        kinds: tuple[int, int],
        odd: bool,
        n_edge_inputs: int,
        radial_hidden: list[int],
        gain: float,
    ) -> None:
        super().__init__()
        self.channels, self.odd, self.gain = channels, odd, gain
        self.product = FoldedTensorProduct(table, ins, outs)
        self.outs = self.product.outs
        sectors = 2 if odd else 1
        # Gates: every even irrep but 0e, and every odd one, is multiplied by its own T-even, parity-even scalars.
        self.n_gates = len(self.outs) * sectors - 1
        widths = {o: (channels * (1 + self.n_gates) if o == 0 else channels, channels) for o in self.outs}
        self.before = SpinLinear(dict.fromkeys(ins, channels), dict.fromkeys(ins, (channels, channels)), odd, gain)
        self.radial = RadialNetwork(n_edge_inputs, radial_hidden, self.product.n_paths * channels * sectors)
        self.after = SpinLinear({o: channels * m for o, m in self.product.multiplicity.items()}, widths, odd, gain)
        full = kinds if kinds[1] else None
        self.keep = SpinLinear(dict.fromkeys(ins, channels), widths, odd, gain, full)
        self.species_gain = None if full else nn.Parameter(torch.ones(kinds[0], 2, len(self.outs), channels))
        n_squares = channels * len(self.outs)
        self.squares = nn.Parameter(torch.randn(n_squares, widths[0][0])) if odd else None

    def forward(
        self,
        even: Sector,
        odd: Sector | None,
        b: Tensor,
        nodes: tuple[Tensor, SpeciesGroups | None],
        edges: Edges,
        folded: Tensor,
        edge_inputs: Tensor,
        cut: Tensor,
        norm: Tensor,
    ) -> tuple[Sector, Sector | None]:
        """Sectors, species and their groups, edges j to i, K, inputs of pairs [n, k], envelope [n, 1] -> sectors."""
        sent_even, sent_odd = self.before(even, odd, b)
        message = self._messages(sent_even, sent_odd, edges, folded, self.radial(edge_inputs, cut)) * norm
        got_even, got_odd = self._sectors(message, b.shape[1])
        new_even, new_odd = self.after(got_even, got_odd, b)
        kept_even, kept_odd = self._kept(even, odd, b, *nodes)
        for o, value in kept_even.items():
            new_even[o] = new_even[o] + value
            if kept_odd is not None and new_odd is not None:
                new_odd[o] = new_odd[o] + kept_odd[o]
        return self._gate(new_even, new_odd)

    def _kept(
        self, even: Sector, odd: Sector | None, b: Tensor, species: Tensor, groups: SpeciesGroups | None
    ) -> tuple[Sector, Sector | None]:
        """The self-connection."""
        even, odd = self.keep(even, odd, b, groups)
        if self.species_gain is None:
            return even, odd
        gain = self.species_gain[species]  # [N, 2, irreps, U]; the channels of the gates share those of the scalars
        for k, o in enumerate(self.outs):
            if o in even:
                even[o] = even[o] * gain[:, 0, k].repeat(1, even[o].shape[-1] // self.channels).unsqueeze(1)
                if odd is not None:
                    odd[o] = odd[o] * gain[:, 1, k][:, None, None]
        return even, odd

    def _messages(self, even: Sector, odd: Sector | None, edges: Edges, folded: Tensor, weights: Tensor) -> Tensor:
        width = weights.shape[1] // self.product.n_paths
        weights = weights.view(weights.shape[0], self.product.n_paths, width)  # [pairs, paths, U or 2U]
        if odd is None:
            features = torch.cat([even[k] for k in even], dim=1)
        else:
            features = torch.cat([torch.cat([even[k], odd[k].flatten(2)], dim=-1) for k in even], dim=1)
        return self.product(edges, folded, features, weights)

    def _sectors(self, message: Tensor, n_spin: int) -> tuple[Sector, Sector | None]:
        even: Sector = {}
        odd: Sector = {}
        for o, x in self.product.split(message).items():  # [N, paths, 2l+1, C]
            even[o] = x[..., : self.channels].transpose(1, 2).flatten(2)
            if self.odd:
                y = x[..., self.channels :].reshape(*x.shape[:3], n_spin, self.channels)  # [N, paths, 2l+1, s, U]
                odd[o] = y.permute(0, 2, 3, 1, 4).flatten(3)
        return even, odd if self.odd else None

    def _gate(self, even: Sector, odd: Sector | None) -> tuple[Sector, Sector | None]:
        scalars = even[0].squeeze(1)
        if odd is not None and self.squares is not None:
            # (O . O) -> E; q / (1 + q) is smooth and bounded, so a square cannot run away through the layers.
            q = torch.cat([(odd[o] ** 2).sum((1, 2)) for o in self.outs], dim=-1)
            scalars = scalars + self.gain * (q / (1.0 + q)) @ (self.squares * self.squares.shape[0] ** -0.5)
        value, *gates = torch.split(scalars, self.channels, dim=-1)
        gates = [SIGMOID_GAIN * torch.sigmoid(g) for g in gates]
        new_even = {0: SILU_GAIN * torch.nn.functional.silu(value).unsqueeze(1)}
        for o in self.outs[1:]:
            new_even[o] = even[o] * gates.pop().unsqueeze(1)
        if odd is None:
            return new_even, None
        new_odd: Sector = {}
        for o in self.outs:
            # Over the spin axis x / sqrt(1 + x.x) is smooth at zero, unlike x tanh|x| / |x|.
            x = odd[o] / torch.sqrt(1.0 + (odd[o] ** 2).sum(2, keepdim=True)) if o == 0 else odd[o]
            new_odd[o] = x * gates.pop()[:, None, None]
        return new_even, new_odd
