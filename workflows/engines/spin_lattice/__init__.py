"""An analytic spin-lattice Hamiltonian for Mn, Co, Ni and O: the engine that needs no installation."""

from workflows.engines.spin_lattice.engine import SpinLatticeEngine

__all__ = ["SpinLatticeEngine"]
