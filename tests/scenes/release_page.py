"""A release page of synthetic content, with a picture, objects and checks of every verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from astropy.table import Table
from PIL import Image

from dmu0.files.paths import DataFolders
from dmu0.sky.skymap import survey_patches
from dmu0.surveys import Survey, load_survey
from dmu5.census import Part
from dmu5.checks import Check, held
from dmu5.page.page_figures import PageFigure
from dmu5.page.products import release_products
from dmu5.page.sky_view import write_sky_data
from dmu5.picture import Picture, tract_box
from dmu5.release import PageContent, write_page

PROVENANCE = {"software": "lsst-ir-fusion 9", "newest_input": "2012-11-14T05:13:01", "commit": "c0ffee" * 6}
CHECKS = {
    "1_Fused": [held("a < b", "1", "2", True)],
    "2_Diagnostics": [
        Check("Ks: scatter of stars", "3.1% of 40", "<= 1%", "fail", "vk", False),
        Check("g: scatter of stars", "0.4% of 90", "<= 1%", "pass", "g", False),
        Check("J: scatter of stars", "only 4 stars, not judged", "<= 1%", "warn", "vj", False),
    ],
}


def sample_in(root: Path) -> Survey:
    """The sample with its data folders somewhere else."""
    survey = load_survey("sample")
    folders = DataFolders("sample", root=root)
    names = ("name", "title", "bands", "tracts", "vista", "optical", "has_truth", "sky_map", "path", "patches_of")
    values = {name: getattr(survey, name) for name in names if hasattr(survey, name)}
    return SimpleNamespace(**values, folders=folders)  # type: ignore[return-value]


def catalogue_on_tract(survey: Survey, rng: np.random.Generator, *, count: int = 40) -> Table:
    """Objects all over the box of the first tract, with everything that the viewer shows."""
    tract = survey.tracts and next(iter(survey.tracts))
    box = tract_box(survey, tract=tract)
    table = Table({"objectId": tract * 10**11 + np.arange(count)})
    table["x"], table["y"] = rng.uniform(box.x0, box.x1 - 1, count), rng.uniform(box.y0, box.y1 - 1, count)
    wcs = next(patch.tract.wcs for patch in survey_patches(survey))
    table["coord_ra"], table["coord_dec"] = wcs.all_pix2world(table["x"], table["y"], 0)
    table["tract"], table["refExtendedness"] = tract, np.arange(count) % 2.0
    for band in ("g", "i", "vk"):
        table[f"{band}_psfFlux"], table[f"{band}_psfFluxErr"] = rng.uniform(200, 9000, count), 50.0
        table[f"{band}_psfFlux_flag"] = False
    return table


def make_page(root: Path, rng: np.random.Generator, *, parts: Sequence[Part] = ()) -> tuple[Path, Table]:
    """Write a page with all its files, and return its path and the objects of the viewer."""
    survey = sample_in(root)
    folder, data = survey.folders[5] / "release", survey.folders[5]
    for name, text in (
        ("catalogue/object.fits", "f"),
        ("catalogue/moc/vk.moc.fits", ""),
        ("checks/a.ecsv", "c" * 2000),
    ):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    tract = next(iter(survey.tracts))
    box = tract_box(survey, tract=tract)
    pixels = rng.integers(0, 90, ((box.y1 - box.y0) // 2, (box.x1 - box.x0) // 2, 3), dtype=np.uint8)
    picture = Picture(folder / "sky.jpg", tract, ("vk", "i", "g"), 2, pixels.shape[1], pixels.shape[0])
    for path in (picture.path, folder / "figures" / "depth.png"):
        Image.fromarray(pixels).save(path)
    objects = catalogue_on_tract(survey, rng)
    write_sky_data(survey, [picture], objects, folder / "sky.js")
    bands = Table(
        rows=[(band, 10 + k, 9, 8, 0.987, 22.345 + k) for k, band in enumerate(survey.bands)],
        names=["band", "measured", "above_5_sigma", "detected", "usable", "depth5"],
    )
    figure = PageFigure("Depth", folder / "figures" / "depth.png", "the depth & more", "Beware: Ks.")
    content = PageContent(
        bands=bands,
        areas={"catalogue": 22.74, "vk": 22.5},
        objects=2122,
        checks=CHECKS,
        products=release_products(survey),
        pictures=[picture],
        figures=[figure],
        provenance=PROVENANCE,
        runs=Table({"run": ["coadds/1a2b"], "software": ["lsst-ir-fusion 9"], "commit": ["c0ffee"]}),
        lacks=["optical.coadds: g lacks 3 of 4 files, & more"],
        parts=parts,
    )
    return write_page(survey, folder, content), objects
