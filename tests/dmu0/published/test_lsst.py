"""Coadds of the LSST pipelines: units, masks, places and the PSF of each cell, on a part of a patch."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from lsst.images import YX, Box, Image, Mask, MaskPlane, MaskSchema, SkyProjection, TractFrame
from lsst.images.cells import CellCoadd, CellGrid, CellGridBounds, CellPointSpreadFunction, PatchDefinition

from dmu0.files.integrity import check_file
from dmu0.published.coadds import (
    OpticalCoadd,
    OpticalError,
    PlainFile,
    from_lsst,
    on_patch,
    read_coadd,
    read_geometry,
    read_lsst,
    read_source,
)
from dmu0.sky.tract import tangent_wcs
from obs_vista.masks import BIT
from tests.scenes.lsst_coadds import CELL, MISSING, SATURATED, cell_patch, cell_stamp, inputs_of, make_lsst_coadd

DP2_PLANES = {name: name for name in ("NO_DATA", "CLIPPED", "REJECTED", "DETECTED", "INEXACT_PSF")} | {
    "INTERPOLATED": "INTRP",
    "COSMIC_RAY": "CR",
    "SATURATED": "SAT",
    "DETECTION_EDGE": "EDGE",
}
"""The mask planes of coadds of DP2, and what they are called here."""

BOX = Box.factory[4000:4040, 700:760]
"""Two rows of three cells of 20 pixels."""


class Repository:
    """A Butler that has one coadd."""

    def __init__(self, coadd: object, *, storage: str = "CellCoadd", path: Path = Path()) -> None:
        self.coadd, self.path = coadd, path
        self.datasetType = SimpleNamespace(storageClass_name=storage)

    def find_dataset(self, dataset: str, data_id: dict[str, object]) -> Repository | None:
        """Itself as the reference of its coadd, for the right question only."""
        assert dataset == "deep_coadd"
        return self if data_id == {"band": "i"} else None

    def get(self, ref: Repository) -> object:
        """The coadd."""
        assert ref is self
        return self.coadd

    def getURI(self, ref: Repository) -> object:
        """Address of the coadd."""
        assert ref is self
        return SimpleNamespace(ospath=str(self.path))


def stamp(row: int, column: int) -> np.ndarray:
    """A PSF stamp [y, x] of 5 pixels, different in each cell and along each axis."""
    values = np.ones((5, 5))
    values[1, 3] = 10 + 3 * row + column
    return values / values.sum()


def make_coadd(unit: u.UnitBase) -> CellCoadd:
    """A coadd of 3 units with a variance of 2, a gap, and a pixel in each of three mask planes."""
    schema = MaskSchema([MaskPlane(name, "") for name in ("SAT", "SENSOR_EDGE", "CROSSTALK", "VIGNETTED")])
    mask = Mask(0, schema=schema, bbox=BOX)
    for number, name in enumerate(("SAT", "SENSOR_EDGE", "CROSSTALK", "VIGNETTED")):
        plane = np.zeros(BOX.shape, bool)
        plane[number, 7] = True
        mask.set(name, plane)
    image, variance = np.full(BOX.shape, 3, np.float32), np.full(BOX.shape, 2, np.float32)
    image[10, 50] = np.nan
    grid = CellGrid(bbox=BOX, cell_shape=YX(y=20, x=20))
    stamps = np.array([[stamp(row, column) for column in range(3)] for row in range(2)])
    projection = SkyProjection.from_fits_wcs(
        tangent_wcs(ra=53.0, dec=-28.0, pixel_scale=0.2, x=730.0, y=4020.0),
        TractFrame(skymap="test", tract=5063, bbox=BOX),
    )
    return CellCoadd(
        Image(image, bbox=BOX, unit=unit),
        mask=mask,
        variance=Image(variance, bbox=BOX),
        noise_realizations=[],
        sky_projection=projection,
        band="i",
        psf=CellPointSpreadFunction(stamps, CellGridBounds(grid=grid, bbox=BOX)),
        patch=PatchDefinition(id=14, index=YX(y=1, x=4), inner_bbox=BOX, cells=grid),
    )


def test_values_in_nanojansky_and_where_they_are() -> None:
    """3 uJy are 3,000 nJy, their variance of 2 uJy^2 is 2e6 nJy^2; the first pixel is (700, 4000); gaps are gaps."""
    coadd = read_lsst(Repository(make_coadd(u.uJy)), {"band": "i"})
    assert coadd.image[0, 0] == pytest.approx(3000)
    assert coadd.variance[0, 0] == pytest.approx(2e6)
    assert coadd.origin == (700, 4000)
    gaps = np.argwhere((coadd.mask & BIT["NO_DATA"]) != 0)
    assert gaps.tolist() == [[10, 50]]


def test_planes_by_their_meaning() -> None:
    """SAT stays, a sensor's edge is EDGE, crosstalk SUSPECT; a plane that we do not have is named and left out."""
    coadd = read_lsst(Repository(make_coadd(u.nJy)), {"band": "i"})
    assert [int(coadd.mask[row, 7]) for row in range(4)] == [BIT["SAT"], BIT["EDGE"], BIT["SUSPECT"], 0]
    assert coadd.left_out == ("VIGNETTED",)
    assert coadd.image[0, 0] == 3


