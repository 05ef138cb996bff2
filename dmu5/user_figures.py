"""Figures of the notebook for users: colours, flags and noise, coverage, and one object in all bands."""

from __future__ import annotations

from collections.abc import Sequence

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from mocpy import MOC

from dmu0.figure_style import BAD, GOOD, MAGNITUDE, NEUTRAL, band_colour, name_panel, panels
from dmu0.figures import finish_sky_axes
from dmu0.robust_statistics import robust_scatter
from dmu0.sky.sphere import SkyPlane
from dmu5.cutouts import Cutout
from dmu5.magnitudes import magnitude, signal_to_noise
from obs_vista.bands import VISTA_BANDS, shown_band


def nearest_bands(bands: Sequence[str], wanted: Sequence[str] = ("g", "i", "vj", "vk")) -> list[str]:
    """The bands of a survey that are nearest in order to the wanted ones: they, where it has them.

    Parameters
    ----------
    bands
        Labels of the survey's bands, from blue to red.
    wanted
        Labels that would be used; as many are returned, some of them several times if there are few bands.
    """
    places = np.linspace(0, len(bands) - 1, len(wanted)).round().astype(int)
    return [one if one in bands else bands[place] for one, place in zip(wanted, places, strict=True)]


def plot_colours(stars: Table, galaxies: Table, bands: Sequence[str], *, snr_min: float) -> Figure:
    """Two colours of point sources and extended ones: the first two bands against the last two.

    Parameters
    ----------
    stars, galaxies
        Rows of the catalogue with ``{band}_gaap1p0Flux``, errors, flags and floors.
    bands
        Four labels.
    snr_min
        Smallest ratio of flux to error in each band.
    """
    figure, axis = plt.subplots(figsize=(6, 4.5), layout="constrained")
    for table, colour, label in ((galaxies, NEUTRAL, "extended"), (stars, GOOD, "point sources")):
        values = [magnitude(table, f"{band}_gaap1p0Flux", snr_min=snr_min) for band in bands]
        x, y = values[0] - values[1], values[2] - values[3]
        count = int(np.isfinite(x + y).sum())
        axis.plot(x, y, "o", ms=3, color=colour, alpha=0.6, label=f"{count} {label}")
    first, second, third, fourth = (shown_band(band) for band in bands)
    axis.set_xlabel(f"{first} - {second} (AB)")
    axis.set_ylabel(f"{third} - {fourth} (AB)")
    axis.legend(title=f"S/N > {snr_min:g} in each")
    return figure


def plot_signal_to_noise(table: Table, band: str, *, snr_min: float) -> Figure:
    """S/N against magnitude, from the statistical error alone and with the relative error of bright sources.

    Parameters
    ----------
    table
        Rows with ``{band}_psfFlux``, its error, flag and the floor of the band.
    band
        Label of the band.
    snr_min
        The cut to draw.
    """
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    name = f"{band}_psfFlux"
    plain = table.copy()
    plain.remove_columns([column for column in plain.colnames if column.endswith("_fluxFloor")])
    for rows, colour, label in ((plain, NEUTRAL, "statistical error"), (table, GOOD, "with the floor")):
        axis.plot(magnitude(rows, name), signal_to_noise(rows, name), "o", ms=2, color=colour, label=label)
    axis.axhline(snr_min, color=BAD, label=f"S/N = {snr_min:g}")
    axis.set_yscale("log")
    axis.set_xlabel(f"{shown_band(band)} PSF {MAGNITUDE}")
    axis.set_ylabel("flux / error")
    axis.legend()
    return figure


def plot_moc(objects: Table, moc: MOC, band: str) -> Figure:
    """Objects on the sky, those inside a coverage map apart from those outside."""
    figure, axis = plt.subplots(figsize=(5.5, 5), layout="constrained")
    plane = SkyPlane.around(objects["coord_ra"], objects["coord_dec"])
    ra, dec = plane.place(np.asarray(objects["coord_ra"]), np.asarray(objects["coord_dec"]))
    inside = inside_moc(objects, moc)
    for rows, colour, what in ((inside, GOOD, "with data"), (~inside, BAD, "without")):
        axis.plot(ra[rows], dec[rows], "o", ms=2, color=colour, label=f"{int(rows.sum())} {what} in {shown_band(band)}")
    axis.invert_xaxis()
    finish_sky_axes(axis, plane)
    axis.legend(fontsize=8, loc="upper right")
    return figure


def inside_moc(objects: Table, moc: MOC) -> np.ndarray:
    """Whether each object is inside a coverage map."""
    return moc.contains_lonlat(np.asarray(objects["coord_ra"]) * u.deg, np.asarray(objects["coord_dec"]) * u.deg)


def plot_distribution(table: Table, title: str) -> Figure:
    """The fluxes of an object against wavelength, with errors; flagged ones are crossed out.

    Parameters
    ----------
    table
        Of `dmu5.cutouts.energy_distribution`.
    title
        Title of the figure.
    """
    figure, axis = plt.subplots(figsize=(6, 3.8), layout="constrained")
    for row in table:
        band = str(row["band"])
        marker = "x" if row["flagged"] else "o"
        colour = band_colour(band)
        axis.errorbar(row["wavelength"], row["flux"] / 1000, row["error"] / 1000, marker=marker, color=colour)
        axis.annotate(
            shown_band(band),
            (row["wavelength"], row["flux"] / 1000),
            xytext=(4, -14 if band in VISTA_BANDS else 6),
            textcoords="offset points",
        )
    axis.set_xscale("log")
    axis.set_xticks([400, 600, 800, 1000, 1500, 2000], ["0.4", "0.6", "0.8", "1.0", "1.5", "2.0"])
    axis.minorticks_off()
    axis.set_xlabel("wavelength (um)")
    axis.set_ylabel("flux (uJy)")
    axis.set_title(title, fontsize=10)
    return figure


def plot_cutouts(pieces: Sequence[Cutout], *, size: float) -> Figure:
    """The same piece of the sky in every band, from -2 to 20 times the noise of its sky; no data is grey.

    Parameters
    ----------
    pieces
        Cutouts on the same pixels.
    size
        Length of a side, arcsec.
    """
    figure, axes = panels(len(pieces), width=1.6, height=1.6)
    half = size / 2
    for axis, piece in zip(axes, pieces, strict=True):
        good = np.isfinite(piece.image)
        middle = float(np.median(piece.image[good])) if good.any() else 0.0
        noise = robust_scatter(piece.image[good], about=middle) if good.any() else 1.0
        axis.imshow(
            np.arcsinh((piece.image - middle) / noise),
            **{"origin": "lower", "cmap": "gray_r", "vmin": np.arcsinh(-2), "vmax": np.arcsinh(20)},
            extent=(half, -half, -half, half),
        )
        axis.set_facecolor("#DDCC77")
        name_panel(axis, piece.band)
    return figure
