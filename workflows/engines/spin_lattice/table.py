"""The fitted parameters, version 2. They are frozen: studies and tests refer to this model as it is.

``benchmarks/fit_spin_lattice.py`` wrote them: one bounded least-squares fit of all amplitudes to the 238 PBE+U labels
of ``benchmarks/data`` (NiO, MnO, CoO and 1:1 mixtures, deformed by up to a few percent). Chosen by hand: lengths; the
stiffness of the moments (``landau4``), so that exchange fields change them by as little as in the labels; the
``saturation`` of exchange, so that they change in the right direction; Co's low-spin branch, which no label shows, so
that it exists on crowded sites only; the terms of two and three sites, which collinear labels of equal ions cannot
determine, at a few percent of superexchange (Rodbell et al., Phys. Rev. Lett. 11, 10 (1963) for MnO).
``benchmarks/spin_lattice_table.py`` compares them with the labels; its output is in docs/reference-hamiltonian.md.
"""

from workflows.engines.spin_lattice.parameters import Parameters

TABLE_VERSION = "2"
TABLE = Parameters(
    offset={"O": 2.14521, "Mn": -0.296572, "Co": 2.73626, "Ni": 4.07084},
    charge=1.311535,
    repulsion={"Mn-O": 0.548491, "Co-O": 0.0824386, "Ni-O": 0.49628, "O-O": 3.96251},
    repulsion_range={"Mn-O": 0.26, "Co-O": 0.26, "Ni-O": 0.25, "O-O": 0.25},
    soft={"Mn-O": 2.93058, "Co-O": 2.45729, "Ni-O": 2.428, "O-O": -4.40251},
    embedding1={"Mn": -2.81848, "Co": -2.01455, "Ni": -2.2095},
    embedding2={"Mn": 0.0882461, "Co": 0.0822177, "Ni": 0.0501643},
    landau2={"Mn": -0.167379, "Co": -0.281526, "Ni": -0.39851, "O": 0.799847},
    landau4={"Mn": 0.00400004, "Ni": 0.0609598, "Co": 0.0846658},
    landau6={"Co": -0.0183259},
    landau8={"Co": 0.0012495},
    crowding={"Mn": 0.00209307, "Co": 0.0149836, "Ni": 0.0017282},
    induction={"Mn": -0.0136088, "Co": -0.02333, "Ni": -0.0267171},
    direct={
        "Mn-Mn": 0.00229432,
        "Mn-Co": 0,
        "Mn-Ni": 0.000257425,
        "Co-Co": 0.000467533,
        "Co-Ni": 0.000168212,
        "Ni-Ni": 0.000608325,
    },
    bridge90={
        "Mn-Mn": -0.000539426,
        "Mn-Co": -3.68478e-05,
        "Mn-Ni": -0.000140476,
        "Co-Co": -0.00152131,
        "Co-Ni": 0,
        "Ni-Ni": -0.000346825,
    },
    bridge180={
        "Mn-Mn": 0.000994715,
        "Mn-Co": 0.00329192,
        "Mn-Ni": 0.00338325,
        "Co-Co": 0.00827639,
        "Co-Ni": 0.00569415,
        "Ni-Ni": 0.00776542,
    },
    two_site=-0.0005,
    three_site=0.0002,
    four_site=0.000988,
    saturation={"Mn": 0.0375309, "Co": 0.108224, "Ni": 0.239869},
    reference_moment={"Mn": 4.5, "Co": 2.65, "Ni": 1.78},
    bond_length=2.1,
    metal_distance=3.0,
    soft_range=0.6,
    embedding_range=0.5,
    crowding_range=0.15,
    induction_range=0.5,
    bridge_range=0.5,
    direct_range=0.3,
    repulsion_ends=(4.5, 6.0),
    bond_ends=(2.8, 3.4),
    direct_ends=(3.4, 4.0),
)
