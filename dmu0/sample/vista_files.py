"""VISTA files of the sample: pawprint stacks and their confidence maps in the format of the CASU pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time

from dmu0.sample.fits_files import rice_hdu, write_fits
from dmu0.sample.scene import Scene
from dmu0.sample.visits import Visit
from dmu0.sample.vista_geometry import reaches, stack_wcs
from dmu0.sample.vista_headers import extension_header, primary_header
from dmu0.sample.vista_pixels import Stack, empty_stack, make_stack

DETECTORS = range(1, 17)


def _image_hdu(stack: Stack, header: fits.Header, when: str) -> fits.CompImageHDU:
    """The image of a detector, quantized in steps of a thirtieth of its noise."""
    scale = round(stack.sky_noise / 30, 4)
    return rice_hdu(np.round(stack.image / scale).astype(np.int32), header, scale=scale, when=when)


def _confidence_hdu(stack: Stack, header: fits.Header, when: str) -> fits.CompImageHDU:
    """The confidence map of a detector."""
    header = header.copy()
    for keyword in ("SKYLEVEL", "SKYNOISE", "SEEING", "MAGZPT", "MAGZRR", "ELLIPTIC", "CIR_CPM"):
        del header[keyword]
    return rice_hdu(stack.confidence.astype(np.int32), header, when=when)


def _truth(visit: Visit, stack: Stack, detector: int, magzpt: float) -> dict:
    """The truth for a detector: zero point, PSF, and the parameters of the true projection."""
    wcs = stack.true_wcs.wcs
    return (
        {"path": f"vista/{visit.name}.fit", "hdu": detector, "detector": detector, "band": visit.band}
        | {"exposure": visit.exposure, "mjd_utc": visit.mjd, "zero_point": stack.zero_point}
        | {"airmass": visit.airmass, "magzpt": magzpt, "fwhm": stack.fwhm, "ellipticity": stack.ellipticity}
        | {"sky_level": stack.sky_level, "sky_noise": stack.sky_noise, "stars": stack.stars}
        | {"crval1": wcs.crval[0], "crval2": wcs.crval[1], "crpix1": wcs.crpix[0], "crpix2": wcs.crpix[1]}
        | {"cd1_1": wcs.cd[0, 0], "cd1_2": wcs.cd[0, 1], "cd2_1": wcs.cd[1, 0], "cd2_2": wcs.cd[1, 1]}
    )


def write_visit(
    folder: Path,
    visit: Visit,
    sky: Table,
    centre: SkyCoord,
    scene: Scene,
    *,
    seed: int,
    half: float = np.inf,
) -> list[dict]:
    """Simulate a pawprint stack of sixteen detectors, and write it with its confidence map.

    Parameters
    ----------
    folder
        Folder for the two files.
    visit
        Observation of the stack.
    sky
        The true sources.
    centre
        Centre of the field.
    scene
        The settings.
    seed
        Seed of the random numbers.
    half
        Half the width in arcsec of the square around the centre that the patches need; detectors that do not reach it
        have an empty sky.

    Returns
    -------
    list of dict
        The truth for each detector: zero point, PSF, and the parameters of the true projection.
    """
    when = Time(visit.mjd, format="mjd").isot[:19]
    magzpt = round(
        visit.zero_point + np.random.default_rng([seed, 6, visit.exposure]).normal(0, scene.zero_point_error), 3
    )
    images = [fits.PrimaryHDU(header=primary_header(visit, centre))]
    confidences = [fits.PrimaryHDU(header=primary_header(visit, centre))]
    truth = []
    for detector in DETECTORS:
        if reaches(stack_wcs(visit, centre, detector, scene), centre, half):
            stack = make_stack(visit, sky, centre, detector, scene, seed=seed)
        else:
            stack = empty_stack(visit, centre, detector, scene, seed=seed)
        header = extension_header(visit, stack, detector, scene, magzpt=magzpt)
        images.append(_image_hdu(stack, header, when))
        confidences.append(_confidence_hdu(stack, header, when))
        truth.append(_truth(visit, stack, detector, magzpt))
    for hdus, name in ((images, f"{visit.name}.fit"), (confidences, f"{visit.name}_conf.fit")):
        # EXTEND, which astropy would add on writing, has to be there before the checksum.
        hdus[0].header.set("EXTEND", True, "file may contain extensions", after="NAXIS")
        hdus[0].add_checksum(when=f"updated {when}")
        write_fits(folder / name, hdus)
    return truth
