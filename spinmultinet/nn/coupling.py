"""Folded Clebsch-Gordan products: the uvu tensor product of features with spherical harmonics of an edge.

K = Y @ CG is made once per structure and used by all layers, with channels innermost. Both time-parity sectors are just
channels, because Y(r) does not change under T.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from e3nn import o3
from torch import Tensor, nn

from . import fused
from .fused import Edges


def hidden_irreps(l_max: int, parity: bool) -> list[o3.Irrep]:
    """Irreps of the features, 0e first: natural parity (-1)^l, or both parities."""
    natural = [o3.Irrep(degree, (-1) ** degree) for degree in range(l_max + 1)]
    unnatural = [o3.Irrep(ir.l, -ir.p) for ir in natural]
    return natural + unnatural if parity else natural


class SphericalHarmonics(nn.Module):
    """Y(l <= l_max) of unit vectors by the recursion Y_l ~ CG (Y_{l-1} (x) Y_1); e3nn's order, sign and normalisation.

    Equal to o3.spherical_harmonics(..., normalization="component"), in a few matrix products instead of dozens of
    elementwise ones: with two differentiations that is a good part of a small step.
    """

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.l_max = l_max
        probe = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64), dim=0)
        for degree in range(1, l_max + 1):
            cg = o3.wigner_3j(degree - 1, 1, degree, dtype=torch.float64)
            lower = o3.spherical_harmonics(degree - 1, probe, normalize=False, normalization="component")
            wanted = o3.spherical_harmonics(degree, probe, normalize=False, normalization="component")
            raw = torch.einsum("a,b,abc->c", lower, probe, cg)
            factor = (raw @ wanted) / (raw @ raw)
            self.register_buffer(f"up_{degree}", (cg * factor).reshape(-1, cg.shape[2]), persistent=False)

    def forward(self, unit: Tensor) -> Tensor:
        """Unit vectors [E, 3] -> [E, (l_max + 1)^2]."""
        parts = [torch.ones_like(unit[:, :1])]
        for degree in range(1, self.l_max + 1):
            pairs = parts[-1].unsqueeze(2) * unit.unsqueeze(1)
            parts.append(pairs.flatten(1) @ getattr(self, f"up_{degree}"))
        return torch.cat(parts, dim=1)


@dataclass(frozen=True)
class Block:
    """Columns of K that lead from one input irrep to one output irrep by `paths` ways (different l of Y)."""

    start: int
    paths: int
    out: int


class CouplingTable(nn.Module):
    """Constants of all products irreps (x) Y(l <= l_max) -> irreps; e3nn's 'component' and 'element' normalisation.

    `fold` gives K [E, Q]. Its columns are grouped by input irrep, output irrep (see `blocks[k]`) and path; a path takes
    (2 l3 + 1)(2 l1 + 1) of them, a matrix from components of the input to components of the output.
    """

    cg: Tensor

    def __init__(self, irreps: list[o3.Irrep], l_max: int) -> None:
        super().__init__()
        self.irreps = irreps
        self.sh = o3.Irreps.spherical_harmonics(l_max)
        self.blocks: list[list[Block]] = []
        self.n_columns = 0
        constants = [self._couple(ir) for ir in irreps]
        self.register_buffer("cg", torch.cat(constants, dim=1), persistent=False)  # [dim_sh, Q]

    def _couple(self, ir: o3.Irrep) -> Tensor:
        blocks: list[Block] = []
        columns: list[Tensor] = []
        for o, out in enumerate(self.irreps):
            ways = [n for n, (_, sh) in enumerate(self.sh) if out in ir * sh]
            for n in ways:
                sh = self.sh[n].ir
                constant = torch.zeros(self.sh.dim, out.dim, ir.dim, dtype=torch.float64)
                coupled = o3.wigner_3j(ir.l, sh.l, out.l, dtype=torch.float64) * out.dim**0.5
                constant[self.sh.slices()[n]] = coupled.permute(1, 2, 0)
                columns.append(constant.flatten(1))
            if ways:
                blocks.append(Block(self.n_columns, len(ways), o))
                self.n_columns += len(ways) * out.dim * ir.dim
        self.blocks.append(blocks)
        return torch.cat(columns, dim=1)

    def fold(self, harmonics: Tensor) -> Tensor:
        """Spherical harmonics [E, dim_sh] -> K [E, Q]; reused by all layers."""
        return harmonics @ self.cg


class FoldedTensorProduct:
    """The products one layer needs: from the irreps `ins` to the irreps `outs` (indices into the table).

    Every path keeps its own output channels. `n_paths` weights per channel are wanted, ordered by input irrep, then by
    column of K. `multiplicity[o]` is the number of paths that end in output irrep o.
    """

    def __init__(self, table: CouplingTable, ins: list[int], outs: list[int]) -> None:
        self.dims = [ir.dim for ir in table.irreps]
        self.blocks = {k: [b for b in table.blocks[k] if b.out in outs] for k in ins}
        self.outs = sorted({b.out for blocks in self.blocks.values() for b in blocks})
        self.multiplicity = {
            o: sum(b.paths for bs in self.blocks.values() for b in bs if b.out == o) for o in self.outs
        }
        starts = list(accumulate((self.dims[k] for k in ins), initial=0))
        self.rows = dict(zip(ins, starts[:-1], strict=True))  # where the components of an irrep begin in the features
        self.paths = self._paths()
        self.n_paths, self.n_rows = len(self.paths), sum(path[4] for path in self.paths)

    def _paths(self) -> list[tuple[int, int, int, int, int]]:
        """Per path: first column of K, first row of the features, 2 l1 + 1, first row of the messages, 2 l3 + 1."""
        sizes = [self.multiplicity[o] * self.dims[o] for o in self.outs]
        free = dict(zip(self.outs, accumulate(sizes, initial=0), strict=False))
        found = []
        for k, blocks in self.blocks.items():
            for block in blocks:
                d1, d3 = self.dims[k], self.dims[block.out]
                for n in range(block.paths):
                    found.append((block.start + n * d1 * d3, self.rows[k], d1, free[block.out], d3))
                    free[block.out] += d3
        return found

    def __call__(self, edges: Edges, folded: Tensor, features: Tensor, weights: Tensor) -> Tensor:
        """K [E, Q], features [N, D, C] of nodes, weights [pairs, n_paths, U or 2U] -> messages [N, P, C], summed.

        D: components of `ins` one after the other. C = U (1 + s): T-even channels, which take the first U weights, then
        T-odd ones of each spin axis, which take the others. The P rows are ordered by output irrep, path, component.
        """
        if fused.wanted(features):
            return fused.contract(edges, self.paths, self.n_rows, folded, features, weights)
        return self.by_torch(edges, folded, features, weights)

    def by_torch(self, edges: Edges, folded: Tensor, features: Tensor, weights: Tensor) -> Tensor:
        """The same by torch's own operations: one batched matrix product per input irrep, for any device."""
        half, n_channels = weights.shape[2] // 2, features.shape[2]
        if weights.shape[2] != n_channels:  # the same weights for all spin axes
            axes = n_channels // half - 1
            weights = torch.cat([weights[..., :half], weights[..., half:].repeat(1, 1, axes)], dim=-1)
        weights = weights.index_select(0, edges.pair)
        parts: dict[int, list[Tensor]] = {o: [] for o in self.outs}
        first = 0
        for k, blocks in self.blocks.items():
            sent = features[:, self.rows[k] : self.rows[k] + self.dims[k]].index_select(0, edges.sender)
            for block in blocks:
                d1, d3 = self.dims[k], self.dims[block.out]
                columns = folded[:, block.start : block.start + block.paths * d3 * d1]
                rows = torch.bmm(columns.reshape(folded.shape[0], block.paths * d3, d1), sent)
                rows = rows.view(rows.shape[0], block.paths, d3, n_channels)
                parts[block.out].append((rows * weights[:, first : first + block.paths].unsqueeze(2)).flatten(1, 2))
                first += block.paths
        message = torch.cat([part for o in self.outs for part in parts[o]], dim=1)
        return message.new_zeros((features.shape[0], *message.shape[1:])).index_add(0, edges.receiver, message)

    def split(self, summed: Tensor) -> dict[int, Tensor]:
        """Messages [N, P, C] -> {output irrep: [N, paths, 2 l3 + 1, C]}."""
        sizes = [self.multiplicity[o] * self.dims[o] for o in self.outs]
        pieces = torch.split(summed, sizes, dim=1)
        return {
            o: piece.reshape(piece.shape[0], self.multiplicity[o], self.dims[o], piece.shape[-1])
            for o, piece in zip(self.outs, pieces, strict=True)
        }
