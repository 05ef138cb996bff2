"""Forced point-source photometry and apertures in ten bands, against photutils and sep, as ratios of CPU time.

Run it as ``python -m tests.benchmarks.bench_forced [stars]``. A quarter of the stars are blended. Photutils fits the
groups of one band, ours all stars at once; both know the positions and the PSF.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import sep
from astropy.nddata import NDData
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.psf import ImagePSF, PSFPhotometry, SourceGrouper

from dmu4.detection.detect import spatial_order
from dmu4.measurement.apertures import circles, sum_apertures
from dmu4.measurement.forced import fit_fluxes
from dmu4.measurement.profiles import make_profiles
from dmu4.measurement.stamps import Kernels, render
from tests.benchmarks.verdicts import Verdicts, cpu, print_versions
from tests.scenes.patches import Scene, draw, psf_stamp

VARIANCE = 3.0  # px^2, that is a seeing of 0.7 arcsec at 0.168 arcsec a pixel
SIGMA = 5.0  # nJy
RADII = np.array([3, 4.5, 6, 9, 12, 17, 20, 22, 24, 25])
FORCED_LIMIT = 30.0
"""Photutils takes at least this many times as long, for one band."""
APERTURE_LIMITS = {"sep": 10.0, "photutils": 4.0}
"""So do these for ten circles in ten bands."""
PULL_LIMITS = (0.1, 0.1)
"""Largest mean of the pulls, blended stars among them, and largest distance of their width from one."""
FLUX_LIMIT = 2e-3
"""Largest median difference of the sums in a circle from those of sep, which samples the edges of circles 5 x 5."""


def star_field(n: int, rng: np.random.Generator) -> tuple[Scene, np.ndarray, np.ndarray]:
    """Stars at the density of a deep patch, an eighth of them with a companion 3 to 8 px away; image and variance."""
    side = int(np.sqrt(n / 1.4e-3))
    x, y = rng.uniform(25, side - 25, (2, n))
    pairs, angle, distance = n // 8, rng.uniform(0, 2 * np.pi, n // 8), rng.uniform(3, 8, n // 8)
    x[:pairs] = np.clip(x[pairs : 2 * pairs] + distance * np.cos(angle), 25, side - 25)
    y[:pairs] = np.clip(y[pairs : 2 * pairs] + distance * np.sin(angle), 25, side - 25)
    flux = 300 * np.minimum(rng.uniform(0, 1, (n, 1)) ** (-1 / 0.7), 300)
    scene = Scene(x=x, y=y, covariance=np.zeros((n, 3)), flux=flux)
    image = draw(scene, band=0, variance=VARIANCE, shape=(side, side)) + rng.normal(0, SIGMA, (side, side))
    return scene, image.astype(np.float32), np.full((side, side), SIGMA**2, np.float32)


def ours(scene: Scene, image: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes and errors of all stars, fitted at once."""
    profiles = make_profiles(x=scene.x, y=scene.y, covariance=None, psf_size=41)
    transforms = Kernels(psf_stamp(VARIANCE)[None])
    stamps = render(profiles, transforms, np.zeros(len(scene.x), int))
    result = fit_fluxes(stamps, image=image, variance=variance, good=np.ones(image.shape, bool))
    return result.flux, result.error


