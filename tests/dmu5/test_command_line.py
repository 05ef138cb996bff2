"""The command ``fusion`` on the released sample: rows, images and fluxes of an object, and mistakes in one line."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from dmu5 import open_catalogue
from dmu5.command_line import main

pytestmark = pytest.mark.release


@pytest.fixture(scope="module")
def star() -> Table.Row:
    """A bright star, near the edge between patches."""
    names = ["objectId", "coord_ra", "coord_dec", "x", "y", "vk_psfFlux", "vk_psfFluxErr"]
    stars = open_catalogue("sample").primary().where("refExtendedness == 0").read(*names)
    stars = stars[(stars["vk_psfFlux"] > 200 * stars["vk_psfFluxErr"])]
    return stars[np.argmin(np.abs(stars["x"] - 18400))]


def test_a_cone_is_written_as_asked(star: Table.Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The star alone, in the columns asked for, as a file or on the screen."""
    where = [str(star["coord_ra"]), str(star["coord_dec"])]
    out = tmp_path / "cone.fits"
    assert main(["cone", "sample", *where, "1", "--columns", "objectId,{band}_psfFlux", "--out", str(out)]) == 0
    table = Table.read(out)
    assert table["objectId"].tolist() == [star["objectId"]]
    assert len(table.colnames) == 11
    assert main(["cone", "sample", *where, "60", "--columns", "objectId", "--where", "vk_psfFlux > 1000"]) == 0
    assert str(star["objectId"]) in capsys.readouterr().out


def test_a_cutout_has_the_star_in_the_middle(star: Table.Row, tmp_path: Path) -> None:
    """The brightest pixel is at the star's position by the file's own world coordinates; both planes are there."""
    out = tmp_path / "cutout.fits"
    words = ["cutout", "sample", str(star["coord_ra"]), str(star["coord_dec"]), "12", "--band", "vk", "--out", str(out)]
    assert main(words) == 0
    with fits.open(out, checksum=True) as hdus:
        image, variance, header = hdus["IMAGE"].data, hdus["VARIANCE"].data, hdus["IMAGE"].header
        assert hdus["IMAGE"].header["BUNIT"] == "nJy"
    assert image.shape == variance.shape == (73, 73)
    x, y = WCS(header).wcs_world2pix(star["coord_ra"], star["coord_dec"], 0)
    top, left = np.unravel_index(np.nanargmax(image), image.shape)
    assert np.hypot(x - left, y - top) < 1.5
    sky = np.nanmedian(variance)
    disc = np.hypot(*np.mgrid[-36:37, -36:37])
    total = np.nansum(np.where(disc < 18, image, 0))
    assert total == pytest.approx(star["vk_psfFlux"], rel=0.1, abs=5 * float(np.sqrt(sky * np.pi * 18**2)))


def test_pictures_and_fluxes(star: Table.Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture in colour, and a line per band with the magnitude."""
    out = tmp_path / "star.png"
    assert main(["rgb", "sample", str(star["coord_ra"]), str(star["coord_dec"]), "20", "--out", str(out)]) == 0
    picture = plt.imread(out)
    assert picture.shape[0] == picture.shape[1] > 100
    assert picture[picture.shape[0] // 2, picture.shape[1] // 2, :3].max() > 0.9
    assert main(["sed", "sample", str(star["objectId"]), "--flux", "psfFlux"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.split()[0] == "vk"]
    magnitude = 31.4 - 2.5 * np.log10(star["vk_psfFlux"])
    assert float(line.split()[-1]) == pytest.approx(magnitude, abs=2e-3)


def test_columns_and_information(capsys: pytest.CaptureFixture[str]) -> None:
    """What the catalogue has, and the columns that a word finds."""
    assert main(["info", "sample"]) == 0
    assert "713 columns" in capsys.readouterr().out
    assert main(["columns", "sample", "vk", "KRON", "flux", "statistical"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == ["vk_kronFluxErr", "nJy"]


def test_a_database_is_made(tmp_path: Path) -> None:
    """SQLite, with the rows of the catalogue and the images."""
    path = tmp_path / "sample.db"
    assert main(["load", "sample", f"sqlite:///{path}"]) == 0
    with sqlite3.connect(path) as connection:
        (rows,), (images,) = (
            connection.execute(f"select count(*) from {name}").fetchone() for name in ("object", "obscore")
        )
    connection.close()
    assert rows == open_catalogue("sample").dataset.count_rows()
    assert images > 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["info", "nowhere"], "no catalogue in nowhere"),
        (["cutout", "sample", "80", "-5", "10", "--band", "vk"], "in no patch of sample"),
        (["cutout", "sample", "35.61", "-5.11", "10", "--band", "w"], "no band 'w'"),
        (["rgb", "sample", "35.61", "-5.11", "10", "--bands", "g,i"], "are 2 bands"),
        (["sed", "sample", "5"], "no object 5"),
        (["cone", "sample", "35.61", "-5.11", "10", "--out", "a.xyz"], "choose a name that ends with"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is explained in a line, not by a traceback."""
    assert main(words) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_pairs_with_a_list_of_ones_own(star: Table.Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An entry at the star gets its objectId, one far away nobody's; a wrong column is named."""
    ra, dec = float(star["coord_ra"]), float(star["coord_dec"])
    redshifts = tmp_path / "redshifts.csv"
    Table({"name": ["a", "b"], "RA": [ra, ra], "DEC": [dec + 0.3 / 3600, dec + 1], "z": [0.1, 0.2]}).write(redshifts)
    words = ["associate", "sample", str(redshifts), "--id", "name", "--ra", "RA", "--dec", "DEC"]
    assert main([*words, "--out", str(tmp_path / "pairs.csv")]) == 0
    pairs = Table.read(tmp_path / "pairs.csv")
    assert pairs["objectId"].tolist() == [star["objectId"]]
    assert pairs["name"].tolist() == ["a"]
    assert pairs["separation"][0] == pytest.approx(0.3, abs=1e-3)
    assert main([*words[:-1], "Dec"]) == 1
    assert "no column 'Dec'" in capsys.readouterr().err