def test_each_cell_has_its_psf() -> None:
    """Stamps are numbered by rows of cells, and stand upright."""
    cells = read_lsst(Repository(make_coadd(u.nJy)), {"band": "i"}).cells
    psf = cells.stamps
    assert (cells.origin, cells.size) == ((700, 4000), 20)
    assert np.isnan(cells.light).all()
    assert psf.shape == (2, 3, 5, 5)
    for row in range(2):
        for column in range(3):
            np.testing.assert_allclose(psf[row, column], stamp(row, column))


def test_other_units_are_refused() -> None:
    """Counts are no flux density."""
    with pytest.raises(OpticalError, match=r"its unit is adu, not nJy"):
        read_lsst(Repository(make_coadd(u.adu)), {"band": "i"})


def test_a_repository_without_the_coadd() -> None:
    """What is not in the collection is an error that names it."""
    with pytest.raises(OpticalError, match=r"no deep_coadd \{'band': 'r'\}"):
        read_lsst(Repository(make_coadd(u.nJy)), {"band": "r"})


def test_shipped_fixture(realdata: Path) -> None:
    """The minified coadd of DP2: mask, infinite variance, missing cell, PSFs, inputs as lsst.images gives them."""
    path = realdata / "lsst" / "cell_coadd-1.0.0-as_shipped.json"
    coadd, true = read_coadd(path), CellCoadd.read(str(path))
    good = np.isfinite(true.variance.array)
    assert (~good).sum() == 36
    np.testing.assert_array_equal((coadd.mask & BIT["NO_DATA"]) != 0, ~good)
    np.testing.assert_array_equal(coadd.image[good], true.image.array[good])
    np.testing.assert_array_equal(coadd.variance, np.where(good, true.variance.array, np.inf))
    np.testing.assert_array_equal(coadd.noise[0][good], true.noise_realizations[0].array[good])
    planes = [plane.name for plane in true.mask.schema if plane is not None]
    assert sorted(planes) == sorted(DP2_PLANES)
    for name in planes:
        np.testing.assert_array_equal((coadd.mask & BIT[DP2_PLANES[name]]) != 0, true.mask.get(name), err_msg=name)
    assert coadd.mask.max() < 2 * max(BIT[ours] for ours in DP2_PLANES.values())
    assert coadd.left_out == ()
    assert coadd.cells.missing.tolist() == [[True, False], [False, False]]
    assert coadd.origin == coadd.cells.origin == (36, 48)
    for cell in true.bounds.cell_indices():
        np.testing.assert_array_equal(coadd.cells.stamps[cell.i - 8, cell.j - 6], true.psf[cell].array)
    assert coadd.cells.input_count().tolist() == [[0, 2], [2, 2]]
    said, first = coadd.cells.provenance, {"cell_i": 8, "cell_j": 6}
    for name in ("contributions", "inputs"):
        ours, theirs = getattr(said, name), getattr(true.provenance, name)
        used = np.isin(theirs["visit"] * 1000 + theirs["detector"], ours["visit"] * 1000 + ours["detector"])
        assert used.all() or name == "inputs"
        for column in theirs.colnames:
            expected = theirs[column][used] - first[column] if column in first else theirs[column][used]
            assert list(ours[column]) == list(expected), column
    np.testing.assert_array_equal(coadd.rejected, true.mask_fractions["rejected"].array)
    assert "3 kinds of flux" in coadd.notes["not_used"]
    assert check_file(path, "optical_coadd") == ""
    wcs, shape = read_geometry(path)
    assert shape == (12, 12)
    sky = true.sky_projection.pixel_to_sky(x=np.array([41.0]), y=np.array([50.0]))
    assert wcs.pixel_to_world(5.0, 2.0).separation(sky[0]).arcsec < 1e-3


