"""Cell coadds: round trips, cells, provenance, depth and seeing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from lsst.daf.butler import Butler, Config, DatasetType
from lsst.images import Polygon
from lsst.images.cells import CellCoadd, CellIJ

import tests.scenes.exposures as scene
from dmu0.files.code_version import code_version
from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Tract
from dmu0.surveys import SkyMapConfig
from dmu4.butler.repository import REPOSITORY_CONFIG
from dmu4.coadds.cell_coadd import (
    InputRecord,
    cell_size,
    make_cell_coadd,
    make_provenance,
    pixel_scale,
)
from dmu4.coadds.maps import correlation_of, depth_map, seeing_map
from dmu4.coadds.planes import CoaddSettings
from dmu4.coadds.psf import InputPsfs, cell_psfs, mark_inexact, nominal_inputs
from dmu4.coadds.stack import make_coadd
from obs_vista.masks import BIT, from_mask


@pytest.fixture(scope="module")
def patch():
    """A patch of 300 pixels."""
    return make_sky_map(SkyMapConfig(name="small", patch_inner=280, patch_border=10)).tract(8524).patch("30,31")


@pytest.fixture(scope="module")
def summed(patch):
    """Inputs, records, planes, nominal inputs and stamps of two inputs that leave a strip of the patch without data."""
    box = patch.outer_bbox
    images = [
        scene.Exposure(box, shape=(220, 130), seed=1, fwhm=2.2, correlation=0.3),
        scene.Exposure(box, shape=(220, 130), seed=2, fwhm=2.6, sigma=1.4, correlation=0.3),
    ]
    sources = [image.source() for image in images]
    planes = make_coadd(sources, box, cell=75, settings=CoaddSettings(rejection=None))
    nominal = nominal_inputs(planes.cell_counts)
    mark_inexact(planes, nominal, cell=75)
    stamps = cell_psfs(InputPsfs(sources, [image.nodes() for image in images], box, order=3), nominal, cell=75)
    outline = Polygon(x_vertices=np.array([0.0, 9, 9, 0]), y_vertices=np.array([0.0, 0, 9, 9]))
    records = [InputRecord("VIRCAM", 7 + n, 13, "VIRCAM-H", 20091103, outline) for n in range(2)]
    return sources, records, planes, nominal, stamps


@pytest.fixture(scope="module")
def made(patch, summed):
    """Planes and coadd of the two inputs."""
    sources, records, planes, nominal, stamps = summed
    provenance = make_provenance(sources, records, planes, nominal, patch.outer_bbox)
    coadd = make_cell_coadd(
        planes, stamps, patch, skymap="small", band="vh", provenance=provenance, metadata={"n_inputs": 2}
    )
    return planes, coadd


@pytest.mark.parametrize(
    ("inner", "border", "size"),
    [(4000, 100, 100), (800, 50, 100), (2600, 0, 130), (301, 0, 43), (13, 7, 1)],
)
def test_cell_size(inner, border, size):
    """The largest divisor of the inner and the outer side, up to 150 pixels: neighbours have cells in common."""
    tract = Tract(1, 150.0, 2.0, WCS(naxis=2), (9, 9), (inner, inner), border)
    first, second = tract.patch("3,4"), tract.patch("4,4")
    assert cell_size(first) == size
    assert (second.outer_bbox.x.start - first.outer_bbox.x.start) % size == 0


def test_pixels_are_stored_as_they_are(made, tmp_path):
    """In our repositories only masks are compressed; whatever is read, whole or in part, is what was written."""
    coadd = made[1]
    Butler.makeRepo(str(tmp_path / "repo"), config=Config(REPOSITORY_CONFIG))
    with Butler.from_config(str(tmp_path / "repo"), writeable=True, run="run") as butler:
        butler.registry.registerDatasetType(DatasetType("coadd", (), "CellCoadd", universe=butler.dimensions))
        ref = butler.put(coadd, "coadd")
        with fits.open(butler.getURI(ref).ospath, disable_image_compression=True) as hdus:
            compressed = {hdu.name for hdu in hdus if "ZIMAGE" in hdu.header}
        back = butler.get(ref)
        part = butler.get(ref, parameters={"bbox": back.grid.bbox_of(CellIJ(i=1, j=1))})
    assert compressed == {"MASK"}
    np.testing.assert_array_equal(back.image.array, coadd.image.array)
    np.testing.assert_array_equal(from_mask(back.mask), from_mask(coadd.mask))
    np.testing.assert_array_equal(part.variance.array, coadd.variance.array[75:150, 75:150])
    for cell in coadd.bounds.cell_indices():
        if coadd.bounds.contains_cell(cell):
            np.testing.assert_array_equal(back.psf[cell].array, coadd.psf[cell].array)


def test_round_trip_through_a_file(made, patch, tmp_path):
    """What is written comes back: pixels, mask, PSF, noise, provenance, figures; and so does a part."""
    planes, coadd = made
    coadd.write(str(tmp_path / "c.fits"))
    back = CellCoadd.read(str(tmp_path / "c.fits"))
    np.testing.assert_array_equal(back.image.array, planes.image)
    np.testing.assert_array_equal(back.variance.array, planes.variance)
    np.testing.assert_array_equal(from_mask(back.mask), planes.mask)
    np.testing.assert_array_equal(back.noise_realizations[0].array, planes.noise[0])
    assert back.bbox == patch.outer_bbox
    assert back.patch.id == patch.id
    assert back.metadata["n_inputs"] == 2
    assert {name: back.metadata[name] for name in code_version().words()} == code_version().words()
    assert len(back.provenance.inputs) == 2
    box = back.grid.bbox_of(CellIJ(i=1, j=1))
    part = CellCoadd.read(str(tmp_path / "c.fits"), bbox=box)
    np.testing.assert_array_equal(part.image.array, planes.image[75:150, 75:150])


def test_psf_exists_where_data_do(made):
    """Stamps are of odd size and sum 1 in cells with data, and absent in the others."""
    planes, coadd = made
    for cell in (CellIJ(i=i, j=j) for i in range(4) for j in range(4)):
        has_data = (planes.count[75 * cell.i : 75 * cell.i + 75, 75 * cell.j : 75 * cell.j + 75] > 0).any()
        assert coadd.bounds.contains_cell(cell) == has_data
        if has_data:
            assert coadd.psf[cell].array.sum() == pytest.approx(1, abs=1e-7)
            assert coadd.psf[cell].array.shape[0] % 2 == 1


def test_provenance_tells_each_cell(made):
    """Cells list the inputs that reach them, with coverage; the middle ones are whole."""
    planes, coadd = made
    table = coadd.provenance.contributions
    assert len(table) == (planes.cell_counts > 0).sum()
    whole = table[(table["cell_i"] == 1) & (table["cell_j"] == 1)]
    assert list(whole["visit"]) == [7, 8]
    assert whole["overlaps_center"].all()
    assert (whole["unmasked_fraction"] > 0.95).all()
    assert whole["weight"][0] == pytest.approx(1.4**2 * whole["weight"][1])


def test_provenance_in_numbers(summed, patch):
    """Where the 264 px of an input end, it covers four of five sample columns; a weight is that of the cell's PSF.

    Unmasked fractions add up to the counts, for both inputs.
    """
    sources, records, planes, nominal, _ = summed
    chosen = nominal.copy()
    chosen[1, 2, 0] = False
    table = make_provenance(sources, records, planes, chosen, patch.outer_bbox).contributions
    ends = np.isin(table["cell_j"], [0, 3])
    np.testing.assert_allclose(table["overlap_fraction"][ends], 0.8)
    np.testing.assert_allclose(table["overlap_fraction"][~ends], 1.0)
    left_out = (table["cell_i"] == 1) & (table["cell_j"] == 2) & (table["visit"] == 7)
    np.testing.assert_array_equal(table["weight"][left_out], 0)
    used = np.where(table["visit"] == 7, sources[0].weight, sources[1].weight)
    expected = np.where(chosen[table["cell_i"], table["cell_j"], np.asarray(table["visit"]) - 7], used, 0)
    np.testing.assert_allclose(table["weight"], expected)
    for i, j in ((1, 1), (2, 0), (0, 3)):
        here = (table["cell_i"] == i) & (table["cell_j"] == j)
        count = planes.count[75 * i : 75 * i + 75, 75 * j : 75 * j + 75].sum()
        assert table["unmasked_fraction"][here].sum() == pytest.approx(count / 75**2)


def test_rejected_weight_is_kept_where_there_is_some(summed, patch):
    """The share of the weight that was left out is a plane of its own, also if it is zero almost everywhere."""
    _, _, planes, _, stamps = summed
    rejected = np.zeros_like(planes.rejected)
    rejected[7, 200] = 0.25
    names = {"skymap": "small", "band": "vh"}
    coadd = make_cell_coadd(dataclasses.replace(planes, rejected=rejected), stamps, patch, **names)
    np.testing.assert_array_equal(coadd.mask_fractions["rejected"].array, rejected)
    nothing = make_cell_coadd(dataclasses.replace(planes, rejected=0 * rejected), stamps, patch, **names)
    assert not nothing.mask_fractions


def test_the_patch_is_named_by_its_place(made, patch):
    """Index 30 along x and 31 along y, as the sky map has it; the inner box is the patch's."""
    definition = made[1].patch
    assert (definition.index.x, definition.index.y) == patch.index == (30, 31)
    assert definition.inner_bbox == patch.inner_bbox


