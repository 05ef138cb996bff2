"""CPU time of the calibration of one detector: 500 stars and 3,000 sources at full size, and a small one.

Run it as ``python tests/benchmarks/bench_calibrate.py``. Sources are drawn before the clock starts; compiled kernels
are loaded from their cache by a first, small detector.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from dmu4.detectors.calibration import Settings, calibrate
from tests.scenes.detectors import DetectorScene, make_detector_scene

CASES = (
    ("2048 x 2048", DetectorScene(shape=(2048, 2048), stars=500, galaxies=3500, magnitudes=(14.5, 21.0), tilt=30), 8.0),
    ("384 x 384", DetectorScene(shape=(384, 384), stars=80, galaxies=60), 0.5),
)
"""Name, scene, and most CPU seconds that it may take."""


def main() -> int:
    """Time both, print the figures beside their limits; 1 if a limit is exceeded."""
    rng = np.random.default_rng(7)
    small = make_detector_scene(rng)
    calibrate(small.given, small.references, Settings())
    failed = False
    for name, scene, limit in CASES:
        truth = make_detector_scene(rng, scene)
        times = []
        for _ in range(3):
            start = time.process_time()
            result = calibrate(truth.given, truth.references, Settings())
            times.append(time.process_time() - start)
        seconds = min(times)
        failed |= seconds > limit
        error = result.zero_point.magnitude - scene.zero_point
        print(
            f"{name}: {len(result.sources)} sources, {len(result.psf_stars)} PSF stars, {seconds:.2f} CPU s "
            f"(limit {limit}); zero point {error:+.4f} mag, dT/T {result.psf.size_residual:+.4f}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
