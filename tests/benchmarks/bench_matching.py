"""Matching a million sources to a million within 1 arcsec, against astropy, as a ratio of CPU time in one run.

Run it as ``python -m tests.benchmarks.bench_matching [sources]``. Astropy finds the nearest neighbour of each source in
one direction; ours finds mutual pairs, so that it answers more.
"""

from __future__ import annotations

import sys

import numpy as np
from astropy.coordinates import SkyCoord

from dmu0.sky.matching import match, propagate
from tests.benchmarks.verdicts import Verdicts, cpu, print_versions

LIMIT = 3.0
"""Astropy takes at least this many times as long."""
FIELDS = {"10 x 10 deg": (30.0, 40.0, -10.0, 0.0), "whole sky": (0.0, 360.0, -90.0, 90.0)}


def catalogues(n: int, field: tuple[float, float, float, float], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Positions spread evenly over a field, and the same in another order with 0.2 arcsec of scatter."""
    low, high = np.sin(np.radians(field[2:]))
    ra, dec = rng.uniform(*field[:2], n), np.degrees(np.arcsin(rng.uniform(low, high, n)))
    order = rng.permutation(n)
    ra2, dec2 = propagate(ra[order], dec[order], *rng.normal(0, 200, (2, n)), years=1.0)
    return ra, dec, ra2, dec2


def theirs(ra: np.ndarray, dec: np.ndarray, ra2: np.ndarray, dec2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours by astropy, from positions in degrees as ours."""
    nearest, separation, _ = SkyCoord(ra, dec, unit="deg").match_to_catalog_sky(SkyCoord(ra2, dec2, unit="deg"))
    return nearest, separation.arcsec


def main(n: int) -> int:
    """Print the ratio for each field, and that the pairs are the same; 1 if a limit is missed."""
    verdicts, rng = Verdicts(), np.random.default_rng(500)
    print_versions("astropy", "numba")
    for name, field in FIELDS.items():
        positions = catalogues(n, field, rng)
        match(*positions, radius=1.0)  # compiles
        ours, found = cpu(lambda p=positions: match(*p, radius=1.0))
        peer, (nearest, separation) = cpu(lambda p=positions: theirs(*p))
        print(f"{name}: {n} x {n} sources, {len(found)} mutual pairs, {np.sum(separation <= 1)} one-way;", end=" ")
        print(f"numba {ours:.2f} s, astropy {peer:.2f} s of CPU")
        other = float(np.mean(nearest[found.first] != found.second))
        verdicts.at_most(f"{name}: pairs that are not astropy's nearest neighbours", other, 0)
        apart = float(np.abs(found.separation - separation[found.first]).max())
        verdicts.at_most(f"{name}: separations differ by", apart, 1e-6, " arcsec")
        verdicts.at_least(f"{name}: CPU of astropy over ours", peer / ours, LIMIT)
    return verdicts.end()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
