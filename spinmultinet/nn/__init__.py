"""Building blocks of the network: small modules with declared irreps."""
