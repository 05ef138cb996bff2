"""The release page: a picture, the products and how to read them, the checks, and the executed notebooks."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import ascii as ascii_tables
from astropy.table import Table
from astropy.visualization import make_lupton_rgb
from lsst.daf.butler import Butler, DatasetNotFoundError, MissingCollectionError, MissingDatasetTypeError

from dmu0.robust_statistics import robust_scatter
from dmu0.sky.skymap import survey_patches
from dmu0.surveys import Survey
from dmu4.butler.repository import open_butler
from dmu5.catalogue import parquet_path, write_ecsv

PICTURE_BANDS = (("vk", "vh", "vj", "y", "z"), ("i", "r", "z", "vz", "vy"), ("g", "u", "r", "vz", "vy"))
"""Bands to show as red, green and blue: the first of each that there is."""


def choose_bands(have: Sequence[str]) -> tuple[str, str, str]:
    """Red, green and blue of the picture: Ks, i and g, or the nearest there is; one band three times if it is alone.

    Raises
    ------
    ValueError
        If there is no band.
    """
    if not have:
        raise ValueError("There is no band to make a picture of.")
    return tuple(next((band for band in wanted if band in have), have[-1]) for wanted in PICTURE_BANDS)


def read_coadd_image(butler: Butler, *, tract: int, patch: int, band: str) -> np.ndarray | None:
    """The pixels [y, x] in nJy of a coadd of the pipeline; None if there is none."""
    try:
        image = butler.get("deep_coadd.image", tract=tract, patch=patch, band=band)
    except (DatasetNotFoundError, MissingDatasetTypeError, MissingCollectionError):
        return None
    return np.asarray(image.array, np.float32)


def mosaic(survey: Survey, band: str, *, tract: int) -> np.ndarray | None:
    """The inner boxes of all patches of a tract side by side in one band, nJy; None if there is no coadd.

    Pixels without data are NaN.
    """
    patches = [patch for patch in survey_patches(survey) if patch.tract.id == tract]
    x0, y0 = (min(getattr(patch.inner_bbox, axis).start for patch in patches) for axis in "xy")
    x1, y1 = (max(getattr(patch.inner_bbox, axis).stop for patch in patches) for axis in "xy")
    canvas = np.full((y1 - y0, x1 - x0), np.nan, np.float32)
    found = False
    with open_butler(survey) as butler:
        for patch in patches:
            image = read_coadd_image(butler, tract=tract, patch=patch.id, band=band)
            if image is None:
                continue
            found = True
            inner, outer = patch.inner_bbox, patch.outer_bbox
            part = image[
                inner.y.start - outer.y.start : inner.y.stop - outer.y.start,
                inner.x.start - outer.x.start : inner.x.stop - outer.x.start,
            ]
            canvas[inner.y.start - y0 : inner.y.stop - y0, inner.x.start - x0 : inner.x.stop - x0] = part
    return canvas if found else None


def colour_picture(red: np.ndarray, green: np.ndarray, blue: np.ndarray, *, size: int = 1600) -> np.ndarray:
    """An RGB picture [y, x, 3] of three images in nJy, north up (Lupton et al. 2004, PASP 116, 133).

    Bands are scaled so that sources are white in the median; pixels without data are dark.

    Parameters
    ----------
    red, green, blue
        [y, x] in nJy on one grid.
    size
        Longest side of the picture in pixels; larger images are averaged down.
    """
    planes = [_shrink(plane, size) for plane in (red, green, blue)]
    clean, noises = [], []
    for plane in planes:
        good = np.isfinite(plane)
        middle = float(np.median(plane[good])) if good.any() else 0.0
        noises.append(max(robust_scatter(plane[good], about=middle) if good.any() else 1.0, 1e-30))
        clean.append(np.where(good, plane - middle, 0))
    bright = np.logical_and.reduce([plane > 10 * noise for plane, noise in zip(clean, noises, strict=True)])
    typical = [
        float(np.median(plane[bright])) if bright.any() else noise for plane, noise in zip(clean, noises, strict=True)
    ]
    scaled = [plane / level for plane, level in zip(clean, typical, strict=True)]
    grain = float(np.median([noise / level for noise, level in zip(noises, typical, strict=True)]))
    return make_lupton_rgb(*scaled, minimum=-0.5 * grain, stretch=15 * grain, Q=8)[::-1]


def _shrink(image: np.ndarray, size: int) -> np.ndarray:
    step = -(-max(image.shape) // size)
    if step == 1:
        return image
    ny, nx = (length // step * step for length in image.shape)
    blocks = image[:ny, :nx].reshape(ny // step, step, nx // step, step)
    count = np.isfinite(blocks).sum(axis=(1, 3))
    total = np.nansum(blocks, axis=(1, 3))
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def write_picture(survey: Survey, path: Path, *, tract: int) -> tuple[str, str, str] | None:
    """Write the RGB picture of a tract as PNG.

    Returns
    -------
    bands
        Those shown as red, green and blue; None if the tract has no coadds.
    """
    images = {band: mosaic(survey, band, tract=tract) for band in survey.bands}
    have = [band for band, image in images.items() if image is not None]
    if not have:
        path.unlink(missing_ok=True)
        return None
    bands = choose_bands(have)
    picture = colour_picture(*(images[band] for band in bands))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.png")
    plt.imsave(part, picture)
    part.replace(path)
    return bands


CHECK_COLUMNS = ("check", "value", "limit", "passed")


def write_checks(rows: Sequence[tuple[str, str, str, bool]], path: Path) -> Table:
    """Write the checks of a notebook for the release page: what, measured, allowed, and whether it is kept."""
    table = Table(rows=list(rows) or None, names=CHECK_COLUMNS, dtype=["U128", "U48", "U48", bool])
    write_ecsv(table, path)
    return table


def read_checks(folder: Path) -> dict[str, Table]:
    """All tables of checks in a folder, by name."""
    return {path.stem: ascii_tables.read(path, format="ecsv") for path in sorted(folder.glob("*.ecsv"))}


def executed_notebooks(survey: Survey) -> list[tuple[str, Path]]:
    """Title and page of every executed notebook of the survey, in order of the stages."""
    found = []
    for stage in range(6):
        for path in sorted(survey.folders.runs(stage).glob("[1-9]_*.ipynb")):
            if path.name.endswith(".failed.ipynb"):
                continue
            cells = json.loads(path.read_text())["cells"]
            title = "".join(cells[0]["source"]).splitlines()[0].lstrip("# ") if cells else path.stem
            page = path.with_suffix(".html")
            found.append((title, page))  # make writes the page beside the record when the notebook is done
    return found


def release_products(survey: Survey) -> list[tuple[Path, str]]:
    """The files of the release that are there, and what each is."""
    folder = survey.folders[5] / "catalogue"
    known = [
        *((parquet_path(folder, tract=tract), f"the catalogue of tract {tract}, Parquet") for tract in survey.tracts),
        (folder / "object.fits", "the catalogue of all tracts, FITS"),
        (folder / "object.vot", "the same, VOTable"),
        (folder / "schema.yaml", "what each column is, Felis"),
        *(
            (folder / "moc" / f"{name}.moc.fits", f"sky covered by {name}, MOC")
            for name in ("catalogue", *survey.bands)
        ),
        (survey.folders[5] / "selection" / "selection.ecsv", "completeness and purity in bins of magnitude"),
        (survey.folders[5] / "diagnostics" / "bands.ecsv", "objects and depth of each band"),
        (survey.folders[5] / "diagnostics" / "baseline.ecsv", "fluxes beside those of the baseline"),
    ]
    return [(path, text) for path, text in known if path.exists()]


def write_page(
    survey: Survey,
    folder: Path,
    *,
    bands: Table,
    checks: dict[str, Table],
    products: Sequence[tuple[Path, str]],
    pictures: Sequence[tuple[Path, str]],
) -> Path:
    """Write the release page, ``index.html``; links are relative, so that the data folders can be moved together.

    Parameters
    ----------
    survey
        The survey.
    folder
        Where the page goes.
    bands
        One row a band (`dmu5.diagnostics.summarise_bands`).
    checks
        Tables of `read_checks`.
    products
        Files, and what each is.
    pictures
        PNG files, and what each shows.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def link(path: Path, text: str) -> str:
        return f'<a href="{escape(os.path.relpath(path, folder))}">{escape(text)}</a>'

    parts = [f"<h1>{escape(survey.title)}</h1>"]
    for path, caption in pictures:
        source = escape(os.path.relpath(path, folder))
        parts.append(
            f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
        )
    parts += ["<h2>Bands</h2>", _html_table(bands), "<h2>Checks</h2>"]
    for name, table in checks.items():
        parts += [f"<h3>{escape(name.replace('_', ' '))}</h3>", _html_table(table)]
    parts.append("<h2>Products</h2><ul>")
    parts += [f"<li>{link(path, path.name)}: {escape(text)}</li>" for path, text in products]
    parts += ["</ul>", reading_examples(survey), "<h2>Executed notebooks</h2><ul>"]
    parts += [f"<li>{link(path, title)}</li>" for title, path in executed_notebooks(survey)]
    parts.append("</ul>")
    text = _PAGE.format(title=escape(survey.title), body="\n".join(parts))
    part = folder / f".index.{os.getpid()}.part"
    part.write_text(text)
    part.replace(folder / "index.html")
    return folder / "index.html"