def test_both_spellings_of_the_shape_of_a_cell(realdata: Path, tmp_path: Path) -> None:
    """Shipped files say [6, 6], newer code {y, x}: both give the same cells."""
    path = realdata / "lsst" / "cell_coadd-1.0.0-as_shipped.json"
    text = path.read_text()
    tree = json.loads(text)
    shape = tree["psf"]["bounds"]["grid"]["cell_shape"]
    other = {"y": 6, "x": 6} if isinstance(shape, list) else [6, 6]

    def respelled(node: object) -> object:
        if isinstance(node, list):
            return [respelled(part) for part in node]
        if isinstance(node, dict):
            return {key: other if key == "cell_shape" else respelled(part) for key, part in node.items()}
        return node

    (tmp_path / "other.json").write_text(json.dumps(respelled(tree)))
    one, two = read_coadd(path), read_coadd(tmp_path / "other.json")
    assert one.cells.size == two.cells.size == 6
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.cells.stamps, two.cells.stamps)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[CellCoadd, Path]:
    """A coadd of 22 x 22 cells, and the FITS file of lsst.images that it was written to."""
    coadd = make_lsst_coadd(np.random.default_rng(11))
    path = tmp_path_factory.mktemp("lsst") / "deep_coadd_9813_i.fits"
    coadd.write(str(path))
    return coadd, path


def test_a_whole_patch_round_trips(published: tuple[CellCoadd, Path]) -> None:
    """Pixels of a patch of 22 x 22 cells are those written, bit by bit; PSFs to 1e-6; saturation stays."""
    true, path = published
    coadd = on_patch(read_coadd(path), cell_patch(), name="it")
    good = np.isfinite(true.variance.array)
    np.testing.assert_array_equal(coadd.image, np.where(good, true.image.array, np.nan))
    np.testing.assert_array_equal(coadd.variance, true.variance.array)
    np.testing.assert_array_equal(coadd.noise[0], np.where(good, true.noise_realizations[0].array, np.nan))
    cells = coadd.cells.on(cell_patch().image_bbox, CELL)
    assert cells.exact
    assert np.argwhere(cells.missing).tolist() == [[MISSING.i, MISSING.j]]
    visits = {}
    for i, j, visit in cells.provenance.contributions["cell_i", "cell_j", "visit"].iterrows():
        visits.setdefault((int(i), int(j)), []).append(int(visit))
    there = [(row, column) for row in range(22) for column in range(22) if (row, column) != (MISSING.i, MISSING.j)]
    for row, column in there:
        np.testing.assert_allclose(cells.stamps[row, column], cell_stamp(row, column), rtol=0, atol=1e-6)
        assert cells.light[row, column] == pytest.approx(1 / (1.01 + 0.001 * (22 * row + column)))
        assert cells.input_count()[row, column] == len(inputs_of(row, column))
        assert sorted(visits.pop((row, column))) == inputs_of(row, column)
    assert not visits
    assert (coadd.mask[SATURATED] & BIT["SAT"]).all()
    assert coadd.unreliable[SATURATED].all()
    assert (coadd.mask[:4] & BIT["EDGE"]).all()
    assert (coadd.mask[90:92, 100:105] == BIT["CR"] | BIT["INTRP"]).all()
    assert coadd.rejected[SATURATED].all()
    assert coadd.notes["aperture_correction"] == "base_PsfFlux_instFlux per cell"
    assert check_file(path, "optical_coadd") == ""


