"""Measurement of a patch: from peaks to the columns of the object table, the same for every band."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from dmu0.robust_statistics import robust_scatter
from dmu4.measurement.apertures import ApertureSums, circles, ellipses, sum_apertures
from dmu4.measurement.band_fluxes import BandFluxes, Flux, make_flux, measure_band
from dmu4.measurement.error_scale import NoiseFactors, measure_factors, scale_to_empty
from dmu4.measurement.forced import find_overlaps
from dmu4.measurement.object_shapes import ReferenceShapes, ShapeSettings, measure_reference, model_profiles
from dmu4.objects.columns import APERTURES, COVERAGE_RADIUS, GAAP_SIGMA, REFERENCE_PIXEL
from dmu4.patches.cube import PatchCube, flat_psf, mean_psf, psf_sigma
from dmu4.patches.sky import source_mask


@dataclass(frozen=True)
class MeasurementSettings:
    """How to measure.

    Parameters
    ----------
    shapes
        Positions and shapes.
    flux_floor
        Relative error to assume where a patch has too few bright stars to measure it.
    threads
        Bands worked on at once.
    """

    shapes: ShapeSettings = field(default_factory=ShapeSettings)
    flux_floor: float = 0.01
    threads: int = 2


CLEAR = 2.5
"""Arcsec between empty places and objects."""

BRIGHT = 50.0
"""Signal to noise above which the wings of an object reach further than its model."""

MIN_FLOOR_STARS = 8
"""Bright stars that a measured flux floor rests on."""


def noise_factors(cube: PatchCube, threads: int) -> list[NoiseFactors]:
    """The factors of every band, from its noise realization or, without one, from the sky between its sources."""
    radii = np.array(APERTURES) * REFERENCE_PIXEL / cube.pixel_scale

    def one(band: int) -> NoiseFactors:
        variance, good = cube.plane("variance", band), cube.plane("good", band)
        noise, occupied = cube.plane("noise", band), None
        if not cube.has_noise[band]:
            noise = cube.plane("image", band)
            sigma = psf_sigma(mean_psf(cube, band))
            occupied = source_mask(noise, variance, good, sigma=sigma) if good.any() and np.isfinite(sigma) else ~good
        return measure_factors(
            noise,
            variance,
            good,
            occupied=occupied,
            psf=flat_psf(cube, band),
            cell_of=cube.cell_of,
            radii=radii,
            gaap_sigma=GAAP_SIGMA / cube.pixel_scale,
        )

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(len(cube.bands))))


def measure(
    cube: PatchCube, *, x: np.ndarray, y: np.ndarray, reference: np.ndarray, settings: MeasurementSettings
) -> dict[str, np.ndarray]:
    """Measure all objects of a patch.

    Every object is modelled by a point or a disc; all models of a band are fitted together; each object is then
    measured on the image from which its neighbours' models are subtracted. A band without data does not take part.

    Parameters
    ----------
    cube
        All bands, less their residual sky.
    x, y
        Array positions of the peaks.
    reference
        Number of the band of highest signal to noise of each.
    settings
        How to measure.

    Returns
    -------
    dict
        Column name -> values, for the columns of `dmu4.objects.columns` that need no sky coordinates: ``x`` and ``y``
        are tract pixels, ``x_error`` and ``y_error`` pixels.
    """
    factors = noise_factors(cube, settings.threads)
    shapes = measure_reference(
        cube,
        x=x,
        y=y,
        reference=reference,
        noise_factor=np.array([one.psf for one in factors]),
        settings=settings.shapes,
        threads=settings.threads,
    )
    profiles = model_profiles(cube, shapes)
    round_ones = circles(np.array(APERTURES) * REFERENCE_PIXEL / cube.pixel_scale, length=len(x))
    kron = ellipses(shapes.covariance, shapes.kron)
    pairs = find_overlaps(profiles)
    residual = np.zeros_like(cube.image)

    def one(band: int) -> BandFluxes:
        measured, residual[..., band] = measure_band(
            cube,
            band,
            profiles=profiles,
            conics=round_ones,
            kron=kron,
            pairs=pairs,
            factors=factors[band],
            gaap_sigma=GAAP_SIGMA / cube.pixel_scale,
            extended_limit=settings.shapes.extended_limit,
        )
        return measured

    with ThreadPoolExecutor(settings.threads) as pool:
        bands = list(pool.map(one, range(len(cube.bands))))
    planes = (residual, cube.variance, cube.good)
    scaled = scale_to_empty(
        factors,
        *planes,
        x=shapes.x,
        y=shapes.y,
        clear=CLEAR / cube.pixel_scale,
        gaap_sigma=GAAP_SIGMA / cube.pixel_scale,
        bright=np.column_stack([band.psf.value > BRIGHT * band.psf.error for band in bands]),
    )
    in_circles = sum_apertures(*planes, x=shapes.x, y=shapes.y, conics=round_ones)
    in_kron = sum_apertures(*planes, x=shapes.x, y=shapes.y, conics=kron)
    columns = common_values(cube, shapes)
    for number, (label, band) in enumerate(zip(cube.bands, bands, strict=True)):
        gaap = replace(band.gaap, error=band.gaap.error * scaled[number].gaap / factors[number].gaap)
        band = replace(band, gaap=gaap)
        columns |= band_values(label, number, band, in_circles, in_kron, kron, scaled[number], settings)
    return columns


def common_values(cube: PatchCube, shapes: ReferenceShapes) -> dict[str, np.ndarray]:
    """The columns that an object has once."""
    moments = shapes.covariance * cube.pixel_scale**2
    half_sum, half_difference = 0.5 * (moments[:, 0] + moments[:, 1]), 0.5 * (moments[:, 0] - moments[:, 1])
    major = np.sqrt(half_sum + np.hypot(half_difference, moments[:, 2]))
    return {
        "x": shapes.x + cube.x0,
        "y": shapes.y + cube.y0,
        "x_error": shapes.x_error,
        "y_error": shapes.y_error,
        "shape_xx": moments[:, 0],
        "shape_yy": moments[:, 1],
        "shape_xy": moments[:, 2],
        "shape_flag": shapes.failed,
        "refExtendedness": shapes.extendedness,
        "kronRad": shapes.kron * major,
    }


def _aperture_flux(sums: ApertureSums, k: int, band: int, own: np.ndarray, factor: np.ndarray, bad: np.ndarray) -> Flux:
    """Flux in one aperture: what the residual holds there, plus the object's own model."""
    error = factor * np.sqrt(sums.variance[:, k, band])
    return make_flux(sums.flux[:, k, band] + own, error, sums.filled[:, k, band], bad)


