"""Write the attenuation table and the X-ray spectra that the package ships.

Run it by hand when the physics changes; it needs the two packages of the ``dev`` extra that hold the source data
(xraydb, spekpy), no network, and gives the same bytes every time:

    python scripts/make_physics_tables.py

It writes ``xct_components/physics/physics_tables.json`` (what the package uses) and
``tests/physics/data/spectra_100_bins.json`` (the finely binned spectra that the tests compare with).
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import spekpy
import xraydb

REPOSITORY = Path(__file__).resolve().parents[1]
TABLES = REPOSITORY / "xct_components" / "physics" / "physics_tables.json"
FINE_SPECTRA = REPOSITORY / "tests" / "physics" / "data" / "spectra_100_bins.json"

#: Both sides of the K edges of iodine (33.17 keV) and caesium (35.98 keV), so that interpolation does not smear them.
K_EDGES_KEV = (33.16, 33.18, 35.97, 35.99)
ENERGY_KEV = np.sort(np.concatenate([np.arange(10.0, 151.0), K_EDGES_KEV]))

#: Density in g/cm3 and composition by mass: ICRU Report 44 (1989), as tabulated in NISTIR 5632 (Hubbell & Seltzer), table 2.
#: Lung is given at its density in the living, air-filled chest, 0.26 g/cm3.
MATERIALS: dict[str, tuple[float, dict[str, float]]] = {
    "water": (1.0, {"H": 0.111898, "O": 0.888102}),
    "soft_tissue": (
        1.06,
        {"H": 0.102, "C": 0.143, "N": 0.034, "O": 0.708, "Na": 0.002, "P": 0.003, "S": 0.003, "Cl": 0.002, "K": 0.003},
    ),
    "adipose": (0.95, {"H": 0.114, "C": 0.598, "N": 0.007, "O": 0.278, "Na": 0.001, "S": 0.001, "Cl": 0.001}),
    "lung": (
        0.26,
        {"H": 0.103, "C": 0.105, "N": 0.031, "O": 0.749, "Na": 0.002, "P": 0.002, "S": 0.003, "Cl": 0.003, "K": 0.002},
    ),
    "cortical_bone": (
        1.92,
        {"H": 0.034, "C": 0.155, "N": 0.042, "O": 0.435, "Na": 0.001, "Mg": 0.002, "P": 0.103, "S": 0.003, "Ca": 0.225},
    ),
    "cesium_iodide": (4.51, {"I": 0.488451, "Cs": 0.511549}),
}

#: Tube voltages of chest radiography: 80-100 at the bedside, 120-140 at the wall stand.
TUBE_KVP = (80, 100, 120, 140)
ANODE_ANGLE_DEGREE = 12.0
ALUMINIUM_MM = 3.0
#: A CsI scintillator of about 0.6 mm at 75 % packing.
SCINTILLATOR_G_PER_CM2 = 0.2

FINE_BINS = 100
COARSE_BINS = 8


def mass_attenuation_cm2_per_g(material: str, energy_kev: np.ndarray) -> np.ndarray:
    """Total attenuation (coherent scatter included) of a mixture: elements weighted by mass."""
    _, by_mass = MATERIALS[material]
    parts = [fraction * xraydb.mu_elam(element, energy_kev * 1e3, kind="total") for element, fraction in by_mass.items()]
    return np.sum(parts, axis=0)


def linear_attenuation_per_mm(material: str, energy_kev: np.ndarray) -> np.ndarray:
    """Total attenuation at the density of ``MATERIALS``."""
    return mass_attenuation_cm2_per_g(material, energy_kev) * MATERIALS[material][0] / 10.0


def fine_spectrum(tube_kvp: int) -> tuple[np.ndarray, np.ndarray, float]:
    """What the detector sees of the unattenuated beam: bin energies (keV), weights (sum 1), absorbed share of the photons.

    The detector integrates energy: weight = photons x photon energy x absorption in the scintillator.
    """
    bin_kev = (tube_kvp - ENERGY_KEV[0]) / FINE_BINS
    beam = spekpy.Spek(kvp=tube_kvp, th=ANODE_ANGLE_DEGREE, dk=bin_kev)
    beam.filter("Al", ALUMINIUM_MM)
    energy_kev, fluence = (np.asarray(column)[-FINE_BINS:] for column in beam.get_spectrum(edges=False))
    absorbed = 1.0 - np.exp(-mass_attenuation_cm2_per_g("cesium_iodide", energy_kev) * SCINTILLATOR_G_PER_CM2)
    weight = fluence * energy_kev * absorbed
    return energy_kev, weight / weight.sum(), float((fluence * absorbed).sum() / fluence.sum())


def gauss_quadrature(node: np.ndarray, weight: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Fewest-point rule with the moments of a weighted set of points: exact for polynomials up to degree 2 order - 1.

    Lanczos recurrence to a tridiagonal Jacobi matrix; nodes are its eigenvalues, weights the squared first components of its
    eigenvectors (Golub & Welsch, Math Comp 1969;23:221).
    """
    basis, diagonal, off_diagonal = [np.sqrt(weight)], [], []
    for _ in range(order):
        following = node * basis[-1]
        diagonal.append(basis[-1] @ following)
        for _ in range(2):  # twice is enough: the second pass removes the rounding of the first
            for previous in basis:
                following = following - (previous @ following) * previous
        off_diagonal.append(np.linalg.norm(following))
        basis.append(following / off_diagonal[-1])
    jacobi = np.diag(diagonal) + np.diag(off_diagonal[:-1], 1) + np.diag(off_diagonal[:-1], -1)
    values, vectors = np.linalg.eigh(jacobi)
    return values, vectors[0] ** 2