def theirs(scene: Scene, image: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same from photutils, positions fixed, stars closer than 10 px fitted in groups."""
    model = ImagePSF(psf_stamp(VARIANCE))
    model.x_0.fixed = model.y_0.fixed = True
    start = Table({"x": scene.x, "y": scene.y, "flux": scene.flux[:, 0]})
    fitter = PSFPhotometry(model, (11, 11), grouper=SourceGrouper(10), aperture_radius=5)
    with warnings.catch_warnings():
        # That some fits did not converge is part of what is compared.
        warnings.filterwarnings("ignore", message="One or more fit", category=AstropyUserWarning)
        result = fitter(NDData(image).data, error=np.sqrt(variance), init_params=start)
    result.sort("id")
    return np.asarray(result["flux_fit"]), np.asarray(result["flux_err"])


def describe(name: str, scene: Scene, flux: np.ndarray, error: np.ndarray, seconds: float) -> tuple[float, float]:
    """Print time and pulls of all stars and of the blended ones; mean and width of the pulls of the blended ones."""
    pull = (flux - scene.flux[:, 0]) / error
    blended = pull[: 2 * (len(pull) // 8)]
    print(
        f"{name:<10} {seconds:7.2f} s CPU   pulls {np.nanmean(pull):+.2f} +- {np.nanstd(pull):.2f},"
        f" blended {np.nanmean(blended):+.2f} +- {np.nanstd(blended):.2f}"
    )
    return float(np.nanmean(blended)), float(np.nanstd(blended))


def bench_forced(n: int, verdicts: Verdicts) -> None:
    """Point-source fluxes of one band."""
    scene, image, variance = star_field(n, np.random.default_rng(7))
    ours(scene, image, variance)  # compiles
    our_time, our_fluxes = cpu(lambda: ours(scene, image, variance))
    peer_time, peer_fluxes = cpu(lambda: theirs(scene, image, variance), repeats=1)
    mean, width = describe("dmu4", scene, *our_fluxes, our_time)
    describe("photutils", scene, *peer_fluxes, peer_time)
    verdicts.at_most("mean pull of blended stars", abs(mean), PULL_LIMITS[0])
    verdicts.at_most("width of the pulls of blended stars less one", abs(width - 1), PULL_LIMITS[1])
    verdicts.at_least("forced PSF fluxes: CPU of photutils over ours", peer_time / our_time, FORCED_LIMIT)


def bench_apertures(n: int, verdicts: Verdicts) -> None:
    """Ten circles in ten bands."""
    scene, image, variance = star_field(n, np.random.default_rng(8))
    # As in the pipeline, objects are sorted on the sky for all, and each band is contiguous.
    order = spatial_order(scene.x, scene.y)
    scene = Scene(x=scene.x[order], y=scene.y[order], covariance=scene.covariance[order], flux=scene.flux[order])
    planes = (image, variance, np.ones(image.shape, bool))
    cube, spread, good = (np.moveaxis(np.repeat(plane[None], 10, axis=0), 0, -1) for plane in planes)
    conics = circles(RADII, length=n)

    def sums() -> np.ndarray:
        return sum_apertures(cube, spread, good, x=scene.x, y=scene.y, conics=conics).flux

    def peer() -> np.ndarray:
        return np.array(
            [sep.sum_circle(image, scene.x, scene.y, radius, var=variance, subpix=5)[0] for radius in RADII]
        )

    def photutils_sums() -> np.ndarray:
        circles_of = [CircularAperture(np.column_stack([scene.x, scene.y]), radius) for radius in RADII]
        table = aperture_photometry(image, circles_of, error=np.sqrt(variance), method="exact")
        return np.array([np.asarray(table[f"aperture_sum_{number}"]) for number in range(len(RADII))])

    sums()
    our_time, flux = cpu(sums)
    for name, function in (("sep", peer), ("photutils", photutils_sums)):
        one_band, reference = cpu(function, repeats=3 if name == "sep" else 1)
        print(f"ten circles, ten bands: dmu4 {our_time:.2f} s CPU, {name} {10 * one_band:.2f} (ten times one band)")
        worst = max(np.median(np.abs(flux[:, k, 0] / reference[k] - 1)) for k in range(len(RADII)))
        verdicts.at_most(f"sums in circles differ from those of {name} by", float(worst), FLUX_LIMIT)
        verdicts.at_least(f"circles: CPU of {name} over ours", 10 * one_band / our_time, APERTURE_LIMITS[name])


def main(count: int) -> int:
    """Print all figures beside their limits; 1 if one is missed."""
    verdicts = Verdicts()
    print_versions("photutils", "sep", "numba")
    bench_forced(count, verdicts)
    bench_apertures(count, verdicts)
    return verdicts.end()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000))
