"""Measurement of a patch: from peaks to positions, shapes and fluxes, in the same way for every band."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from dmu4.measurement.apertures import ApertureSums, area_of, circles, ellipses, sum_apertures
from dmu4.measurement.band_fluxes import MIN_FILLED, BandFluxes, Flux, make_flux, measure_band
from dmu4.measurement.error_scale import ErrorInflation, measure_inflation, scale_to_empty
from dmu4.measurement.flux_floor import FLOOR_APERTURES, flux_floor
from dmu4.measurement.gaap import apertures_of
from dmu4.measurement.motion import survey_of
from dmu4.measurement.object_models import ObjectShapes, survey_models
from dmu4.measurement.object_shapes import MeasuredObjects, ShapeSettings, measure_objects
from dmu4.objects.columns import APERTURES, COVERAGE_RADIUS, GAAP_SIGMAS, REFERENCE_PIXEL
from dmu4.patches.cube import CalibrationErrors, PatchCube, PatchData, mean_psf, psf_sigma
from dmu4.patches.filling import gather
from dmu4.patches.freed_memory import return_freed_memory
from dmu4.patches.sky import source_mask

CLEAR = 2.5
"""Smallest distance between empty sample positions and objects in arcsec."""

BRIGHT = 50.0
"""Signal to noise above which the wings of an object extend beyond its model."""


@dataclass(frozen=True)
class MeasurementSettings:
    """Settings of the measurement.

    Attributes
    ----------
    shapes
        Settings for positions and shapes.
    flux_floor
        Relative error to assume if a patch has too few bright stars to measure it.
    threads
        Number of bands processed in parallel.
    detection_bands
        Number of bands, the first ones, from which positions, shapes, models and motions follow, see
        `dmu4.patches.detection_bands`; None: all.
    """

    shapes: ShapeSettings = field(default_factory=ShapeSettings)
    flux_floor: float = 0.01
    threads: int = 2
    detection_bands: int | None = None


@dataclass(frozen=True)
class BandMeasurement:
    """All measurements of N objects in one band.

    Attributes
    ----------
    psf, kron, cmodel
        Point-source, Kron and disc-and-bulge fluxes.
    gaap
        Fluxes in the Gaussian apertures of `dmu4.objects.columns.GAAP_NAMES`.
    circles
        Fluxes in the circular apertures of `dmu4.objects.columns.APERTURES`.
    kron_fraction, circle_fraction
        Fraction of the light of each object's model in its Kron ellipse [N] and in the circles [N, circle]; NaN where
        the band has no data.
    flux_floor
        Relative error to add in quadrature; NaN where the band has no data.
    zero_point_error
        Error in mag of the zero point that all fluxes share; NaN where it is unknown, or the band has no data.
    extendedness
        Morphology: 0 for a point source, 1 for an extended source, NaN if undetermined.
    excess, excess_error
        Squared width before the seeing and its error in arcsec^2, NaN if unknown.
    residual
        Flux of the image minus all models in a circle of `dmu4.objects.columns.COVERAGE_RADIUS`.
    neighbours, chi2
        Fraction of the light that belongs to neighbours, and chi^2 per pixel of the models.
    input_count
        Number of images at the position.
    coverage
        Fraction with data of the circular aperture of `dmu4.objects.columns.COVERAGE_RADIUS`.
    depth5
        AB magnitude of a 5-sigma point source at the position.
    inexact_psf
        Whether the PSF at the object is not exact.
    usable
        Whether the band has data, a PSF and no saturation at the object.
    """

    psf: Flux
    kron: Flux
    cmodel: Flux
    gaap: tuple[Flux, ...]
    circles: tuple[Flux, ...]
    kron_fraction: np.ndarray
    circle_fraction: np.ndarray
    flux_floor: np.ndarray
    zero_point_error: np.ndarray
    extendedness: np.ndarray
    excess: np.ndarray
    excess_error: np.ndarray
    residual: np.ndarray
    neighbours: np.ndarray
    chi2: np.ndarray
    input_count: np.ndarray
    coverage: np.ndarray
    depth5: np.ndarray
    inexact_psf: np.ndarray
    usable: np.ndarray


@dataclass(frozen=True)
class Measurements:
    """All measurements of the objects of a patch.

    Attributes
    ----------
    objects
        Quantities measured once per object: position, shape, morphology, motion; and the peaks of the objects.
    bands
        Band -> measurements in this band.
    """

    objects: MeasuredObjects
    bands: dict[str, BandMeasurement]

    @property
    def shapes(self) -> ObjectShapes:
        """Position, shape and morphology of each object."""
        return self.objects.shapes


@dataclass(frozen=True)
class _Apertures:
    """Apertures around N objects: conics, see `dmu4.measurement.apertures`, and sigmas of Gaussians of each band."""

    circles: np.ndarray
    kron: np.ndarray
    gaap_sigma: tuple[np.ndarray, ...]


def measure(
    patch: PatchData, *, x: np.ndarray, y: np.ndarray, reference: np.ndarray, settings: MeasurementSettings
) -> Measurements:
    """Measure all objects of a patch.

    Positions, shapes, models and motions follow from the detection bands. Every object is modelled by a point source or
    a disc; all models of a band are fitted simultaneously; each object is then measured on the image minus the models
    of its neighbours. Bands without data are ignored. A star that moved between the optical and the VISTA images is
    measured where it is in each; two peaks make one object.

    Parameters
    ----------
    patch
        All bands, minus their residual sky, the detection bands first. Their noise realizations are in memory one after
        another.
    x, y
        Array positions of the peaks.
    reference
        Number of the band of highest signal to noise of each object.
    settings
        Settings of the measurement.
    """
    cube, inflations = gather(patch, noise=False, each=error_inflation, threads=settings.threads)
    searched = slice(0, settings.detection_bands)
    objects = measure_objects(
        cube.of_bands(searched),
        x=x,
        y=y,
        reference=reference,
        inflations=inflations[searched],
        settings=settings.shapes,
        threads=settings.threads,
    )
    objects = objects.also_in(cube)
    return_freed_memory()
    shapes = objects.shapes
    apertures = _Apertures(
        circles=circles(radii_of(cube), length=len(shapes.x)),
        kron=ellipses(shapes.covariance, shapes.kron),
        gaap_sigma=tuple(gaussians(cube, band) for band in range(len(cube.bands))),
    )
    bands = _fit_bands(cube, objects, apertures, inflations, settings)
    planes = (cube.image, cube.variance, cube.good)
    scaled = scale_to_empty(
        inflations,
        *planes,
        x=shapes.x,
        y=shapes.y,
        clear=CLEAR / cube.pixel_scale,
        gaap_sigma=apertures.gaap_sigma,
        common=cube.good[..., searched].any(axis=-1),
        bright=np.column_stack([band.psf.value > BRIGHT * band.psf.error for band in bands]),
    )
    for number, band in enumerate(bands):
        # The error of GAaP fluxes includes the inflation before it was scaled to empty apertures.
        excess = scaled[number].gaap / inflations[number].gaap
        fluxes = tuple(replace(one, error=one.error * factor) for one, factor in zip(band.gaap, excess, strict=True))
        bands[number] = replace(band, gaap=fluxes)
    return Measurements(objects, _finish_bands(cube, objects, apertures, bands, scaled, settings.flux_floor))


def _finish_bands(
    residual: PatchCube,
    objects: MeasuredObjects,
    apertures: _Apertures,
    bands: Sequence[BandFluxes],
    inflations: Sequence[ErrorInflation],
    floor: float,
) -> dict[str, BandMeasurement]:
    """Add the fluxes in circular and Kron apertures, from the images minus all models."""
    in_circles, in_kron = (_sums(residual, objects, conics) for conics in (apertures.circles, apertures.kron))
    return {
        label: finish_band(
            bands[number],
            _of_band(in_circles, number),
            _of_band(in_kron, number),
            kron_area=area_of(apertures.kron[:, 0]),
            is_point=~objects.shapes.disc.any(axis=1),
            inflation=inflations[number],
            floor=floor,
            calibration=residual.calibration[number],
        )
        for number, label in enumerate(residual.bands)
    }


def _sums(residual: PatchCube, objects: MeasuredObjects, conics: np.ndarray) -> ApertureSums:
    """Sums of all bands in apertures around the objects, at their positions in each survey."""
    shapes, motion = objects.shapes, objects.motion
    planes = (residual.image, residual.variance, residual.good)
    sums = sum_apertures(*planes, x=shapes.x, y=shapes.y, conics=conics)
    surveys = np.array([survey_of(band) for band in residual.bands])
    for survey in np.unique(surveys):
        bands, moved = np.flatnonzero(surveys == survey), np.flatnonzero(motion.used & (objects.home != survey))
        if not len(moved):
            continue
        dx, dy = motion.shift(home=objects.home, survey=int(survey))
        place = {"x": (shapes.x + dx)[moved], "y": (shapes.y + dy)[moved], "conics": conics[moved]}
        # Bands that follow each other are one view.
        for mine in np.split(bands, np.flatnonzero(np.diff(bands) > 1) + 1):
            there = sum_apertures(*(cubes[..., mine[0] : mine[-1] + 1] for cubes in planes), **place)
            for name in ApertureSums.__dataclass_fields__:
                getattr(sums, name)[np.ix_(moved, np.arange(conics.shape[1]), mine)] = getattr(there, name)
    return sums


def radii_of(cube: PatchCube) -> np.ndarray:
    """Radii in pixels of the circular apertures."""
    return np.array(APERTURES) * REFERENCE_PIXEL / cube.pixel_scale


def gaussians(cube: PatchCube, band: int) -> np.ndarray:
    """Sigmas in pixels of the Gaussian apertures of a band, in the order of `dmu4.objects.columns.GAAP_NAMES`."""
    return apertures_of(GAAP_SIGMAS, psf_sigma=psf_sigma(mean_psf(cube, band)), pixel_scale=cube.pixel_scale)


def error_inflation(one: PatchCube) -> ErrorInflation:
    """Error inflation of the only band of a cube, from its noise realization or from the sky between its sources."""
    variance, good, psf = one.plane("variance", 0), one.plane("good", 0), one.psfs[0]
    noise, occupied = one.plane("noise" if one.has_noise[0] else "image", 0), None
    if not one.has_noise[0]:
        sigma = psf_sigma(mean_psf(one, 0))
        occupied = source_mask(noise, variance, good, sigma=sigma) if good.any() and np.isfinite(sigma) else ~good
    return measure_inflation(
        noise,
        variance,
        good,
        occupied=occupied,
        psf=psf.stamps,
        cell_of=psf.at,
        radii=radii_of(one),
        gaap_sigma=gaussians(one, 0),
    )


def _fit_bands(
    cube: PatchCube,
    objects: MeasuredObjects,
    apertures: _Apertures,
    inflations: Sequence[ErrorInflation],
    settings: MeasurementSettings,
) -> list[BandFluxes]:
    """The measurements of each band. The models are subtracted from the images of the cube, in place."""
    models = survey_models(objects.shapes, objects.motion, objects.home, objects.psf_side, objects.structure)

    def one(band: int) -> BandFluxes:
        profiles, pairs = models[survey_of(cube.bands[band])].reaching(objects.psf_side[:, band])
        measured, residual = measure_band(
            cube,
            band,
            profiles=profiles,
            structure=objects.structure,
            radii=radii_of(cube),
            kron=apertures.kron,
            pairs=pairs,
            inflation=inflations[band],
            gaap_sigma=apertures.gaap_sigma[band],
            extended_limit=settings.shapes.extended_limit,
        )
        cube.image[..., band] = residual
        return measured

    with ThreadPoolExecutor(settings.threads) as pool:
        return list(pool.map(one, range(len(cube.bands))))


def _of_band(sums: ApertureSums, band: int) -> ApertureSums:
    """The sums [source, aperture] of one band."""
    return ApertureSums(*(values[..., band] for values in (sums.flux, sums.variance, sums.filled)))


def finish_band(
    band: BandFluxes,
    in_circles: ApertureSums,
    in_kron: ApertureSums,
    *,
    kron_area: np.ndarray,
    is_point: np.ndarray,
    inflation: ErrorInflation,
    floor: float,
    calibration: CalibrationErrors,
) -> BandMeasurement:
    """Add the fluxes in circular and Kron apertures to the measurements of a band, and derive the flags.

    Parameters
    ----------
    band
        Fluxes of the models, and their light in the apertures.
    in_circles, in_kron
        Sums of the image minus all models [N, aperture].
    kron_area, is_point
        Areas of the Kron ellipses in pixels^2, and whether the model of each object is a point source [N].
    inflation
        Error inflation due to the correlation of the noise.
    floor
        Relative error to assume if there are too few bright stars to measure it.
    calibration
        Errors that all objects share.
    """
    saturated = band.centre.saturated
    of_circles = tuple(
        _aperture_flux(in_circles, k, band.model * band.in_circles[:, k], inflation.circle[k], saturated)
        for k in range(len(APERTURES))
    )
    middle = APERTURES.index(round(COVERAGE_RADIUS / REFERENCE_PIXEL))
    coverage = in_circles.filled[:, middle]
    measured_floor = np.hypot(_floor_of_points(band, of_circles, is_point, floor), calibration.scale)
    seen = np.isfinite(band.psf.value) & np.isfinite(band.gaap[GAAP_SIGMAS.index(1.0)].value)
    return BandMeasurement(
        psf=band.psf,
        gaap=band.gaap,
        cmodel=band.cmodel,
        kron=_aperture_flux(in_kron, 0, band.model * band.in_kron[:, 0], inflation.of_area(kron_area), saturated),
        circles=of_circles,
        kron_fraction=np.where(coverage > 0, band.in_kron[:, 0], np.nan),
        circle_fraction=np.where(coverage[:, None] > 0, band.circle_fraction, np.nan),
        flux_floor=np.where(coverage > 0, measured_floor, np.nan),
        zero_point_error=np.where(coverage > 0, calibration.zero_point, np.nan),
        extendedness=band.extendedness,
        excess=band.excess,
        excess_error=band.excess_error,
        residual=np.where(coverage >= MIN_FILLED, in_circles.flux[:, middle], np.nan),
        neighbours=band.neighbours,
        chi2=band.chi2,
        input_count=band.centre.input_count,
        coverage=coverage,
        depth5=band.centre.depth5,
        inexact_psf=band.centre.inexact_psf,
        usable=seen & (coverage >= 0.9) & ~saturated,
    )


def _floor_of_points(band: BandFluxes, of_circles: Sequence[Flux], is_point: np.ndarray, default: float) -> float:
    """The flux floor from objects modelled as points: the light in a circle of others is not that of their PSF."""
    totals = [_total(of_circles[k], band.circle_fraction[:, k]) for k in map(APERTURES.index, FLOOR_APERTURES)]
    return flux_floor(band.psf, totals, np.where(is_point, band.extendedness, np.nan), default=default)


def _total(circle: Flux, fraction: np.ndarray) -> Flux:
    """Total flux from that in an aperture and the fraction of the light of the model in it."""
    share = np.where(fraction > 0, fraction, np.nan)
    return Flux(circle.value / share, circle.error / share, circle.flag)


def _aperture_flux(sums: ApertureSums, k: int, own: np.ndarray, inflation: float | np.ndarray, bad: np.ndarray) -> Flux:
    """Flux in one aperture: that of the residual image plus that of the object's own model."""
    return make_flux(sums.flux[:, k] + own, inflation * np.sqrt(sums.variance[:, k]), sums.filled[:, k], bad)
