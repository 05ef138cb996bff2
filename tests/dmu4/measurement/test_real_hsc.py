"""A real HSC image, detected and measured, against the rows of HSC's own database for the same sky."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from dmu0.published.coadds import read_hsc
from dmu0.published.psf import read_psf
from dmu4.detection.detect import DetectionSettings, detect
from dmu4.measurement.measure import MeasurementSettings, measure
from dmu4.patches.cube import BandPlanes
from dmu4.patches.filling import make_cube
from obs_vista.photometry import magnitude_of

PIXEL_SCALE = 0.168
APART, DESCRIBED = 0.05, 10.0
"""Largest share of neighbours, and chi^2 per pixel of the models, outside the spiral that fills the image, where HSC's
rows are not parts of it either."""


def test_sources_beside_the_spiral_are_those_of_hsc(realdata: Path) -> None:
    """Point-source magnitudes agree with HSC's to 0.05 mag, model magnitudes with its CModel to 0.1, in the median."""
    folder = realdata / "hsc_cutout"
    coadd, (psf, _) = read_hsc(folder / "hsc_i.fits"), read_psf(folder / "hsc_i_psf.fits")
    planes = BandPlanes(
        image=coadd.image,
        variance=coadd.variance,
        mask=coadd.mask,
        psf=np.asarray(psf)[None, None],
        noise=None,
        input_count=np.ones(coadd.image.shape, np.int16),
    )
    cube = make_cube({"i": planes}, x0=0, y0=0, pixel_scale=PIXEL_SCALE)
    peaks = detect(cube, DetectionSettings())
    found = measure(cube, x=peaks.x, y=peaks.y, reference=peaks.reference, settings=MeasurementSettings())
    band, shapes = found.bands["i"], found.shapes
    theirs = Table.read(folder / "hsc_sources.csv", format="ascii.csv", comment="@")
    x, y = coadd.wcs.world_to_pixel_values(theirs["ra"], theirs["dec"])
    good = np.flatnonzero((band.neighbours < APART) & (band.chi2 < DESCRIBED) & (band.psf.value > 5 * band.psf.error))
    assert len(good) >= 3
    psf_offsets, model_offsets = [], []
    for number in good:
        distance = np.hypot(x - shapes.x[number], y - shapes.y[number])
        row = theirs[int(np.argmin(distance))]
        assert distance.min() * PIXEL_SCALE < 0.2
        psf_offsets.append(magnitude_of(band.psf.value[number]) - float(row["i_psfflux_mag"]))
        model_offsets.append(magnitude_of(band.cmodel.value[number]) - float(row["i_cmodel_mag"]))
    print(f"point sources {np.round(psf_offsets, 3)} (limit 0.05), models {np.round(model_offsets, 3)} (limit 0.1)")
    assert abs(np.median(psf_offsets)) < 0.05
    assert np.max(np.abs(psf_offsets)) < 0.05
    assert abs(np.median(model_offsets)) < 0.1
    assert np.max(np.abs(model_offsets)) < 0.1
