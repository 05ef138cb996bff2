"""Photometry of reference stars: total fluxes, images that cannot be used, and one flux a star."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from dmu0.robust_statistics import robust_scatter
from dmu2.colour_terms import PUBLISHED
from dmu2.photometry import star_fluxes, stellar_fwhm, without_neighbours
from dmu2.stars import StarImage, choose_stacks, instrument_fluxes, measure, read_coadd, read_stacks

SCALE = 0.339
SHAPE = (500, 480)


def moffat_field(rng, n: int = 60, *, fwhm: float = 2.6, noise: float = 5.0):
    """An image of Moffat stars (beta 3) on a sky of 800 counts with a gradient; positions and fluxes."""
    side = int(np.ceil(np.sqrt(n)))
    cell = np.array(SHAPE) / side
    rows, columns = np.divmod(np.arange(n), side)
    x = (columns + rng.uniform(0.3, 0.7, n)) * cell[1]
    y = (rows + rng.uniform(0.3, 0.7, n)) * cell[0]
    flux = 10 ** rng.uniform(3.7, 5.2, n)
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / 3) - 1)
    j, i = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = 800 + 0.02 * i + rng.normal(0, noise, SHAPE)
    for k in range(n):
        image += flux[k] * 2 / (np.pi * alpha**2) * (1 + ((i - x[k]) ** 2 + (j - y[k]) ** 2) / alpha**2) ** -3
    return image.astype(np.float32), x, y, flux


def tangent(shape=SHAPE) -> WCS:
    """A small tangent-plane projection."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [35.6, -5.1]
    wcs.wcs.crpix, wcs.wcs.cd = [shape[1] / 2, shape[0] / 2], np.diag([-SCALE, SCALE]) / 3600
    return wcs


def reference_stars(wcs: WCS, x, y) -> Table:
    """Reference stars at pixel positions."""
    ra, dec = wcs.all_pix2world(x, y, 0)
    table = Table({"ra": ra, "dec": dec, "epoch": np.full(len(ra), 56000.0), "extended": np.zeros(len(ra), bool)})
    for name in ("pm_ra", "pm_dec"):
        table[name] = np.full(len(ra), np.nan)
    return table


@pytest.mark.parametrize("radius", [0.7, 1.0, 1.5])
def test_flux_does_not_depend_on_the_aperture(rng, radius) -> None:
    """Scaled to total flux, apertures of 0.7 to 1.5 FWHM agree to 1%, and the total lacks only the far wings."""
    image, x, y, flux = moffat_field(rng)
    result = star_fluxes(
        image, x=x, y=y, fwhm=2.6, saturation=1e6, alone=np.ones(len(x), bool), gain=40.0, radius=radius
    )
    ratio = np.median(result.flux / flux)
    # Beyond 4 FWHM a Moffat profile of beta 3 has 0.2% of its light.
    assert ratio == pytest.approx(1, abs=0.01)
    assert result.correction.stars >= 20
    assert result.correction.error < 0.005


def test_errors_describe_the_scatter(rng) -> None:
    """The scatter of faint stars, for which the common aperture correction is no issue, is the quoted one to 40%."""
    image, x, y, flux = moffat_field(rng, n=100, noise=20)
    result = star_fluxes(image, x=x, y=y, fwhm=2.6, saturation=1e6, alone=np.ones(len(x), bool), gain=1e6)
    pulls = (result.flux - flux * np.median(result.flux / flux)) / result.error
    faint = flux < 2e4
    assert faint.sum() > 25
    assert 0.6 < robust_scatter(pulls[faint], about=0) < 1.4


def test_few_bright_stars_give_no_fluxes(rng) -> None:
    """Without enough stars for the aperture correction an image gives no fluxes, rather than wrong ones."""
    image, x, y, _ = moffat_field(rng, n=2)
    result = star_fluxes(image, x=x, y=y, fwhm=2.6, saturation=1e6, alone=np.ones(2, bool), gain=40.0)
    assert np.isnan(result.flux).all()


def test_saturated_masked_and_edge_stars(rng) -> None:
    """Saturated stars, stars on bad pixels and stars at the edge have no flux."""
    image, x, y, flux = moffat_field(rng)
    mask = np.zeros(SHAPE, bool)
    brightest, chosen = int(np.argmax(flux)), int(np.argsort(flux)[30])
    mask[round(y[chosen]), round(x[chosen])] = True
    x[5] = 1.0
    peak = image[round(y[brightest]), round(x[brightest])]
    result = star_fluxes(
        image, x=x, y=y, fwhm=2.6, saturation=0.9 * peak, alone=np.ones(len(x), bool), gain=40.0, mask=mask
    )
    assert np.isnan(result.flux[[brightest, chosen, 5]]).all()