def test_positions_are_those_of_the_tract(made, patch):
    """The coadd's projection is that of the tract, to a thousandth of a pixel."""
    coadd = made[1]
    x, y = patch.outer_bbox.x.start + 12.0, patch.outer_bbox.y.start + 200.0
    theirs = coadd.sky_projection.pixel_to_sky(x=x, y=y)
    assert theirs.separation(patch.tract.wcs.pixel_to_world(x, y)).arcsec < 1e-4


def test_depth_and_seeing_maps(made, patch):
    """Depth is that of correlated noise in a 2-arcsec aperture; seeing is between those of the inputs."""
    _, coadd = made
    scale = pixel_scale(patch)
    seeing, depth = seeing_map(coadd, pixel_scale=scale), depth_map(coadd, pixel_scale=scale)
    assert 2.2 * 0.3412 * 0.97 < seeing[1, 1] < 2.6 * 0.3412 * 1.08
    # White noise of 1 and 1.4 per input pixel of 0.3412": errors add to the correlated noise's excess of about 2.
    white = np.sqrt(np.pi) / 0.3412 / np.sqrt(1 + 1 / 1.4**2)
    assert depth[1, 1] == pytest.approx(31.4 - 2.5 * np.log10(5 * white * 1.6), abs=0.25)
    assert coadd.metadata["depth5"] == pytest.approx(np.nanmedian(depth), abs=0.2)
    assert correlation_of(coadd, max_lag=3)[3, 4] > 0.5
    assert correlation_of(coadd, CellIJ(i=1, j=1), max_lag=3)[3, 4] == pytest.approx(0.8, abs=0.15)


def test_empty_coadd_has_no_provenance(patch):
    """Without inputs there is nothing to tell, and no error."""
    planes = make_coadd([], patch.outer_bbox, cell=75, settings=CoaddSettings(n_noise=0))
    assert make_provenance([], [], planes, nominal_inputs(planes.cell_counts), patch.outer_bbox) is None
    stamps = np.full((4, 4, 11, 11), np.nan)
    coadd = make_cell_coadd(dataclasses.replace(planes), stamps, patch, skymap="small", band="vh")
    assert len(coadd.bounds.missing) == 16
    assert (from_mask(coadd.mask) == BIT["NO_DATA"]).all()
    with pytest.raises(ValueError, match="no noise plane"):
        correlation_of(coadd)
