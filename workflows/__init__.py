"""Workflows of the spin-aware dataset factory: structures, engines, flows, reports and the command line."""

__version__ = "0.1.0"
