"""Readouts: scales, shifts and the three kinds of moments."""

import torch

from spinmultinet.nn.readout import EnergyReadout, MomentReadout, direction


def test_energy_is_scaled_and_shifted_per_species():
    readout = EnergyReadout(2, 3)
    readout.scale.copy_(torch.tensor([2.0, 3.0]))
    readout.shift.copy_(torch.tensor([-1e5, 5.0]))
    even = torch.randn(2, 3)
    raw = readout.raw(even).double()
    out = readout(even, torch.tensor([0, 1]))
    torch.testing.assert_close(out, torch.stack([2 * raw[0] - 1e5, 3 * raw[1] + 5.0]))
    assert out.dtype == torch.float64


def test_kinds_of_moments():
    torch.manual_seed(0)
    even, odd, species = torch.randn(2, 3), torch.randn(2, 1, 3), torch.tensor([0, 0])
    b = torch.tensor([[0.7], [0.0]])
    signed = MomentReadout(1, 3, "odd")
    torch.testing.assert_close(signed(even, odd, species, b), -signed(even, -odd, species, -b))
    magnitude = MomentReadout(1, 3, "magnitude")
    magnitude.prior.fill_(1.5)
    out = magnitude(even, None, species, b)
    torch.testing.assert_close(out, -magnitude(even, None, species, -b))
    assert out[1].item() == 0.0
    blind = MomentReadout(1, 3, "even")
    torch.testing.assert_close(blind(even, None, species, b), blind(even, None, species, -b))


def test_direction():
    out = direction(torch.tensor([[3.0, 0.0, -4.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(out, torch.tensor([[0.6, 0.0, -0.8], [0.0, 0.0, 0.0]]))
