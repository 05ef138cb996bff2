"""File patterns that match the files of a folder and no others."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dmu0.draft.grid import Place
from obs_vista.bands import get_band


def glob_patterns(folder: Path, paths: Sequence[Path], *, others: Iterable[Path] = ()) -> list[str]:
    """Glob patterns for some files, relative to a folder.

    Parameters
    ----------
    folder
        The folder.
    paths
        Files that must match.
    others
        Files that must not match; if a pattern would match them, the files are listed individually.
    """
    by_depth: dict[int, list[str]] = {}
    for path in paths:
        relative = path.relative_to(folder).as_posix()
        by_depth.setdefault(relative.count("/"), []).append(relative)
    patterns = [_common(names) for names in by_depth.values()]
    refused = set(others)
    if any(path in refused for pattern in patterns for path in folder.glob(pattern)):
        return [re.sub(r"([*?\[])", r"[\1]", path.relative_to(folder).as_posix()) for path in paths]
    return sorted(patterns)


def _common(names: Sequence[str]) -> str:
    """A common pattern of paths with the same number of folders, made folder by folder."""
    parts = []
    for segments in zip(*(name.split("/") for name in names), strict=True):
        first = segments[0]
        if all(segment == first for segment in segments):
            parts.append(re.sub(r"([*?\[])", r"[\1]", first))
            continue
        before = _common_start(segments)
        behind = _common_start([segment.removeprefix(before)[::-1] for segment in segments])[::-1]
        before, behind = (re.sub(r"([*?\[])", r"[\1]", text) for text in (before, behind))
        parts.append(f"{before}*{behind}")
    return "/".join(parts)


def _common_start(words: Sequence[str]) -> str:
    """The common prefix of some words."""
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*words, strict=False))
    return "".join(letters[0] for letters in same)


def patch_pattern(folder: Path, path: Path, band: str, place: Place | None) -> str:
    """A file name with band and patch replaced by the placeholders of survey files.

    Parameters
    ----------
    folder
        Folder to which the name is relative.
    path
        The file.
    band
        Label of the band.
    place
        Tract and patch; None: the name is unchanged.
    """
    name = path.relative_to(folder).as_posix().replace("{", "{{").replace("}", "}}")
    if place is None:
        return name
    properties = get_band(band)
    words = [(f"{place.x},{place.y}", "{patch_x},{patch_y}"), (f"{place.x}_{place.y}", "{patch_x}_{patch_y}")]
    words += [(str(place.tract), "{tract}")]
    words += [(word, "{filter}") for word in dict.fromkeys((properties.physical_filter, *properties.aliases))]
    words += [(band, "{band}")]
    for word, placeholder in words:
        name = re.sub(rf"(?<![A-Za-z0-9{{]){re.escape(word)}(?![A-Za-z0-9}}])", placeholder, name)
    return name


def band_patterns(patterns: dict[str, list[str]]) -> tuple[dict[str, str], dict[str, int]]:
    """One pattern per band, or one ``default`` for all, and the number of files per band that do not match.

    Parameters
    ----------
    patterns
        Band -> pattern of each of its files (`patch_pattern`).
    """
    chosen = {band: Counter(names).most_common(1)[0][0] for band, names in patterns.items()}
    misfits = {band: sum(name != chosen[band] for name in names) for band, names in patterns.items()}
    different = set(chosen.values())
    if len(chosen) > 1 and len(different) == 1:
        return {"default": different.pop()}, misfits
    return chosen, misfits
