"""Labels for other programs: one module per format, and :mod:`datastore.exports.run` that writes any of them.

Each module has ``write(path, labels, ...)``; those whose files come back to the bit have ``read(path)`` as well, which
:mod:`datastore.frames` uses. What other programs call *the* energy is the free energy here, because forces and stress
are its derivatives. Moments keep their signs. One export is of one level of theory.
"""
