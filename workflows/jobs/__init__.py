"""Thin jobflow jobs: each calls one function of a package and returns a slim document."""
