"""HSC files of the sample: coadds of one band and patch with mask and variance, and PSF stamps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from lsst.images import Box
from scipy.ndimage import convolve1d, gaussian_filter, maximum_filter1d

from dmu0.files.coadd_files import fill_pattern
from dmu0.sample.fits_files import write_fits
from dmu0.sample.psf import FieldPsf, random_psf
from dmu0.sample.render import profile_covariance, render
from dmu0.sample.scene import OPTICAL_DEPTH, OPTICAL_SEEING, Scene
from dmu0.sky.tract import Patch
from obs_vista.photometry import nanojansky_per_count

FLUXMAG0 = 10 ** (0.4 * 27)
"""Counts of magnitude 0: HSC coadds have the AB zero point 27."""

MASK_PLANES = MappingProxyType(
    {
        "BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5, "DETECTED_NEGATIVE": 6, "SUSPECT": 7,
        "NO_DATA": 8, "BRIGHT_OBJECT": 9, "CROSSTALK": 10, "NOT_DEBLENDED": 11, "UNMASKEDNAN": 12, "REJECTED": 13,
        "CLIPPED": 14, "SENSOR_EDGE": 15, "INEXACT_PSF": 16,
    }
)  # fmt: skip
"""Numbers of the bits in HSC PDR3 coadds."""

_STAMP = 43


@dataclass(frozen=True)
class OpticalField:
    """The coadd of a band over all patches; patches are cut from it, so that they agree where they overlap.

    Attributes
    ----------
    band
        Label of the band.
    box
        Box of tract pixels covered.
    image, variance
        Image and variance [y, x] as float32, in counts and counts^2.
    mask
        Mask [y, x] as int32 with bits of `MASK_PLANES`.
    psf
        PSF as a function of position in the box.
    """

    band: str
    box: Box
    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    psf: FieldPsf

    def field_position(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Field positions u and v, from -1 to 1, of tract pixels."""
        half = 0.5 * max(self.box.shape)
        return (x - self.box.x.start) / half - 1, (y - self.box.y.start) / half - 1


def pixel_noise(band: str, pixel_scale: float) -> float:
    """Noise of a pixel (counts) for which 5 sigma in a 2-arcsec aperture is the depth of the band."""
    aperture = np.pi / pixel_scale**2
    return float(10 ** (0.4 * (27 - OPTICAL_DEPTH[band])) / 5 / np.sqrt(aperture))


def _correlated_noise(shape: tuple[int, int], a: float, rng: np.random.Generator) -> np.ndarray:
    """Unit noise [y, x] with neighbouring pixels correlated by a kernel (a, 1, a) along both axes."""
    kernel = np.array([a, 1.0, a]) / np.sqrt(1 + 2 * a**2)
    noise = rng.standard_normal(shape)
    return convolve1d(convolve1d(noise, kernel, axis=0, mode="wrap"), kernel, axis=1, mode="wrap")


def _mask(counts: np.ndarray, significance: np.ndarray, bright: tuple[float, float], saturation: float) -> np.ndarray:
    """Mask [y, x]: detected pixels, saturated pixels, the circle around the bright star, edges of the field and of its
    sensors."""
    saturated = counts > saturation
    # Charge bleeds along a column, and the pipeline interpolates over it.
    bled = maximum_filter1d(saturated, 61, axis=0, mode="constant")
    saturated |= bled & (counts > saturation / 60)
    j, i = np.ogrid[: counts.shape[0], : counts.shape[1]]
    edge = np.ones(counts.shape, bool)
    edge[5:-5, 5:-5] = False
    sensor = np.broadcast_to(np.abs(i - 0.4 * counts.shape[1] - 0.02 * j) < 2, counts.shape)
    planes = {
        "SAT": saturated,
        "INTRP": saturated,
        "DETECTED": significance > 5,
        "BRIGHT_OBJECT": (i - bright[0]) ** 2 + (j - bright[1]) ** 2 < 110**2,
        "EDGE": edge,
        "SENSOR_EDGE": sensor,
        "INEXACT_PSF": sensor,
    }
    return sum((plane.astype(np.int32) << MASK_PLANES[name] for name, plane in planes.items()), start=np.int32(0))


def make_field(band: str, box: Box, wcs: WCS, sky: Table, scene: Scene, *, seed: int) -> OpticalField:
    """Simulate the coadd of a band.

    Parameters
    ----------
    band
        Label of the band.
    box
        Box of tract pixels to cover.
    wcs
        WCS of the tract.
    sky
        The true sources.
    scene
        The settings.
    seed
        Seed of the random numbers.
    """
    rng = np.random.default_rng([seed, 7, list(OPTICAL_DEPTH).index(band)])
    scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))) * 3600
    x, y = wcs.all_world2pix(np.array(sky["ra"]), np.array(sky["dec"]), 0)
    x, y = x - box.x.start, y - box.y.start
    flux = np.array(sky[f"flux_{band}"]) / nanojansky_per_count(27.0)
    brightest = int(np.argmax(np.where(np.array(sky["type"]) == "star", flux, 0)))
    use = (x > -80) & (x < box.shape[1] + 80) & (y > -80) & (y < box.shape[0] + 80)
    psf = random_psf(rng, fwhm=OPTICAL_SEEING[band] / scale, variation=0.03)
    noise = pixel_noise(band, scale)
    field = OpticalField(band, box, np.empty(0), np.empty(0), np.empty(0), psf)
    shape = (np.array(sky["axis_ratio"][use]), np.array(sky["angle"][use]), np.diag([-1, 1]) / scale)
    counts = np.zeros(box.shape)
    render(
        counts, x[use], y[use], flux[use], np.array(sky["bulge_fraction"][use]),
        profile_covariance(np.array(sky["r_disk"][use]), *shape),
        profile_covariance(np.array(sky["r_bulge"][use]), *shape),
        psf.covariance(*field.field_position(x[use] + box.x.start, y[use] + box.y.start)), 1e-3 * noise,
    )  # fmt: skip
    j, i = np.ogrid[: box.shape[0], : box.shape[1]]
    reach = 10 / scale
    halo = scene.halo * flux[brightest] / (2 * np.pi * reach**2)
    halo = halo * np.exp(-np.hypot(j - y[brightest], i - x[brightest]) / reach)
    mask = _mask(
        counts, gaussian_filter(counts, 2) / (noise / 7), (x[brightest], y[brightest]), scene.optical_saturation
    )
    counts = np.minimum(counts, scene.optical_saturation)
    # Photon noise of the sources as a coadd of some 6,000 e- a count has it.
    variance = noise**2 + (counts + halo) / 6000
    image = counts + halo + np.sqrt(variance) * _correlated_noise(box.shape, scene.optical_correlation, rng)
    if band == "y":  # the shallowest band has a hole, as where all exposures were masked
        hole = (i - 0.72 * box.shape[1]) ** 2 + (j - 0.2 * box.shape[0]) ** 2 < 12**2
        image[hole], variance[hole] = np.nan, np.inf
        mask[hole] = 1 << MASK_PLANES["NO_DATA"]
    return OpticalField(band, box, image.astype(np.float32), variance.astype(np.float32), mask, psf)


