"""The text of a draft: a survey file with comments on everything that was inferred."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from dmu0.draft.grid import Grid, Place, choose_grid
from dmu0.draft.patterns import band_patterns, glob_patterns, patch_pattern
from dmu0.draft.sorting import Contents
from dmu0.published.planes import OpticalError
from dmu0.published.zero_point import CasuScale, published_zero_point
from dmu0.surveys.first_look import FirstLook
from dmu0.surveys.keys import shipped_surveys
from obs_vista.bands import OPTICAL_BANDS, VISTA_BANDS, get_band
from obs_vista.cards import CardError, card_number, card_value

ZERO_POINT_CARDS = ("PHOTZP", "MAGZP", "MAG_ZP", "ZEROPT", "ZPT", "ZP", "MAGZPT")
"""Cards with a zero point that the pipeline does not read, because their meaning is not standardized."""

SYSTEM_CARD = "PHOTSYS"
"""Card with the system of PHOTZP, VEGA or AB, in products that follow ESO's Science Data Products Standard
(ESO-044286)."""

LARGEST_VEGA = 27.0
"""MAGZPT of VIRCAM is 23 to 25 (Vega) for one count per second; images with larger values were rescaled to AB 30."""


SAME_ZERO_POINT = 0.005
"""Largest difference in mag between the zero points of tiles that have one key in common."""


class DraftError(ValueError):
    """A folder contains no images for a survey; the message says what it contains."""


def name_of(folder: Path) -> str:
    """A name for a survey from that of a folder: lower-case letters, digits and _, not that of an existing survey."""
    name = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")[:28]
    if not re.match(r"[a-z]", name) or name in shipped_surveys():
        name = f"my_{name}".rstrip("_")
    return name


def draft(contents: Contents, *, target: Path) -> tuple[str, list[str]]:
    """The text of a survey file for the files of a folder.

    Parameters
    ----------
    contents
        Contents of the folder.
    target
        Path of the survey file; the folder is given relative to it if it is near.

    Returns
    -------
    text, needed
        The text, and one line for each item that must be added by hand; usually none.

    Raises
    ------
    DraftError
        If there are no images.
    """
    name = name_of(contents.folder)
    coadds = [look for looks in contents.coadds.values() for look in looks]
    stacks = [look for looks in contents.stacks.values() for look in looks]
    if not coadds and not stacks:
        raise DraftError(_nothing(contents))
    grid = choose_grid(coadds, stacks, name=name)
    needed: list[str] = []
    lines = [*_head(contents, name, target), *_vista(contents, grid, needed), *_optical(contents, grid, needed)]
    lines += [*_sky_map(grid, coadds, name, needed), *_references(contents), *_left_out(contents)]
    return "\n".join(lines) + "\n", needed


def _nothing(contents: Contents) -> str:
    """The reason why a folder cannot be used as a survey."""
    kinds = [f"{len(paths)} {key} catalogues" for key, paths in contents.catalogues.items()]
    kinds += [f"{path.name} ({why})" for path, why in list(contents.left_out.items())[:5]]
    return (
        f"{contents.folder} holds no image that a survey can be made of; it holds {', '.join(kinds) or 'no FITS file'}."
    )


def _value(value: object) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


def _head(contents: Contents, name: str, target: Path) -> Iterator[str]:
    folder = contents.folder.resolve()
    relative = os.path.relpath(folder, target.resolve().parent)
    yield f"# Drafted by `make survey` from the files of {folder}."
    yield "# Check what the comments say, then: make check SURVEY=this-file"
    yield f"name: {name}"
    yield f"title: {_value(contents.folder.resolve().name)}"
    yield "inputs:"
    yield "  source: local"
    yield f"  folder: {_value(str(folder) if relative.count('..') > 2 else relative)}"


def _vista(contents: Contents, grid: Grid | None, needed: list[str]) -> Iterator[str]:
    coadds = {band: looks for band, looks in contents.coadds.items() if band in VISTA_BANDS}
    if not contents.stacks and not coadds:
        return
    bands = [band for band in VISTA_BANDS if band in contents.stacks or band in coadds]
    yield "vista:"
    if not contents.stacks:
        yield "  kind: coadds"
        yield from _bands_and_coadds(contents, coadds, bands, grid, needed, section="vista")
        yield "  confidence: null"
        return
    looks = [look for looks in contents.stacks.values() for look in looks]
    yield "  kind: stacks"
    programme = next((str(v) for look in looks if (v := card_value(look.header, "ESO OBS PROG ID"))), None)
    if programme is not None:
        yield f"  programme: {_value(programme)}"
    yield from _bands_and_coadds(contents, coadds, bands, grid, needed, section="vista")
    paths = [look.path for look in looks]
    suffix = contents.confidence
    maps = [
        path for path in _others(contents, paths) if suffix and re.search(rf"{re.escape(suffix)}\.fits?\b", path.name)
    ]
    patterns = glob_patterns(contents.folder, paths, others=_others(contents, [*paths, *maps]))
    yield f"  stacks: {_value(patterns)}"
    if contents.confidence is None:
        yield "  confidence: null  # no file is named like a stack with something behind, as in _conf"
        yield "  noise: skynoise"
    else:
        yield f"  confidence: {_value(contents.confidence)}"
    zero_points = [value for look in looks if np.isfinite(value := _number(look, "MAGZPT"))]
    if zero_points and np.median(zero_points) > LARGEST_VEGA:
        yield f"  magnitudes: AB  # MAGZPT is {np.median(zero_points):g}, too large for CASU's Vega system"
    if any(13 in look.detectors for look in looks):
        yield "  cuts:"
        yield "    noise_ratio_range: [0.7, 1.8]  # detector 13 is at 1.5 in good images"


def _others(contents: Contents, paths: Sequence[Path]) -> list[Path]:
    """What is in the folder besides some files: no pattern for these may match it."""
    return sorted(set(contents.folder.rglob("*")) - set(paths))


def _number(look: FirstLook, card: str) -> float:
    try:
        return card_number(look.header, card, default=np.nan)
    except CardError:
        return np.nan


def _optical(contents: Contents, grid: Grid | None, needed: list[str]) -> Iterator[str]:
    coadds = {band: looks for band, looks in contents.coadds.items() if band in OPTICAL_BANDS}
    if not coadds:
        return
    whole = {"image", "mask", "variance"}
    hsc = all(whole <= look.planes and "FLUXMAG0" in look.header for looks in coadds.values() for look in looks)
    yield "optical:"
    yield "  kind: hsc" if hsc else "  kind: fits"
    yield from _bands_and_coadds(
        contents, coadds, [b for b in OPTICAL_BANDS if b in coadds], grid, needed, section="optical"
    )


def _bands_and_coadds(
    contents: Contents,
    coadds: Mapping[str, Sequence[FirstLook]],
    bands: Sequence[str],
    grid: Grid | None,
    needed: list[str],
    *,
    section: str,
) -> Iterator[str]:
    """Bands with the source of the information, and patterns and zero points of bands with coadds."""
    told = {band: contents.sources[band] for band in bands if contents.sources.get(band, "header") != "header"}
    yield f"  bands: [{', '.join(bands)}]" + (f"  # by {_told(told)}" if told else "")
    if not coadds:
        return
    places = {} if grid is None else grid.places
    paths = {band: [look.path for look in coadds[band]] for band in bands if band in coadds}
    yield from _patterns("coadds", contents, paths, places, needed)
    for key, files in (("weights", contents.weights), ("variances", contents.variances), ("psf_stamps", contents.psfs)):
        chosen = {band: files[band] for band in bands if band in files and band in coadds}
        if chosen and (section == "optical" or key != "psf_stamps"):
            yield from _patterns(key, contents, chosen, places, needed)
    yield from _zero_points(coadds, bands, needed, section)


def _told(told: Mapping[str, str]) -> str:
    """The cards or names from which the bands were identified, in short."""
    words = list(dict.fromkeys(told.values()))
    return ", ".join(words[:3]) + (", ..." if len(words) > 3 else "")


def _patterns(
    key: str, contents: Contents, paths: Mapping[str, Sequence[Path]], places: Mapping[Path, Place], needed: list[str]
) -> Iterator[str]:
    """File patterns by band."""
    by_band, folder = {}, contents.folder
    for band, files in paths.items():
        many = len(files) > 1 or any(len(other) > 1 for other in paths.values())
        by_band[band] = [patch_pattern(folder, file, band, _place(file, places) if many else None) for file in files]
        if not places and len(files) > 1:  # tiles of a mosaic
            # The pattern of coadds may match their maps, which are then not taken for coadds.
            maps = [*contents.weights.get(band, ()), *contents.variances.get(band, ())] if key == "coadds" else []
            tiles = glob_patterns(folder, files, others=_others(contents, [*files, *maps]))
            if len(tiles) == 1:
                by_band[band] = tiles
    chosen, misfits = band_patterns(by_band)
    yield f"  {key}:"
    for band, pattern in chosen.items():
        yield f"    {band}: {_value(pattern)}"
    for band, count in misfits.items():
        if count:
            needed.append(f"{key}: {count} files of {band} do not fit the pattern of the others; move them apart")


def _place(file: Path, places: Mapping[Path, Place]) -> Place | None:
    """The patch of a file: its own, or that of a coadd in the same folder or with the same patch in its name."""
    if file in places:
        return places[file]
    named = [
        place for place in places.values() if f"{place.x},{place.y}" in file.name and str(place.tract) in str(file)
    ]
    beside = [place for path, place in places.items() if path.parent == file.parent]
    return next(iter(named or beside), None)


def _zero_points(
    coadds: Mapping[str, Sequence[FirstLook]], bands: Sequence[str], needed: list[str], section: str
) -> Iterator[str]:
    """Zero points of bands without one in the headers that the pipeline reads."""
    unknown = {}
    for band in bands:
        lacking = [look for look in coadds.get(band, ()) if not np.isfinite(look.zero_point)]
        # One key per band cannot hold the zero points of different tiles, which the pipeline reads where it can.
        if lacking and not (_are_different(lacking, band) and all(_is_read(look, band) for look in lacking)):
            unknown[band] = lacking
    if not unknown:
        return
    yield "  zero_points:"
    for band, looks in unknown.items():
        look = looks[0]
        value, source = _other_zero_point(look, band)
        values = [_other_zero_point(other, band)[0] for other in looks]
        if len(looks) < len(coadds[band]) or _are_different(looks, band):
            said = ", ".join(f"{other.path.name} {one:.6g}" for other, one in zip(looks[:3], values, strict=False))
            yield f"    {band}:  # needed: the files of this band have different zero points"
            needed.append(
                f"{section}.zero_points.{band}: {len(coadds[band])} files have different zero points ({said}, ...): "
                "write MAGZERO, the AB magnitude of one count, into the header of each, and leave this key out"
            )
        elif np.isfinite(value):
            yield f"    {band}: {value:.6g}  # {source}; is it the AB magnitude of one count?"
        else:
            why = _why_unknown(look)
            yield f"    {band}:  # needed: the AB magnitude of one count; {why}"
            needed.append(f"{section}.zero_points.{band}: the AB magnitude of one count of {look.path.name}; {why}")


def _why_unknown(look: FirstLook) -> str:
    """Why the headers give no zero point: cards that are no numbers, contradict each other or may be placeholders."""
    try:
        published_zero_point(look.header, look.header, path=look.path)
    except OpticalError as error:
        said = str(error).removeprefix(f"{look.path}: ")
        if not said.startswith("its zero point is unknown"):
            return re.split(r"; (?=a )|\.? Or give ", said)[0] + ": write here what is meant"
    return f"{look.path.name} does not say it"


def _are_different(looks: Sequence[FirstLook], band: str) -> bool:
    """Whether some images of a band have different zero points."""
    return bool(np.ptp([_other_zero_point(look, band)[0] for look in looks]) > SAME_ZERO_POINT)


def _is_read(look: FirstLook, band: str) -> bool:
    """Whether the pipeline reads the zero point of an image, with the band that the survey file gives it."""
    casu = CasuScale(band, "Vega") if band in VISTA_BANDS else None
    try:
        published_zero_point(look.header, look.header, path=look.path, casu=casu)
    except OpticalError:
        return False
    return True


def _other_zero_point(look: FirstLook, band: str) -> tuple[float, str]:
    """A zero point (AB) from one of `ZERO_POINT_CARDS`, and its source."""
    for card in ZERO_POINT_CARDS:
        value = _number(look, card)
        if not 10 < value < 40:
            continue
        offset = get_band(band).vega_to_ab
        system = str(card_value(look.header, SYSTEM_CARD) or "").strip().upper()
        if system == "VEGA" and card == "PHOTZP":
            if np.isfinite(offset):
                return value + offset, f"PHOTZP {value:g}, Vega by its PHOTSYS, and {offset:+.3f} to AB"
            return np.nan, ""
        if band in VISTA_BANDS and value < LARGEST_VEGA:
            return value + offset, f"{card} {value:g}, taken for Vega, and {offset:+.3f} to AB"
        return value, f"{card} of {look.path.name}"
    return np.nan, ""


def _sky_map(grid: Grid | None, coadds: Sequence[FirstLook], name: str, needed: list[str]) -> Iterator[str]:
    yield "sky_map:" + (f"  # {grid.note}" if grid is not None else "")
    if grid is None:
        ny, nx = max((look.shape for look in coadds), default=(0, 0))
        needed.append("sky_map.centre and sky_map.pixel_scale: the images have no world coordinates")
        yield "  kind: single"
        yield f"  name: {name}"
        yield "  pixel_scale:  # needed: arcsec; the images have no world coordinates"
        yield "  centre:  # needed: [RA, Dec] of their middle, ICRS deg"
        yield f"  shape: [{ny}, {nx}]"
        yield "tracts:"
        yield "  0: [0]"
        return
    for key, value in grid.settings.items():
        yield f"  {key}: {_value(value)}"
    yield "tracts:"
    for tract, patches in grid.tracts.items():
        yield f"  {tract}: {_value(patches)}"


def _references(contents: Contents) -> Iterator[str]:
    if not contents.catalogues:
        return
    yield "references:"
    for key, paths in contents.catalogues.items():
        patterns = glob_patterns(contents.folder, paths, others=_others(contents, paths))
        more = f"  # also {', '.join(patterns[1:])}" if patterns[1:] else ""
        yield f"  {key}: {_value(patterns[0])}{more}"


def _left_out(contents: Contents) -> Iterator[str]:
    if contents.left_out:
        yield "# Not used:"
    for path, why in contents.left_out.items():
        yield f"#   {path.relative_to(contents.folder)}: {' '.join(why.split())}"
