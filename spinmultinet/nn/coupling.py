"""Folded Clebsch-Gordan products: the uvu tensor product of features with spherical harmonics of an edge.

K = Y @ CG is made once per structure and used by all layers; a layer then needs one batched matrix product per input
irrep, with channels innermost. Both time-parity sectors are just channels, because Y(r) does not change under T.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor, nn


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
    """Rows of K that lead from one input irrep to one output irrep by `paths` ways (different l of Y)."""

    start: int
    paths: int
    out: int


class CouplingTable(nn.Module):
    """Constants of all products irreps (x) Y(l <= l_max) -> irreps; e3nn's 'component' and 'element' normalisation.

    For input irrep k, `fold` gives K_k [E, P_k, 2 l1 + 1]; its rows are grouped by output irrep (see `blocks[k]`), each
    path taking 2 l3 + 1 rows. A row times features of l1 gives one component of an output irrep.
    """

    def __init__(self, irreps: list[o3.Irrep], l_max: int) -> None:
        super().__init__()
        self.irreps = irreps
        self.sh = o3.Irreps.spherical_harmonics(l_max)
        self.blocks: list[list[Block]] = []
        for k, ir in enumerate(irreps):
            blocks, rows = self._couple(ir)
            self.blocks.append(blocks)
            folded = torch.cat(rows, dim=2).permute(1, 2, 0)  # [dim_sh, P_k, 2 l1 + 1]
            self.register_buffer(f"cg_{k}", folded.reshape(self.sh.dim, -1).contiguous(), persistent=False)

    def _couple(self, ir: o3.Irrep) -> tuple[list[Block], list[Tensor]]:
        blocks: list[Block] = []
        rows: list[Tensor] = []  # each [2 l1 + 1, dim_sh, 2 l3 + 1]
        start = 0
        for o, out in enumerate(self.irreps):
            ways = [n for n, (_, sh) in enumerate(self.sh) if out in ir * sh]
            for n in ways:
                sh = self.sh[n].ir
                constant = torch.zeros(ir.dim, self.sh.dim, out.dim, dtype=torch.float64)
                constant[:, self.sh.slices()[n]] = o3.wigner_3j(ir.l, sh.l, out.l, dtype=torch.float64) * out.dim**0.5
                rows.append(constant)
            if ways:
                blocks.append(Block(start, len(ways), o))
                start += len(ways) * out.dim
        return blocks, rows

    def fold(self, harmonics: Tensor) -> list[Tensor]:
        """Spherical harmonics [E, dim_sh] -> one K_k [E, P_k, 2 l1 + 1] per irrep; reused by all layers."""
        out = []
        for k, ir in enumerate(self.irreps):
            constant = getattr(self, f"cg_{k}")
            out.append((harmonics @ constant).view(len(harmonics), constant.shape[1] // ir.dim, ir.dim))
        return out


class FoldedTensorProduct:
    """The products one layer needs: from the irreps `ins` to the irreps `outs` (indices into the table).

    Every path keeps its own output channels. `n_paths` weights per channel are wanted, ordered by input irrep, then by
    row. `multiplicity[o]` is the number of paths that end in output irrep o.
    """

    def __init__(self, table: CouplingTable, ins: list[int], outs: list[int]) -> None:
        self.ins = ins
        self.dims = [ir.dim for ir in table.irreps]
        self.blocks = {k: [b for b in table.blocks[k] if b.out in outs] for k in ins}
        self.n_paths = sum(b.paths for blocks in self.blocks.values() for b in blocks)
        reached = sorted({b.out for blocks in self.blocks.values() for b in blocks})
        self.outs = reached
        self.multiplicity = {o: sum(b.paths for bs in self.blocks.values() for b in bs if b.out == o) for o in reached}
        self.rows = {
            k: max((b.start + b.paths * self.dims[b.out] for b in bs), default=0) for k, bs in self.blocks.items()
        }

    def __call__(self, folded: list[Tensor], features: dict[int, Tensor], weights: Tensor) -> Tensor:
        """K, features of the senders {irrep: [E, 2 l1 + 1, C]}, weights [E, n_paths, C] -> messages [E, P, C].

        The P rows are ordered by output irrep, then path, then component; split them with `split`.
        """
        parts: dict[int, list[Tensor]] = {o: [] for o in self.outs}
        first = 0
        for k in self.ins:
            if not self.blocks[k]:
                continue
            product = torch.bmm(folded[k][:, : self.rows[k]], features[k])
            for block in self.blocks[k]:
                dim = self.dims[block.out]
                rows = product[:, block.start : block.start + block.paths * dim]
                rows = rows.reshape(len(rows), block.paths, dim, rows.shape[-1]) * weights[
                    :, first : first + block.paths
                ].unsqueeze(2)
                parts[block.out].append(rows.flatten(1, 2))
                first += block.paths
        return torch.cat([part for o in self.outs for part in parts[o]], dim=1)

    def split(self, summed: Tensor) -> dict[int, Tensor]:
        """Messages [N, P, C] -> {output irrep: [N, paths, 2 l3 + 1, C]}."""
        sizes = [self.multiplicity[o] * self.dims[o] for o in self.outs]
        pieces = torch.split(summed, sizes, dim=1)
        return {
            o: piece.reshape(len(piece), self.multiplicity[o], self.dims[o], piece.shape[-1])
            for o, piece in zip(self.outs, pieces, strict=True)
        }
