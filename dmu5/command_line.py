"""The command ``fusion``: what is in a catalogue, rows of it, and images of its objects."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from dmu0.files.atomic import written_whole
from dmu5.catalogue import Catalogue, open_catalogue


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; 0 if it worked, 1 with one line of explanation if not."""
    options = _parser().parse_args(words)
    try:
        options.run(options)
    except (ValueError, KeyError, FileNotFoundError) as problem:
        print(f"fusion: {problem.args[0] if problem.args else problem}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fusion", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(
        name: str, run: object, text: str, where: str = "a released survey, or the path of a catalogue"
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.add_argument("survey", help=where)
        one.set_defaults(run=run)
        return one

    command("info", _info, "what the catalogue has: rows, bands, area of the sky, provenance")
    columns = command("columns", _columns, "the columns, with units and descriptions")
    columns.add_argument("words", nargs="*", help="only columns whose name or description has all of these")
    cone = command("cone", _cone, "objects around a position")
    _position(cone, "radius", "radius")
    cone.add_argument("--columns", default="", help="separated by commas; {band} for all bands; default: all")
    cone.add_argument("--where", default="", help="condition, as 'vk_psfFlux > 100 and not vk_psfFlux_flag'")
    cone.add_argument("--all", action="store_true", help="also rows that are not primary")
    cone.add_argument("--out", type=Path, help="file to write (.fits, .vot, .ecsv, .csv, .parquet); default: print")
    named = "a released survey of this project"
    cutout = command("cutout", _cutout, "a piece of the coadd of one band, as FITS", named)
    _position(cutout, "size", "length of a side")
    cutout.add_argument("--band", required=True, help="label of the band")
    cutout.add_argument("--out", type=Path, default=Path("cutout.fits"))
    rgb = command("rgb", _rgb, "a picture in colour, as PNG", named)
    _position(rgb, "size", "length of a side")
    rgb.add_argument("--bands", default="", help="red, green and blue, separated by commas; default: Ks, i, g")
    rgb.add_argument("--out", type=Path, default=Path("cutout.png"))
    sed = command("sed", _sed, "the fluxes of an object against wavelength")
    sed.add_argument("object", type=int, help="objectId")
    sed.add_argument("--flux", default="gaap1p0Flux", help="which flux; default: %(default)s, for colours")
    pairs = command("associate", _associate, "pairs of objects and entries of another list, mutual nearest neighbours")
    pairs.add_argument(
        "list", type=Path, help="FITS, VOTable, ECSV, CSV or Parquet, positions at the catalogue's epoch"
    )
    pairs.add_argument("--id", required=True, help="column with the identifier of the list")
    pairs.add_argument("--ra", default="ra", help="column with the right ascension, ICRS, deg; default: %(default)s")
    pairs.add_argument("--dec", default="dec", help="column with the declination, ICRS, deg; default: %(default)s")
    pairs.add_argument("--radius", type=float, default=1.0, help="largest separation, arcsec; default: %(default)s")
    pairs.add_argument("--out", type=Path, help="file to write (.fits, .vot, .ecsv, .csv, .parquet); default: print")
    load = command("load", _load, "load the catalogue into SQLite or PostgreSQL", named)
    load.add_argument("url", help="sqlite:///file.db, or postgresql+psycopg://user@host/database")
    return parser


def _position(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    parser.add_argument("ra", type=float, help="right ascension, ICRS, deg")
    parser.add_argument("dec", type=float, help="declination, ICRS, deg")
    parser.add_argument(name, type=float, help=f"{text}, arcsec")


def _info(options: argparse.Namespace) -> None:
    catalogue = open_catalogue(options.survey)
    places = catalogue.primary().read("coord_ra", "coord_dec")
    print(f"{catalogue.dataset.count_rows()} rows, {len(places)} objects, {len(catalogue.dataset.schema)} columns")
    print(f"bands: {' '.join(catalogue.bands)}")
    if len(places):
        print(f"declination {places['coord_dec'].min():.4f} to {places['coord_dec'].max():.4f} deg")
    for name, value in catalogue.provenance.items():
        print(f"{name.replace('_', ' ')}: {value}")


def _columns(options: argparse.Namespace) -> None:
    for row in open_catalogue(options.survey).columns:
        text = f"{row['name']} {row['description']}".lower()
        if all(word.lower() in text for word in options.words):
            print(f"{row['name']:32}{row['unit']:10}{row['description']}")


def _cone(options: argparse.Namespace) -> None:
    catalogue = open_catalogue(options.survey).cone(options.ra, options.dec, options.radius)
    catalogue = catalogue if options.all else catalogue.primary()
    catalogue = catalogue.where(options.where) if options.where else catalogue
    _put_out(catalogue.read(*(name for name in options.columns.split(",") if name)), options.out)


def _put_out(table: Table, out: Path | None) -> None:
    """Print a table, or write it in the format that the name of a file asks for."""
    if out is None:
        table.pprint(max_lines=-1, max_width=-1)
        return
    formats = {".fits": "fits", ".vot": "votable", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".parquet": "parquet"}
    if out.suffix not in formats:
        raise ValueError(f"{out.name}: choose a name that ends with {', '.join(formats)}.")
    with written_whole(out) as part:
        table.write(part, format=formats[out.suffix])
    print(f"{out}: {len(table)} rows, {len(table.colnames)} columns")


def _associate(options: argparse.Namespace) -> None:
    from dmu5.associations import associate_file

    objects = open_catalogue(options.survey).primary().read("objectId", "coord_ra", "coord_dec")
    names = {"identifier": options.id, "ra": options.ra, "dec": options.dec}
    _put_out(associate_file(objects, options.list, **names, radius=options.radius), options.out)


def _cutout(options: argparse.Namespace) -> None:
    from dmu0.files.provenance import gather_provenance
    from dmu0.surveys import load_survey
    from dmu5.cutouts import make_cutouts, write_cutout

    survey = load_survey(options.survey)
    _known(options.band, survey.bands)
    (piece,) = make_cutouts(survey, [options.band], ra=options.ra, dec=options.dec, size=options.size)
    write_cutout(piece, options.out, gather_provenance(survey).words())
    ny, nx = piece.image.shape
    print(f"{options.out}: {nx} x {ny} pixels of {options.band}, {100 * piece.covered:.1f}% with data")


def _known(band: str, bands: Sequence[str]) -> None:
    if band not in bands:
        raise ValueError(f"There is no band {band!r}: the survey has {' '.join(bands)}.")


def _rgb(options: argparse.Namespace) -> None:
    import matplotlib.pyplot as plt

    from dmu0.surveys import load_survey
    from dmu5.cutouts import make_cutouts, nearest_patch
    from dmu5.picture import choose_bands, colour_picture
    from dmu5.seeing import seeing_of, to_common_seeing

    survey = load_survey(options.survey)
    bands = options.bands.split(",") if options.bands else list(choose_bands(survey.bands))
    for band in bands:
        _known(band, survey.bands)
    if len(bands) != 3:
        raise ValueError(f"{options.bands!r} are {len(bands)} bands: give red, green and blue.")
    pieces = {
        piece.band: piece.image
        for piece in make_cutouts(survey, list(dict.fromkeys(bands)), ra=options.ra, dec=options.dec, size=options.size)
    }
    tract = nearest_patch(survey, options.ra, options.dec).tract.id
    pieces = to_common_seeing(pieces, {band: seeing_of(survey, band, tract=tract) for band in pieces})
    with written_whole(options.out) as part:
        plt.imsave(part, colour_picture(*(pieces[band] for band in bands)))
    print(f"{options.out}: {', '.join(bands)} as red, green and blue")


def _sed(options: argparse.Namespace) -> None:
    table = one_distribution(open_catalogue(options.survey), options.object, options.flux)
    for name in ("flux", "error"):
        table[name].info.format = ".1f"
    table.pprint(max_lines=-1, max_width=-1)


def one_distribution(catalogue: Catalogue, number: int, flux: str) -> Table:
    """The fluxes of the object with this identifier, with AB magnitudes.

    Raises
    ------
    ValueError
        If there is no such object.
    """
    from dmu5.cutouts import energy_distribution
    from obs_vista.photometry import magnitude_of

    names = [f"{{band}}_{flux}{suffix}" for suffix in ("", "Err", "_flag")]
    rows = catalogue.where(f"objectId == {number}").read("objectId", *names)
    if not len(rows):
        raise ValueError(f"There is no object {number}.")
    table = energy_distribution(rows[0], catalogue.bands, flux)
    values = np.asarray(table["flux"])
    table["magnitude"] = np.where(values > 0, magnitude_of(np.where(values > 0, values, 1)), np.nan)
    table["magnitude"].unit = "mag(AB)"
    table["magnitude"].info.format = ".3f"
    return table


def _load(options: argparse.Namespace) -> None:
    from dmu0.surveys import load_survey
    from dmu5.databases import load_catalogue
    from dmu5.observations import obscore_records

    survey = load_survey(options.survey)
    folder = survey.folders[5] / "catalogue"
    counts = load_catalogue(options.url, folder, images=obscore_records(survey))
    print(", ".join(f"{name}: {count} rows" for name, count in counts.items()))


if __name__ == "__main__":
    raise SystemExit(main())
