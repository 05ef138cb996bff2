"""CPU time of the calibration of one detector: 500 stars and 3,000 sources at full size, and a small one.

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
    ("2048 x 2048", DetectorScene(shape=(2048, 2048), stars=500, galaxies=3500, magnitudes=(14.5, 21.0), tilt=30), 8.0),
    ("384 x 384", DetectorScene(shape=(384, 384), stars=80, galaxies=60), 0.5),
)
"""Name, scene, and most CPU seconds that it may take."""


ZERO_POINT_LIMIT = 0.01
"""Largest error of the zero point, mag: that of the tests of the calibration."""
SIZE_LIMIT = 0.005
"""Largest relative error of the squared size of the PSF model on stars that were kept out of the fit."""


def main() -> int:
    """Time both, print the figures beside their limits; 1 if a limit is missed."""
    verdicts, rng = Verdicts(), np.random.default_rng(7)
    print_versions("numpy", "numba", "piff")
    small = make_detector_scene(rng)
    calibrate(small.given, small.references, Settings())
    for name, scene, limit in CASES:
        truth = make_detector_scene(rng, scene)
        seconds, result = cpu(lambda given=truth: calibrate(given.given, given.references, Settings()))
        print(f"{name}: {len(result.sources)} sources, {len(result.psf_stars)} PSF stars")
        verdicts.at_most(f"{name}: CPU", seconds, limit, " s")
        error = abs(result.zero_point.magnitude - scene.zero_point)
        verdicts.at_most(f"{name}: error of the zero point", error, ZERO_POINT_LIMIT, " mag")
        verdicts.at_most(f"{name}: dT/T of the PSF", abs(result.psf.size_residual), SIZE_LIMIT)
    return verdicts.end()


if __name__ == "__main__":
    sys.exit(main())