def reading_examples(survey: Survey) -> str:
    """How to read the catalogue with pandas and astropy, in five lines each."""
    band = survey.bands[-1]
    flux = f"{band}_psfFlux"
    pandas = (
        "import numpy as np, pandas as pd\n"
        f'objects = pd.read_parquet("dmu5/data/{survey.name}/catalogue/parquet")\n'
        'objects = objects[objects["detect_isPrimary"]]\n'
        f'good = objects[~objects["{flux}_flag"] & (objects["{flux}"] > 5 * objects["{flux}Err"])]\n'
        f'magnitude = 31.4 - 2.5 * np.log10(good["{flux}"])'
    )
    astropy = (
        "from astropy.table import Table\n"
        f'objects = Table.read("dmu5/data/{survey.name}/catalogue/object.fits")\n'
        'objects = objects[objects["detect_isPrimary"]]\n'
        f'good = objects[~objects["{flux}_flag"] & (objects["{flux}"] > 5 * objects["{flux}Err"])]\n'
        f'magnitude = good["{flux}"].quantity.to("mag(AB)")'
    )
    return (
        f"<h2>Reading the catalogue</h2><p>From the project's folder, in pandas:</p><pre>{escape(pandas)}</pre>"
        f"<p>and in astropy:</p><pre>{escape(astropy)}</pre>"
    )


def _html_table(table: Table) -> str:
    def cell(value: object) -> str:
        if isinstance(value, bool | np.bool_):
            return "yes" if value else "NO"
        return f"{value:.4g}" if isinstance(value, float | np.floating) else escape(str(value))

    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in table.colnames)
    body = "\n".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in table)
    return f"<table><tr>{head}</tr>\n{body}</table>"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; line-height: 1.4; color: #222 }}
img {{ max-width: 100% }} figure {{ margin: 1em 0 }} figcaption {{ color: #555; font-size: 0.9em }}
table {{ border-collapse: collapse; margin: 1em 0; font-size: 0.9em }}
th, td {{ border-bottom: 1px solid #ccc; padding: 0.25em 0.8em 0.25em 0; text-align: left }}
pre {{ background: #f4f4f4; padding: 0.8em; overflow-x: auto }}
</style></head>
<body>
{body}
</body></html>
"""
