"""The files of a release, with their sizes and checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dmu0.files.atomic import written_whole
from dmu0.surveys import Survey

_DESCRIPTIONS = (
    ("catalogue/parquet/*/object.parquet", "catalogue of one tract, Parquet: pandas, DuckDB, pyarrow"),
    ("catalogue/object_lite.*", "one row per object, the columns most people use"),
    ("catalogue/lsst_objects.parquet", "objectId of LSST of each object, Parquet"),
    ("catalogue/*_objects.parquet", "identifiers of the objects in a reference catalogue, Parquet"),
    ("catalogue/object.fits", "catalogue of all tracts, FITS: astropy, TOPCAT"),
    ("catalogue/object.vot", "catalogue of all tracts, VOTable: TOPCAT, astropy"),
    ("catalogue/fits/*/*.fits", "catalogue of one tract, FITS: astropy, TOPCAT"),
    ("catalogue/vot/*/*.vot", "catalogue of one tract, VOTable: TOPCAT, astropy"),
    ("catalogue/schema.yaml", "definition of every column, Felis"),
    ("catalogue/moc/*.moc.fits", "sky covered in one band, or by all, and halos of bright stars, as MOC"),
    ("catalogue/*.parquet", "table of the catalogue, Parquet"),
    ("catalogue/*", "table of the catalogue"),
    ("hips/colour", "colour picture as HiPS: Aladin and other sky viewers"),
    ("hips/*", "picture of one band as HiPS: Aladin and other sky viewers"),
    ("selection/*", "completeness and purity"),
    ("diagnostics/*", "numbers behind the checks"),
    ("checks/*.ecsv", "checks with values, limits and verdicts"),
)
"""Patterns of files, relative to the data folder of dmu5, with descriptions; the first that fits describes a file."""

MANY = 20
"""Number of files above which a folder is one product; a HATS collection always is."""

_OF_TRACTS = ("parquet", "fits", "vot")


@dataclass(frozen=True)
class Product:
    """A file of the release, or a folder of many files.

    Attributes
    ----------
    path
        Its path.
    description
        Contents.
    files, size
        Number of files, and bytes of all of them.
    sha256
        Checksum of a file; empty for a folder.
    """

    path: Path
    description: str
    files: int
    size: int
    sha256: str


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in parts."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def release_products(survey: Survey) -> list[Product]:
    """The existing files of the release, those of the catalogue first."""
    folder = survey.folders[5]
    found = []
    for name in ("catalogue", "hips", "selection", "diagnostics", "checks"):
        found += _products_in(folder / name, folder) if (folder / name).is_dir() else []
    return found


def _products_in(folder: Path, root: Path) -> list[Product]:
    """The products of a folder: its files, then those of its folders; a folder of many files is one product."""
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = [
        Product(path, _description(path, root), 1, path.stat().st_size, sha256_of(path))
        for path in paths
        if path.is_file() and not path.name.endswith(".part")
    ]
    for path in filter(Path.is_dir, paths):
        inside = [item for item in path.rglob("*") if item.is_file()]
        if "hats" in path.name or (len(inside) > MANY and path.name not in _OF_TRACTS):
            size = sum(item.stat().st_size for item in inside)
            found.append(Product(path, _description(path, root), len(inside), size, ""))
        else:
            found += _products_in(path, root)
    return found


def _description(path: Path, root: Path) -> str:
    if "hats" in path.name:
        return "catalogue as a HATS collection: LSDB"
    return next((text for pattern, text in _DESCRIPTIONS if path.relative_to(root).match(pattern)), "")


def write_checksums(products: Sequence[Product], target: Path) -> Path:
    """Write the checksums of the files in the form of ``sha256sum``, with paths relative to the folder of the file."""
    lines = [
        f"{item.sha256}  {item.path.relative_to(target.parent, walk_up=True)}\n" for item in products if item.sha256
    ]
    with written_whole(target) as part:
        part.write_text("".join(lines))
    return target


def readable_size(size: int) -> str:
    """A number of bytes for people."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} B"