def line_integral(energy_kev: np.ndarray, weight: np.ndarray, water_mm: np.ndarray, bone_mm: np.ndarray) -> np.ndarray:
    """-ln of the detected share of the beam behind water and cortical bone."""
    exponent = np.multiply.outer(water_mm, linear_attenuation_per_mm("water", energy_kev))
    exponent = exponent + np.multiply.outer(bone_mm, linear_attenuation_per_mm("cortical_bone", energy_kev))
    return -np.log(np.exp(-exponent) @ weight)


def rounded(values: np.ndarray, digits: int) -> list[float]:
    """Values to ``digits`` significant digits: the last bits of an eigenvalue depend on the machine."""
    return [float(f"{value:.{digits}g}") for value in values]


def write(path: Path, content: dict[str, Any]) -> None:
    """One line per top-level-but-one entry: readable differences at a small size."""
    groups = []
    for name, group in content.items():
        entries = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in group.items())
        groups.append(f"{json.dumps(name)}: {{\n{entries}\n}}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{" + ",\n".join(groups) + "}\n", encoding="utf-8")
    print(f"wrote {path.relative_to(REPOSITORY)}: {path.stat().st_size} bytes")


def provenance() -> dict[str, str]:
    """Where every number comes from, and under which terms."""
    return {
        "written_by": "scripts/make_physics_tables.py",
        "attenuation": f"xraydb {version('xraydb')} (database {xraydb.get_xraydb().get_version().split(',')[0].split()[-1]}), "
        "tables of Elam, Ravel & Sieber, Radiat Phys Chem 2002;63:121; total attenuation, coherent scatter included",
        "attenuation_licence": "xraydb is MIT; its database collects published measurements, some without a licence statement",
        "composition": "ICRU Report 44 (1989), as tabulated in NISTIR 5632 (Hubbell & Seltzer), a work of the US government",
        "spectra": f"spekpy {version('spekpy')} (MIT), model casim; Poludniowski et al, Med Phys 2021;48:3630. "
        f"Tungsten, {ANODE_ANGLE_DEGREE:g} degree anode, {ALUMINIUM_MM:g} mm Al",
        "detector": "energy-integrating: weight = photons x energy x absorption in "
        f"{SCINTILLATOR_G_PER_CM2 * 1e3:g} mg/cm2 CsI; weights sum to 1",
        "coarse_spectra": f"{COARSE_BINS}-point Gauss quadrature in energy of {FINE_BINS} bins",
    }


def spectra() -> tuple[dict[str, Any], dict[str, Any]]:
    """The shipped few-point spectra and the fine ones, by tube voltage; prints how well they agree."""
    water_mm, bone_mm = (grid.ravel()[1:] for grid in np.meshgrid(np.linspace(0, 300, 61), np.linspace(0, 30, 31)))
    coarse: dict[str, Any] = {}
    fine: dict[str, Any] = {}
    for tube_kvp in TUBE_KVP:
        energy_kev, weight, absorbed = fine_spectrum(tube_kvp)
        node_kev, node_weight = gauss_quadrature(energy_kev, weight, COARSE_BINS)
        exact = line_integral(energy_kev, weight, water_mm, bone_mm)
        error = np.abs(line_integral(node_kev, node_weight, water_mm, bone_mm) / exact - 1.0).max()
        print(
            f"{tube_kvp} kVp: mean {energy_kev @ weight:.2f} keV, scintillator absorbs {absorbed:.1%} of the photons, "
            f"{COARSE_BINS} points are within {error:.1e} of {FINE_BINS} bins up to 300 mm water and 30 mm bone"
        )
        coarse[str(tube_kvp)] = {"energy_kev": rounded(node_kev, 9), "weight": rounded(node_weight, 9)}
        fine[str(tube_kvp)] = {"energy_kev": rounded(energy_kev, 9), "weight": rounded(weight, 9)}
    return coarse, fine


def main() -> None:
    """Write both files and print what went into them."""
    coarse, fine = spectra()
    attenuation = {
        name: {
            "density_g_per_cm3": density,
            "mass_attenuation_cm2_per_g": rounded(mass_attenuation_cm2_per_g(name, ENERGY_KEV), 6),
        }
        for name, (density, _) in MATERIALS.items()
    }
    for name, (density, _) in MATERIALS.items():
        at_60 = linear_attenuation_per_mm(name, np.array([60.0]))[0]
        print(f"{name}: {density} g/cm3, {at_60:.5f} /mm at 60 keV")
    grid = {"energy_kev": rounded(ENERGY_KEV, 6)}
    write(TABLES, {"provenance": provenance(), "grid": grid, "materials": attenuation, "spectra": coarse})
    write(FINE_SPECTRA, {"provenance": provenance(), "spectra": fine})


if __name__ == "__main__":
    main()
