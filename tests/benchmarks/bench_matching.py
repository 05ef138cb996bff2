"""Matching a million sources to a million within 1 arcsec, against astropy, as a ratio of CPU time in one run.

Run it as ``python tests/benchmarks/bench_matching.py [sources]``. Astropy finds the nearest neighbour of each source in
one direction; ours finds mutual pairs, so that it answers more.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from astropy.coordinates import SkyCoord

from dmu2.matching import match, propagate

LIMIT = 3.0
"""Astropy takes at least this many times as long."""
FIELDS = {"10 x 10 deg": (30.0, 40.0, -10.0, 0.0), "whole sky": (0.0, 360.0, -90.0, 90.0)}


def cpu(function: Callable[[], object], repeats: int = 3) -> tuple[float, object]:
    """Smallest CPU time of some calls in seconds, and the last result."""
    times, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


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


def main(n: int) -> None:
    """Print the ratio for each field, and fail if one is below the limit or the pairs differ."""
    rng = np.random.default_rng(500)
    ratios = []
    for name, field in FIELDS.items():
        positions = catalogues(n, field, rng)
        match(*positions, radius=1.0)  # compiles
        ours, found = cpu(lambda p=positions: match(*p, radius=1.0))
        peer, (nearest, separation) = cpu(lambda p=positions: theirs(*p))
        agree = np.mean(nearest[found.first] == found.second)
        ratios.append(peer / ours)
        print(f"{name}: {n} x {n} sources, {len(found)} mutual pairs, {np.sum(separation <= 1)} one-way;", end=" ")
        print(f"numba {ours:.2f} s, astropy {peer:.2f} s of CPU: ratio {peer / ours:.1f} (limit {LIMIT:g})")
        assert agree == 1, f"{1 - agree:.2e} of the pairs are not astropy's nearest neighbours"
    assert min(ratios) >= LIMIT, f"the ratio is {min(ratios):.1f}, below {LIMIT:g}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
