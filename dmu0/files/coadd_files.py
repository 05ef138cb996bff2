"""Files of published coadds that match the patterns of a survey, with their weight or variance maps.

A pattern may contain the wildcards ``*`` and ``?``, for mosaics of many tiles. The map of a tile is then the file for
which the wildcards match the same text: ``tile_7_r_wei.fits`` for ``tile_7_r_sci.fits`` if the patterns are
``tile_*_r_wei.fits`` and ``tile_*_r_sci.fits``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dmu0.sky.skymap import survey_patches
from dmu0.sky.tract import Patch
from dmu0.surveys import Optical, Survey, Vista
from obs_vista.bands import get_band, plain_band

_WILDCARD = re.compile(r"[*?]")


class CoaddFile(NamedTuple):
    """A file named by a pattern of a survey.

    Attributes
    ----------
    path
        Path of the file, which need not exist.
    band
        Label of the band.
    tract, patch
        Tract and patch according to the name, or the only ones; -1 if unknown.
    weight, variance
        Weight map and variance map; None if the survey has none.
    """

    path: Path
    band: str
    tract: int
    patch: int
    weight: Path | None = None
    variance: Path | None = None


def coadd_files(survey: Survey, half: Optical | Vista) -> Iterator[CoaddFile]:
    """The published coadds of one section of a survey, with their maps, whether they exist or not.

    A map that the wildcards of a pattern of images find is not among them.
    """
    files, by_wildcard = [], set()
    for found, filled in _named_files(survey, half.coadds, half.bands):
        maps: list[Path | None] = []
        for patterns in (half.weights, half.variances):
            pattern = patterns.get(found.band, patterns.get("default"))
            maps.append(None if pattern is None else survey.input_folder / filled.like(pattern, found.band))
        files.append(found._replace(weight=maps[0], variance=maps[1]))
        by_wildcard |= {found.path} if filled.wild else set()
    # tile_*.fits matches tile_7.weight.fits as well.
    taken = {path for file in files for path in (file.weight, file.variance)} & by_wildcard
    return (file for file in files if file.path not in taken)


def stamp_files(survey: Survey, optical: Optical) -> Iterator[CoaddFile]:
    """The PSF stamps of one optical section of a survey, whether they exist or not."""
    return (found for found, _ in _named_files(survey, optical.psf_stamps, optical.bands))


def fill_pattern(pattern: str, *, band: str, filter_name: str | None = None, patch: Patch | None = None) -> str:
    """A file pattern or address with the names of band and patch filled in.

    Parameters
    ----------
    pattern
        The pattern.
    band
        Label of the band; its plain form (``g`` of ``gkids``) is filled in.
    filter_name
        Name of the filter; None: the usual one.
    patch
        The patch.

    Raises
    ------
    KeyError
        If a placeholder is not one of {band}, {filter}, {tract}, {patch}, {patch_x}, {patch_y}.
    """
    plain = plain_band(band)
    names: dict[str, str | int] = {"band": plain, "filter": filter_name or get_band(plain).physical_filter}
    if patch is not None:
        names |= {"tract": patch.tract.id, "patch": patch.id, "patch_x": patch.index[0], "patch_y": patch.index[1]}
    try:
        return pattern.format(**names)
    except KeyError as error:
        raise KeyError(f"The pattern {pattern!r} has the unknown placeholder {error}.") from error


class _Filled(NamedTuple):
    """The values filled into a pattern: name of the filter, patch, and the text matched by each wildcard."""

    filter_name: str
    patch: Patch | None
    wild: tuple[str, ...] = ()

    def like(self, pattern: str, band: str) -> str:
        """Another pattern filled with the same values; additional wildcards are unchanged."""
        name = fill_pattern(pattern, band=band, filter_name=self.filter_name, patch=self.patch)
        for text in self.wild:
            if wildcard := _WILDCARD.search(name):
                name = name[: wildcard.start()] + text + name[wildcard.end() :]
        return name


def _named_files(
    survey: Survey, patterns: Mapping[str, str], bands: tuple[str, ...]
) -> Iterator[tuple[CoaddFile, _Filled]]:
    """The files of each band and patch, or of each band if the pattern does not name the patch."""
    patches = survey_patches(survey)
    for band in bands:
        pattern = patterns.get(band, patterns.get("default"))
        if pattern is None:
            continue
        where: list[Patch | None] = list(patches)
        place = (-1, -1)
        if "{tract}" not in pattern and "{patch" not in pattern:
            where = [None]
            place = (patches[0].tract.id, patches[0].id) if len(patches) == 1 else place
        for patch in where:
            at = place if patch is None else (patch.tract.id, patch.id)
            for name, filled in _choose(survey.input_folder, pattern, band, patch):
                yield CoaddFile(survey.input_folder / name, band, *at), filled


def _choose(folder: Path, pattern: str, band: str, patch: Patch | None) -> list[tuple[str, _Filled]]:
    """The files of a band: those of the first filter name for which files exist, or else of the usual name.

    `os.path` is used because it treats inaccessible files as missing; `pathlib` raises an error.
    """
    properties = get_band(plain_band(band))
    candidates = []
    for filter_name in dict.fromkeys((properties.physical_filter, *properties.aliases)):
        filled = _Filled(filter_name, patch)
        name = filled.like(pattern, band)
        candidates.append((name, filled))
        matches = _matches(folder, name, filled) if _WILDCARD.search(name) else []
        if matches or os.path.lexists(folder / name):
            return matches or [(name, filled)]
    return candidates[:1]


def _matches(folder: Path, name: str, filled: _Filled) -> list[tuple[str, _Filled]]:
    """The files that match a name with wildcards, and the text matched by the wildcards in each."""
    root = Path(Path(name).anchor) if Path(name).is_absolute() else folder
    relative = str(Path(name).relative_to(root)) if root != folder else name
    groups = {"*": "([^/]*)", "?": "([^/])"}
    expression = re.compile("".join(groups.get(letter, re.escape(letter)) for letter in relative))
    found = []
    for path in sorted(root.glob(re.sub(r"\[", "[[]", relative))):
        text = str(path.relative_to(root))
        if matched := expression.fullmatch(text):
            found.append((str(path) if root != folder else text, filled._replace(wild=matched.groups())))
    return found
