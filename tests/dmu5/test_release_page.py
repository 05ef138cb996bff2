"""The release page and its picture."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from dmu0.files.code_version import code_version
from dmu0.files.paths import DataFolders
from dmu0.files.provenance import Provenance
from dmu0.surveys import load_survey
from dmu5.checks import held
from dmu5.picture import choose_bands, colour_picture
from dmu5.release import PageContent, executed_notebooks, reading_examples, write_page


def test_bands_of_the_picture() -> None:
    """Ks, i and g where they are; what is nearest where not; grey for one band."""
    assert choose_bands(("g", "r", "i", "vj", "vk")) == ("vk", "i", "g")
    assert choose_bands(("vh",)) == ("vh", "vh", "vh")
    with pytest.raises(ValueError, match="no band"):
        choose_bands(())


def test_picture(rng: np.random.Generator) -> None:
    """A red source is red, pixels without data are dark, north is up, large images are averaged down."""
    planes = [rng.normal(0, noise, (200, 240)).astype(np.float32) for noise in (1.0, 2.0, 0.5)]
    planes[0][20:24, 30:34] += 200
    planes[1][150:, 200:] = np.nan
    picture = colour_picture(*planes, size=200)
    assert picture.shape == (100, 120, 3)
    assert picture.dtype == np.uint8
    source = picture[-11, 16].astype(int)
    assert source[0] > source[1] + 50
    assert source[0] > source[2] + 50


def test_page_links_are_relative_and_text_is_escaped(tmp_path: Path, provenance: Provenance) -> None:
    """Everything named is on the page; nothing of this machine's paths is."""
    survey = load_survey("sample")
    checks = {"1_Fused": [held("a < b", "1", "2", False)]}
    content = PageContent(
        bands=Table({"band": ["vk"], "depth5": [22.345678]}),
        checks=checks,
        products=[(tmp_path / "catalogue" / "object.fits", "all columns")],
        pictures=[(tmp_path / "release" / "sky.png", "the sky")],
        provenance=provenance.words(),
        runs=Table({"run": ["coadds/1a2b"], "software": ["lsst-ir-fusion 9"], "commit": ["c0ffee"]}),
        lacks=["optical.coadds: g lacks 3 of 4 files, & more"],
    )
    page = write_page(survey, tmp_path / "release", content)
    text = page.read_text()
    assert 'href="../catalogue/object.fits"' in text
    assert 'src="sky.png"' in text
    assert "a &lt; b" in text
    assert text.index("22.3") < text.index("a &lt; b") < text.index("object.fits")
    assert [text.count(f"<h2>{title}</h2>") for title in ("Bands", "Checks", "Products")] == [1, 1, 1]
    assert "fail" in text
    assert str(tmp_path) not in text
    assert reading_examples(survey) in text
    assert all(f"<code>{value}</code>" in text for value in provenance.words().values())
    assert "coadds/1a2b" in text
    assert "c0ffee" in text
    assert "<h2>What is missing</h2><ul>\n<li>optical.coadds: g lacks 3 of 4 files, &amp; more</li>" in text
    assert f"Page made by {code_version()}" in text
    assert write_page(survey, tmp_path / "release", content).read_text() == text


def test_a_catalogue_without_provenance(tmp_path: Path) -> None:
    """The page says so if the catalogue has no provenance."""
    content = PageContent(Table({"band": ["vk"]}), {}, [], [], {}, Table({"run": ["a"]}))
    text = write_page(load_survey("sample"), tmp_path, content).read_text()
    assert "No provenance is recorded" in text


def test_page_lists_the_notebook_that_writes_it(tmp_path: Path) -> None:
    """Pages have the names that they keep, also that of the notebook that is not done while it writes the page."""
    folders = DataFolders("toy", root=tmp_path)
    for name in ("1_Inventory.ipynb", "2_Quality.failed.ipynb"):
        (folders.runs(1) / name).write_text("{}")
    found = executed_notebooks(SimpleNamespace(folders=folders))
    assert found == [
        ("1.1 Take stock of the VISTA images", folders.runs(1) / "1_Inventory.html"),
        ("5.4 Publish the release", folders.runs(5) / "4_Release.html"),
    ]