def band_values(
    label: str,
    number: int,
    band: BandFluxes,
    in_circles: ApertureSums,
    in_kron: ApertureSums,
    kron: np.ndarray,
    factors: NoiseFactors,
    settings: MeasurementSettings,
) -> dict[str, np.ndarray]:
    """The columns of one band."""
    fluxes = {"psfFlux": band.psf, "gaap1p0Flux": band.gaap}
    for k, radius in enumerate(APERTURES):
        own = band.model * band.in_circles[:, k]
        fluxes[f"ap{radius:02d}Flux"] = _aperture_flux(in_circles, k, number, own, factors.circle[k], band.saturated)
    kron_area = np.pi / np.sqrt(kron[:, 0, 0] * kron[:, 0, 1] - kron[:, 0, 2] ** 2)
    own = band.model * band.in_kron[:, 0]
    fluxes["kronFlux"] = _aperture_flux(in_kron, 0, number, own, factors.of_area(kron_area), band.saturated)
    coverage = in_circles.filled[:, APERTURES.index(round(COVERAGE_RADIUS / REFERENCE_PIXEL)), number]
    values = {}
    for name, flux in fluxes.items():
        values[f"{label}_{name}"] = flux.value
        values[f"{label}_{name}Err"] = flux.error
        values[f"{label}_{name}_flag"] = flux.flag
    usable = np.isfinite(band.psf.value) & np.isfinite(band.gaap.value) & (coverage >= 0.9) & ~band.saturated
    floor = flux_floor(fluxes["psfFlux"], fluxes["ap12Flux"], band.extendedness, default=settings.flux_floor)
    return values | {
        f"{label}_fluxFloor": np.where(coverage > 0, floor, np.nan),
        f"{label}_extendedness": band.extendedness,
        f"{label}_inputCount": band.input_count,
        f"{label}_coverage": coverage,
        f"{label}_depth5": band.depth5,
        f"{label}_pixelFlags_inexact_psfCenter": band.inexact_psf,
        f"{label}_usable": usable,
    }


def flux_floor(psf: Flux, aperture: Flux, extendedness: np.ndarray, *, default: float) -> float:
    """Relative scatter between two fluxes of bright stars that their errors do not explain.

    However many photons a star has, its flux is no better than the model of the PSF and of the sky: this is the part
    of the error that does not shrink with brightness. Statistical errors are left as they are; the floor is a column
    of its own, to be added in quadrature.

    Parameters
    ----------
    psf, aperture
        Two kinds of flux of the same objects.
    extendedness
        0 for stars.
    default
        The answer where there are fewer than `MIN_FLOOR_STARS` stars above 100 sigma in both.
    """
    stars = (extendedness == 0) & ~psf.flag & ~aperture.flag
    stars &= (psf.value > 100 * psf.error) & (aperture.value > 100 * aperture.error)
    if np.count_nonzero(stars) < MIN_FLOOR_STARS:
        return default
    ratio = aperture.value[stars] / psf.value[stars]
    scatter = robust_scatter(ratio)
    expected = np.median(np.hypot(psf.error[stars] / psf.value[stars], aperture.error[stars] / aperture.value[stars]))
    return float(np.sqrt(max(scatter**2 - expected**2, 0.0)))
