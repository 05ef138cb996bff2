"""CPU time of the calibration of one detector: 500 stars and 3,000 sources at full size, and small ones.

Run it as ``python -m tests.benchmarks.bench_calibrate``. Sources are drawn before the clock starts; compiled kernels
are loaded from their cache by a first, small detector.
"""

from __future__ import annotations

import sys

import numpy as np

from dmu4.detectors.calibration import Settings, calibrate
from tests.benchmarks.verdicts import Verdicts, cpu, print_versions
from tests.scenes.detectors import DetectorScene, make_detector_scene

CASES = (
    (
        "2048 x 2048",
        DetectorScene(shape=(2048, 2048), stars=500, galaxies=3500, magnitudes=(14.5, 21.0), tilt=30),
        1,
        8.0,
    ),
    ("384 x 384", DetectorScene(shape=(384, 384), stars=80, galaxies=60), 12, 0.5),
)
"""Name, scene, number of detectors and most CPU seconds that one may take. The zero point of a small one, from some 60
reference stars, has an error of 0.005 mag: one draw would say little."""


ZERO_POINT_LIMIT = 0.01
"""Largest error of the zero point, in the root mean square of the detectors, mag: that of the tests of the
calibration."""
SIZE_LIMIT = 0.005
"""Largest relative error of the squared size of the PSF model on stars that were kept out of the fit, in the median of
the detectors."""


def main() -> int:
    """Time both, print the figures beside their limits; 1 if a limit is missed."""
    verdicts, rng = Verdicts(), np.random.default_rng(7)
    print_versions("numpy", "numba", "piff")
    small = make_detector_scene(rng)
    calibrate(small.given, small.references, Settings())
    for name, scene, count, limit in CASES:
        drawn = [make_detector_scene(rng, scene) for _ in range(count)]
        seconds, results = cpu(
            lambda scenes=drawn: [calibrate(one.given, one.references, Settings()) for one in scenes]
        )
        sources, stars = (np.mean([len(getattr(one, part)) for one in results]) for part in ("sources", "psf_stars"))
        print(f"{name}: {count} detectors with {sources:.0f} sources, {stars:.0f} PSF stars each")
        verdicts.at_most(f"{name}: CPU", seconds / count, limit, " s")
        errors = np.array([one.zero_point.magnitude - scene.zero_point for one in results])
        pulls = errors / [one.zero_point.error for one in results]
        print(f"{name}: errors of zero points over quoted ones: rms {np.sqrt(np.mean(pulls**2)):.2f}")
        verdicts.at_most(f"{name}: error of the zero point", np.sqrt(np.mean(errors**2)), ZERO_POINT_LIMIT, " mag")
        sizes = [abs(one.psf.size_residual) for one in results]
        verdicts.at_most(f"{name}: dT/T of the PSF", float(np.median(sizes)), SIZE_LIMIT)
    return verdicts.end()


if __name__ == "__main__":
    sys.exit(main())