def test_a_cutout_keeps_its_cells(published: tuple[CellCoadd, Path], tmp_path: Path) -> None:
    """Of a file that is a cutout, off the borders of cells, the patch has the cells that the cutout touches."""
    true, _ = published
    box, patch = true.bbox, cell_patch()
    part = Box.factory[box.y.start + 95 : box.y.start + 260, box.x.start + 310 : box.x.start + 555]
    true[part].write(str(tmp_path / "cutout.fits"))
    coadd = on_patch(read_coadd(tmp_path / "cutout.fits"), patch, name="cutout")
    filled = np.isfinite(coadd.image)
    gap = true.grid.bbox_of(MISSING).intersection(part)
    assert filled.sum() == part.area - gap.area
    np.testing.assert_array_equal(coadd.image[filled], true.image.array[filled])
    cells = coadd.cells.on(patch.image_bbox, CELL)
    there = np.zeros((22, 22), bool)
    there[3:9, 10:19] = True
    there[MISSING.i, MISSING.j] = False
    np.testing.assert_array_equal(cells.missing, ~there)
    np.testing.assert_allclose(cells.stamps[4, 18], cell_stamp(4, 18), atol=1e-6)
    count = cells.input_count()
    assert count[there].tolist() == [len(inputs_of(int(i), int(j))) for i, j in np.argwhere(there)]
    assert not count[~there].any()


def test_part_of_a_file(published: tuple[CellCoadd, Path]) -> None:
    """Of a file only a box of pixels is read, at its place, with the projection of the file."""
    true, path = published
    box = Box.factory[40:131, 300:420]
    source = {"kind": "lsst", "path": str(path), "zero_point": None}
    part = read_source(source, {"band": "i"}, box=box)
    filled = np.isfinite(part.image)
    np.testing.assert_array_equal(part.image[filled], true.image.array[40:131, 300:420][filled])
    assert filled.mean() > 0.8
    assert part.corner == (300, 40)
    x0, y0 = true.bbox.x.start, true.bbox.y.start
    sky = true.sky_projection.pixel_to_sky(x=np.array([x0 + 310.0]), y=np.array([y0 + 77.0]))
    assert part.wcs.pixel_to_world(310.0, 77.0).separation(sky[0]).arcsec < 1e-3


def test_cells_on_another_grid_are_taken_at_centres(published: tuple[CellCoadd, Path]) -> None:
    """Cells of 20 px get the PSF of the cell of 30 px that their centre is in; inputs are then unknown."""
    coadd = from_lsst(published[0], "it")
    x0, y0 = coadd.cells.origin
    cells = coadd.cells.on(Box.factory[y0 : y0 + 120, x0 - 40 : x0 + 80], 20)
    assert not cells.exact
    assert cells.provenance is None
    assert cells.missing[:, :2].all()
    np.testing.assert_array_equal(cells.stamps[1, 3], coadd.cells.stamps[1, 1])
    np.testing.assert_array_equal(cells.stamps[5, 4], coadd.cells.stamps[3, 1])


def test_offsets_of_a_data_release(published: tuple[CellCoadd, Path]) -> None:
    """An offset of 0.071 mag to be subtracted makes fluxes 6.8% larger, noise and errors too, and is noted."""
    path = published[1]
    plain, corrected = read_coadd(path), read_coadd(path, file=PlainFile(path, ab_offset=0.071))
    factor = 10 ** (0.4 * 0.071)
    assert factor == pytest.approx(1.0676, abs=1e-4)
    np.testing.assert_allclose(corrected.image, plain.image * factor, rtol=1e-6)
    np.testing.assert_allclose(corrected.noise[0], plain.noise[0] * factor, rtol=1e-6)
    np.testing.assert_allclose(corrected.variance, plain.variance * factor**2, rtol=1e-6)
    assert corrected.notes["ab_offset"] == 0.071
    source = {"kind": "lsst", "path": str(path), "zero_point": None, "ab_offset": 0.071}
    np.testing.assert_array_equal(read_source(source, {"band": "i"}).image, corrected.image)