def _grid_cards(wcs: WCS, box: Box) -> fits.Header:
    """Cards of the WCS of a box of a tract: the projection in its pixels, and its position in the tract."""
    header = fits.Header()
    crpix, crval, cd = wcs.wcs.crpix, wcs.wcs.crval, wcs.pixel_scale_matrix
    header["WCSAXES"] = (2, "Number of WCS axes")
    header["CRPIX1"] = (crpix[0] - box.x.start, "Reference pixel on axis 1")
    header["CRPIX2"] = (crpix[1] - box.y.start, "Reference pixel on axis 2")
    header["CRVAL1"], header["CRVAL2"] = (crval[0], "Value at ref. pixel on axis 1"), (crval[1], "on axis 2")
    header["CTYPE1"], header["CTYPE2"] = ("RA---TAN", "Type of co-ordinate on axis 1"), ("DEC--TAN", "on axis 2")
    for row in (0, 1):
        for column in (0, 1):
            header[f"CD{row + 1}_{column + 1}"] = (cd[row, column], "Transformation matrix element")
    header["RADESYS"] = ("ICRS", "Reference frame for RA/DEC values")
    header["LTV1"], header["LTV2"] = -float(box.x.start), -float(box.y.start)
    header["INHERIT"] = True
    header["CTYPE1A"], header["CTYPE2A"] = "LINEAR", "LINEAR"
    header["CRPIX1A"], header["CRPIX2A"] = (1.0, "Reference pixel"), (1.0, "Reference pixel")
    header["CRVAL1A"] = (float(box.x.start), "Column pixel of Reference Pixel")
    header["CRVAL2A"] = (float(box.y.start), "Row pixel of Reference Pixel")
    header["CUNIT1A"], header["CUNIT2A"] = "PIXEL", "PIXEL"
    return header


def write_patch(path: Path, field: OpticalField, patch: Patch) -> None:
    """Write the coadd of a patch: a primary header without data, then image, mask and variance."""
    box, outer = patch.image_bbox, field.box
    cut = box.slice_within(outer)
    primary = fits.PrimaryHDU()
    primary.header["BGMEAN"], primary.header["BGVAR"] = 0.0, float(np.median(field.variance[cut]))
    primary.header["HIERARCH EXPINFO_V"] = 1
    primary.header["FILTER"] = field.band
    primary.header["FLUXMAG0"] = (FLUXMAG0, "AB mag = 2.5*log(fluxMag0/flux)")
    hdus = [primary]
    for kind, data in (("IMAGE", field.image[cut]), ("MASK", field.mask[cut]), ("VARIANCE", field.variance[cut])):
        header = _grid_cards(patch.tract.wcs, box)
        header["EXTTYPE"] = kind
        if kind == "MASK":
            for name, bit in MASK_PLANES.items():
                header[f"HIERARCH MP_{name}" if len(name) > 5 else f"MP_{name}"] = bit
        hdus.append(fits.ImageHDU(data, header))
    write_fits(path, hdus)


def write_psf(path: Path, field: OpticalField, patch: Patch) -> None:
    """Write the PSF stamp at the centre of a patch, 43 px wide, with unit sum."""
    box = patch.image_bbox
    centre = 0.5 * (box.x.start + box.x.stop - 1), 0.5 * (box.y.start + box.y.stop - 1)
    hdu = fits.PrimaryHDU(field.psf.stamp(*(float(p) for p in field.field_position(*centre)), size=_STAMP))
    hdu.header["CTYPE1A"], hdu.header["CTYPE2A"] = "LINEAR", "LINEAR"
    hdu.header["CRPIX1A"], hdu.header["CRPIX2A"] = 1.0, 1.0
    hdu.header["CRVAL1A"] = (-(_STAMP // 2), "Column pixel of Reference Pixel")
    hdu.header["CRVAL2A"] = (-(_STAMP // 2), "Row pixel of Reference Pixel")
    hdu.header["CUNIT1A"], hdu.header["CUNIT2A"] = "PIXEL", "PIXEL"
    write_fits(path, [hdu])


def file_name(patterns: dict[str, str], band: str, patch: Patch) -> str:
    """The file name of a band of a patch according to the patterns of the survey file."""
    pattern = patterns.get(band, patterns.get("default", ""))
    return fill_pattern(pattern, band=band, patch=patch)