def test_stellar_fwhm(rng) -> None:
    """From a wrong start the seeing is found: for a Moffat profile of beta 3 twice the half-light radius, 1.26 FWHM."""
    image, x, y, _ = moffat_field(rng, fwhm=3.0)
    found = stellar_fwhm(image, x=x, y=y, guess=4.0, mask=np.zeros(SHAPE, bool))
    assert found == pytest.approx(1.26 * 3.0, rel=0.08)


def test_isolated() -> None:
    """Sources closer than the distance are not isolated."""
    ra, dec = np.array([1.0, 1.0, 2.0]), np.array([0.0, 2 / 3600, 0.0])
    assert without_neighbours(ra, dec, distance=3).tolist() == [False, False, True]


def test_measure(rng) -> None:
    """Reference stars on an image get their fluxes in nJy; stars elsewhere on the sky are passed over."""
    image, x, y, flux = moffat_field(rng)
    wcs = tangent()
    stars = reference_stars(wcs, np.append(x, 1e4), np.append(y, 1e4))
    frame = StarImage("a.fit[1]", "vj", image, np.zeros(SHAPE, bool), wcs, 2.6, 40.0, 1e6, 2.0, 56000.0)
    table, account = measure(frame, stars)
    assert account["state"] == "done"
    assert account["stars"] == len(table) == 60
    assert np.median(table["flux"] / (2 * flux[table["star"]])) == pytest.approx(1, abs=0.01)
    nothing, account = measure(frame, stars[-1:])
    assert (len(nothing), account["state"]) == (0, "skipped")


def test_instrument_fluxes_tie_images(rng) -> None:
    """Zero points of single images are tied together; their mean offset from the reference stays."""
    stars = reference_stars(tangent(), rng.uniform(0, 400, 40), rng.uniform(0, 400, 40))
    truth = 10 ** rng.uniform(4, 6, 40)
    rows = [
        (
            star,
            f"image {number}",
            "vj",
            truth[star] * 10 ** (-0.4 * offset) * (1 + rng.normal(0, 0.002)),
            0.002 * truth[star],
        )
        for number, offset in enumerate((0.0, 0.05, 0.1))
        for star in range(40)
    ]
    measurements = Table(rows=rows, names=("star", "image", "band", "flux", "fluxErr"))
    measured, offsets = instrument_fluxes(measurements, stars, "vj", truth)
    assert offsets["offset"] == pytest.approx([0.0, 0.05, 0.1], abs=0.002)
    assert -2.5 * np.log10(measured["instrument_flux"] / truth) == pytest.approx(0.05, abs=0.01)
    assert PUBLISHED["vj"].band == "vj"


def test_choose_stacks() -> None:
    """Per band the accepted exposure of best seeing is chosen, with all its accepted detectors."""
    selected = Table({"band": ["vj"] * 4 + ["vk"], "exposure": [1, 1, 2, 2, 3], "seeing": [0.9, 0.8, 0.7, 0.6, 1.0]})
    selected["accepted"] = [True, True, True, False, False]
    assert choose_stacks(selected, ("vj", "vk"), exposures=1)["exposure"].tolist() == [2]
    assert len(choose_stacks(selected, ("vj", "vk"), exposures=5)) == 3


def test_unusable_images_say_why(tmp_path) -> None:
    """A stack that is no FITS file, one without zero point and a coadd without one each give their reason."""
    (tmp_path / "page.fit").write_text("<html>")
    rows = Table({"hdu": [1, 1], "band": ["vh", "vh"], "seeing": [0.8, 0.8]})
    reasons = list(read_stacks(rows, tmp_path / "page.fit", system="Vega"))
    assert len(reasons) == 2
    assert all("page.fit" in reason for reason in reasons)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((5, 5)))]).writeto(tmp_path / "stack.fit")
    assert "stack.fit[1]: MAGZPT is missing" in next(read_stacks(rows[1:], tmp_path / "stack.fit", system="Vega"))
    header = tangent((20, 20)).to_header()
    pixels = np.random.default_rng(3).normal(size=(20, 20)).astype(np.float32)
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "coadd.fits")
    with pytest.raises(ValueError, match=r"coadd\.fits: .*no FLUXMAG0"):
        read_coadd(tmp_path / "coadd.fits", "i")
    image = read_coadd(tmp_path / "coadd.fits", "i", zero_point=27.0)
    np.testing.assert_allclose(image.pixels * image.nanojansky, pixels * 10 ** (0.4 * 4.4), rtol=1e-6)


def test_real_hsc_cutout(realdata) -> None:
    """The real HSC cutout is read with its zero point of 27, its mask planes and its variance."""
    image = read_coadd(realdata / "hsc_cutout" / "hsc_i.fits", "i")
    raw = fits.getdata(realdata / "hsc_cutout" / "hsc_i.fits", 1)
    ratio = image.pixels[~image.mask] * image.nanojansky / raw[~image.mask]
    np.testing.assert_allclose(ratio, 10 ** (0.4 * (31.4 - 27)), rtol=1e-4)
    assert image.pixels.shape == image.mask.shape == (301, 301)
    assert np.isfinite(image.noise[~image.mask]).all()