def test_damaged_files_are_refused(published: tuple[CellCoadd, Path], tmp_path: Path, realdata: Path) -> None:
    """Half a file, another kind of tree, and no tree are errors that name the file."""
    half = tmp_path / "half.json"
    half.write_text((realdata / "lsst" / "cell_coadd-1.0.0-as_shipped.json").read_text()[:20_000])
    visit = realdata / "lsst" / "visit_image-1.0.0-dp2.json"
    for path in (half, visit):
        with pytest.raises(OpticalError, match=rf"{path.name}: it cannot be read as a coadd of cells"):
            read_coadd(path)
        assert "cannot be read as a coadd of cells" in check_file(path, "optical_coadd")


def write_exposure(path: Path, *, unit: str = "nJy") -> None:
    """A coadd of DP1 as afw writes it: three planes in nJy, and tables of components that only afw reads."""
    patch = cell_patch()
    box = patch.image_bbox.padded(10)
    header = patch.wcs.to_header()
    header["CRPIX1"] += 10
    header["CRPIX2"] += 10
    header["LTV1"], header["LTV2"] = -float(box.x.start), -float(box.y.start)
    image = np.arange(box.area, dtype=np.float32).reshape(box.shape) % 977
    mask = np.zeros(box.shape, np.int32)
    planes = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "SUSPECT": 7, "NO_DATA": 8, "SENSOR_EDGE": 14}
    planes |= {"INJECTED_CORE": 22}
    for number, bit in enumerate(planes.values()):
        mask[30, 40 + number] = 1 << bit
    hdus = [fits.PrimaryHDU()]
    for name, data in (("IMAGE", image), ("MASK", mask), ("VARIANCE", np.full(box.shape, 4, np.float32))):
        hdu = fits.CompImageHDU(data, header.copy(), compression_type="GZIP_2", name=name, quantize_level=0.0)
        hdu.header["EXTTYPE"] = name
        if name == "IMAGE":
            hdu.header["BUNIT"] = unit
        if name == "MASK":
            for plane, bit in planes.items():
                hdu.header[f"HIERARCH MP_{plane}"] = bit
        hdus.append(hdu)
    hdus.append(
        fits.BinTableHDU.from_columns([fits.Column("flags", "1X", array=np.ones((1, 1), bool))], name="ARCHIVE")
    )
    fits.HDUList(hdus).writeto(path)


def expect_exposure(coadd: OpticalCoadd) -> None:
    """The pixels of `write_exposure`."""
    assert coadd.image[2, 5] == (2 * (22 * CELL + 20) + 5) % 977
    assert coadd.variance[0, 0] == 4
    names = ("BAD", "SAT", "INTRP", "CR", "EDGE", "SUSPECT", "NO_DATA", "EDGE")
    assert [int(coadd.mask[30, 40 + n]) for n in range(9)] == [*(int(BIT[name]) for name in names), 0]
    assert coadd.left_out == ("INJECTED_CORE",)
    assert "only the LSST stack can read" in str(coadd.notes["not_used"])


def test_exposures_of_dp1(tmp_path: Path) -> None:
    """Image, mask, variance and unit of a file of afw, without afw; cut to the cells of the patch."""
    path = tmp_path / "deep_coadd.fits"
    write_exposure(path)
    coadd = read_source({"kind": "lsst", "path": str(path), "zero_point": None}, {"band": "i"})
    expect_exposure(coadd)
    assert coadd.cells is None
    cut = on_patch(coadd, cell_patch(), name="it")
    np.testing.assert_array_equal(cut.image[0, :5], coadd.image[10, 10:15])
    assert check_file(path, "optical_coadd") == ""
    assert read_coadd(path).image[2, 5] == coadd.image[2, 5]
    butler = Repository(None, storage="ExposureF", path=path)
    expect_exposure(read_lsst(butler, {"band": "i"}))


def test_units_of_exposures(tmp_path: Path) -> None:
    """BUNIT gives the zero point where no other card does; counts do not."""
    write_exposure(tmp_path / "a.fits", unit="uJy")
    assert read_coadd(tmp_path / "a.fits").image[0, 7] == pytest.approx(7000, rel=1e-6)
    write_exposure(tmp_path / "b.fits", unit="adu")
    with pytest.raises(OpticalError, match="its zero point is unknown"):
        read_coadd(tmp_path / "b.fits")
