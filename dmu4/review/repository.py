"""Reviews of a repository: tables and maps of its contents."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from lsst.daf.butler import Butler
from lsst.sphgeom import ConvexPolygon, LonLat
from matplotlib.figure import Figure

from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import Survey
from dmu4.butler.ingest import DATASET_TYPES
from dmu4.butler.repository import INPUTS
from obs_vista.bands import get_band


def dataset_counts(butler: Butler) -> dict[str, int]:
    """Number of input datasets of each type in a repository."""
    counts = {}
    for name in DATASET_TYPES:
        found = butler.query_datasets(name, collections=INPUTS, explain=False, limit=None)
        counts[name] = len(found)
    return counts


def visit_table(butler: Butler) -> Table:
    """One row per visit: number, filter, start (UTC), total exposure time in s and number of detectors."""
    rows = []
    for record in butler.query_dimension_records("visit", explain=False):
        detectors = butler.query_dimension_records("visit_detector_region", visit=record.id, explain=False)
        begin = record.timespan.begin.utc.strftime("%Y-%m-%d %H:%M")
        rows.append((record.id, record.physical_filter, begin, record.exposure_time, len(detectors)))
    names = ("visit", "filter", "begin_utc", "exposure_time", "detectors")
    return Table(rows=rows or None, names=names, dtype=(np.int64, str, str, float, int))


def outline(region: ConvexPolygon) -> tuple[np.ndarray, np.ndarray]:
    """Right ascensions and declinations (deg) of the corners of a polygon, with the first one repeated at the end."""
    corners = [LonLat(vertex) for vertex in region.getVertices()]
    corners.append(corners[0])
    ra = np.array([corner.getLon().asDegrees() for corner in corners])
    return ra, np.array([corner.getLat().asDegrees() for corner in corners])


def plot_visits(butler: Butler, survey: Survey, patches: dict[int, list[int]]) -> Figure:
    """Maps of the detectors of all visits over the patches of a release, one panel per VISTA band.

    Parameters
    ----------
    butler
        Butler of the repository.
    survey
        Survey of the repository.
    patches
        Tract -> patch ids to draw.
    """
    bands = survey.vista.stack_bands or survey.vista.bands if survey.vista else ("no VISTA band",)
    figure, axes = plt.subplots(
        1, len(bands), figsize=(3.2 * len(bands) + 0.8, 3.8), sharex=True, sharey=True, squeeze=False
    )
    sky_map = make_sky_map(survey.sky_map)
    for band, ax in zip(bands, axes[0], strict=True):
        _draw_detectors(ax, butler, band)
        for number, ids in patches.items():
            tract = sky_map.tract(number)
            for patch in ids:
                corners = tract.patch(patch).inner_corners()
                ra, dec = np.append(corners.ra.deg, corners.ra.deg[0]), np.append(corners.dec.deg, corners.dec.deg[0])
                ax.plot(ra, dec, color="black", lw=2)
        ax.set_title(band)
        ax.set_xlabel("RA (deg)")
        ax.ticklabel_format(useOffset=False)
        ax.tick_params(axis="x", rotation=45)
    axes[0, 0].set_ylabel("Dec (deg)")
    axes[0, 0].invert_xaxis()
    figure.tight_layout()
    return figure


def _draw_detectors(ax: plt.Axes, butler: Butler, band: str) -> None:
    if band == "no VISTA band":
        return
    regions = butler.query_dimension_records(
        "visit_detector_region",
        where="physical_filter = my_filter",
        bind={"my_filter": get_band(band).physical_filter},
        explain=False,
    )
    visits = sorted({record.visit for record in regions})
    colours = plt.get_cmap("cividis")(np.linspace(0.1, 0.9, max(len(visits), 1)))
    for record in regions:
        ra, dec = outline(record.region)
        ax.fill(ra, dec, facecolor=(*colours[visits.index(record.visit)][:3], 0.12), edgecolor="0.4", lw=0.5)
    ax.text(0.03, 0.97, f"{len(visits)} visits", transform=ax.transAxes, va="top")
