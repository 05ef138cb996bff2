"""Exponential and de Vaucouleurs profiles as sums of Gaussians, for the simulated sky and for models of galaxies."""

from __future__ import annotations

import numpy as np

# Profiles of half-light radius 1: Hogg & Lang 2013, PASP 125, 719, six and eight components. Flux and variance. The
# profiles end smoothly at four and eight radii, as those of SDSS do, so that half of what is left of their light is
# inside 0.986 and 0.915.
_DISK_FLUX = np.array([2.34853813e-03, 3.07995260e-02, 2.23364214e-01, 1.17949102, 4.33873750, 5.99820770])
DISK_FRACTION = _DISK_FLUX / _DISK_FLUX.sum()
DISK_VARIANCE = np.array([1.20078965e-03, 8.84526493e-03, 3.91463084e-02, 1.39976817e-01, 4.60962500e-01, 1.50159566])
_BULGE_FLUX = np.array(
    [4.26347652e-02, 2.40127183e-01, 6.85907632e-01, 1.51937350, 2.83627243, 4.46467501, 5.72440830, 5.60989349]
)
BULGE_FRACTION = _BULGE_FLUX / _BULGE_FLUX.sum()
BULGE_VARIANCE = np.array(
    [
        2.23759216e-04,
        1.00220099e-03,
        4.18731126e-03,
        1.69432589e-02,
        6.84850479e-02,
        2.87207080e-01,
        1.33320254,
        8.40215071,
    ]
)
