"""The release page and its picture: contents, links, checksums, and what a browser makes of it."""

from __future__ import annotations

import hashlib
import re
import subprocess
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dmu0.files.code_version import code_version
from dmu0.files.paths import DataFolders
from dmu0.sky.skymap import survey_patches
from dmu0.surveys import load_survey
from dmu5.page.judgement import caveats, sentence, summary
from dmu5.page.products import readable_size, release_products
from dmu5.page.reading import reading_examples
from dmu5.page.sky_view import object_data
from dmu5.picture import Picture, choose_bands, colour_picture, tract_box
from dmu5.release import executed_notebooks
from tests.scenes.browser import CHROMIUM, screenshot, visit
from tests.scenes.release_page import CHECKS, PROVENANCE, make_page, sample_in

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian package chromium)")


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


def test_contents_of_the_page(tmp_path: Path, rng: np.random.Generator) -> None:
    """Verdict, facts, bands, checks, figures, columns, files, reading, provenance; text escaped; no local path."""
    page, _ = make_page(tmp_path, rng)
    text = page.read_text()
    whole = unescape(re.sub(r"<[^>]+>", "", text))
    assert "2 of 4 checks passed, 1 to beware of, 1 failed." in whole
    assert "scatter of stars: Ks 3.1% (limit ≤ 1%)" in whole
    assert "not judged for lack of stars in J" in whole
    assert "optical.coadds: g lacks 3 of 4 files, & more" in whole
    assert 'class="verdict fail"' in text
    assert "a &lt; b" in text
    for said in ("22.7 arcmin²", "2,122", "8524", "2012-11-14", "22.34", "the depth & more", "Beware: Ks."):
        assert said in whole, said
    sections = re.findall(r'<h2 id="(\w+)">', text)
    assert sections == [
        "sky", "bands", "checks", "figures", "columns", "files", "reading", "citing", "provenance", "notebooks"
    ]  # fmt: skip
    assert [target for target in re.findall(r'href="#(\w+)"', text) if target not in sections] == []
    assert "{band}_psfFlux" in text
    assert all(value in whole for value in PROVENANCE.values())
    assert "coadds/1a2b" in whole
    assert str(tmp_path) not in text
    assert f"Page made by {code_version()}" in whole
    assert '<meta name="viewport" content="width=device-width' in text
    assert make_page(tmp_path, np.random.default_rng(5))[0].read_text() == text


def test_links_and_checksums(tmp_path: Path, rng: np.random.Generator) -> None:
    """Every link to a file resolves, and sha256sum agrees with the list of checksums."""
    page, _ = make_page(tmp_path, rng)
    links = re.findall(r'(?:href|src)="([^"#:]+)"', page.read_text())
    assert {"../catalogue/object.fits", "sky.js", "figures/depth.png", "SHA256SUMS"} <= set(links)
    missing = [link for link in links if not (page.parent / link).exists() and not link.endswith(".html")]
    assert missing == []
    result = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=page.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count(": OK") == 3
    products = release_products(sample_in(tmp_path))
    assert [item.path.name for item in products] == ["object.fits", "vk.moc.fits", "a.ecsv"]
    assert products[0].sha256 == hashlib.sha256(b"f").hexdigest()
    assert [readable_size(item.size) for item in products] == ["1 B", "0 B", "2 kB"]


def test_a_folder_of_many_files_is_one_product(tmp_path: Path) -> None:
    """A collection has one line with the number and the size of its files; a part that is being written has none."""
    survey = sample_in(tmp_path)
    folder = survey.folders[5] / "catalogue" / "hats"
    (folder / "dataset").mkdir(parents=True)
    for number in range(30):
        (folder / "dataset" / f"{number}.parquet").write_text("1234")
    (survey.folders[5] / "catalogue" / "object.fits.part").write_text("x")
    (product,) = release_products(survey)
    assert (product.path.name, product.files, product.size, product.sha256) == ("hats", 30, 120, "")
    assert "LSDB" in product.description


def test_words_of_verdicts() -> None:
    """Failures come before warnings; a sentence is about the checks that it names, and praises only what passes."""
    checks = [check for rows in CHECKS.values() for check in rows]
    assert [verdict for verdict, _ in caveats(checks)] == ["fail", "warn"]
    assert summary([]) == "Nothing was checked."
    assert summary(checks[:1]) == "1 of 1 checks passed."
    assert sentence(checks, ["a < b"], good="Good.") == "Good."
    assert sentence(checks, ["scatter"], good="Good.").startswith("Fails: scatter of stars: Ks 3.1% (limit <= 1%).")
    assert sentence(checks, ["locus"], good="Good.").startswith("Not judged")


def test_objects_lie_on_their_pixels(tmp_path: Path) -> None:
    """An object at a pixel of a tract is at the same place in a picture that is binned and has its first row above."""
    survey = sample_in(tmp_path)
    _, objects = make_page(tmp_path, np.random.default_rng(1))
    tract = next(iter(survey.tracts))
    box = tract_box(survey, tract=tract)
    picture = Picture(tmp_path / "a.jpg", tract, ("vk", "i", "g"), 2, (box.x1 - box.x0) // 2, (box.y1 - box.y0) // 2)
    one = objects[:1]
    one["x"], one["y"] = box.x0 + 10, box.y0 + 4  # the left one of two columns, and the lower one of two rows
    data = object_data(one, picture, (box.x0, box.y0))
    assert (data["u"][0], data["v"][0]) == (
        pytest.approx(5.25, abs=0.06),
        pytest.approx(picture.height - 2.25, abs=0.06),
    )


@in_browser
def test_in_a_browser(tmp_path: Path, rng: np.random.Generator) -> None:
    """Nothing is logged, nothing is asked of a network, and a search shows what it names."""
    page, _ = make_page(tmp_path, rng)
    seen = visit(page, tmp_path)
    assert seen.console == []
    assert seen.requests == []
    total = int(re.search(r'id="column-count">(\d+) of (\d+) columns', seen.document)[2])
    assert f">{total} of {total} columns<" in seen.document
    found = visit(page, tmp_path, query="?columns=kron%20error")
    shown = int(re.search(r'id="column-count">(\d+) of', found.document)[1])
    assert 1 <= shown < 5
    rows = re.findall(r"<tr(| hidden=\"\")><td><code>([^<]+)</code>", found.document)
    assert sum(not hidden for hidden, _ in rows) == shown
    assert "{band}_kronFluxErr" in [name for hidden, name in rows if not hidden]


@in_browser
def test_positions_in_the_viewer(tmp_path: Path, rng: np.random.Generator) -> None:
    """The script's projection agrees with the WCS of the tract to a hundredth of a pixel."""
    page, objects = make_page(tmp_path, rng)
    script = (
        "const tract = window.FUSION_SKY[0]; document.body.dataset.found = JSON.stringify("
        + str([[float(x), float(y)] for x, y in zip(objects["x"], objects["y"], strict=True)])
        + ".map(([x, y]) => skyPosition(tract, x, y)));"
    )
    text = page.read_text().replace("searchColumns();\n", f"searchColumns();\n{script}\n", 1)
    (page.parent / "with_script.html").write_text(text)
    seen = visit(page.parent / "with_script.html", tmp_path)
    found = np.array(re.findall(r"[-\d.]+", re.search(r'data-found="([^"]+)"', seen.document)[1]), float).reshape(-1, 2)
    assert found[:, 0] == pytest.approx(np.asarray(objects["coord_ra"]), abs=5e-7)
    assert found[:, 1] == pytest.approx(np.asarray(objects["coord_dec"]), abs=5e-7)


@in_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_on_laptop_and_phone(tmp_path: Path, rng: np.random.Generator, width: int) -> None:
    """The page is as wide as the window, and its viewer shows the picture."""
    page, _ = make_page(tmp_path, rng)
    # Windows are never narrower than 500 pixels: the page is looked at through a frame.
    script = 'parent.postMessage(document.documentElement.scrollWidth, "*");'
    text = page.read_text().replace("searchColumns();\n", f"searchColumns();\n{script}\n", 1)
    (page.parent / "inner.html").write_text(text)
    frame = f'<iframe src="inner.html" style="width: {width}px; height: 2000px; border: 0"></iframe>'
    listen = "<script>onmessage = (event) => { document.body.dataset.width = event.data; };</script>"
    (page.parent / "outer.html").write_text(f"<body>{listen}{frame}</body>")
    seen = visit(page.parent / "outer.html", tmp_path, width=1400)
    assert int(re.search(r'data-width="(\d+)"', seen.document)[1]) == width
    target = screenshot(page, tmp_path, tmp_path / "page.png", width=width, height=2400)
    pixels = np.asarray(Image.open(target).convert("L"))
    assert pixels.shape == (2400, width)
    assert (pixels < 90).mean() > 0.05  # the sky
    assert (pixels > 200).mean() > 0.3  # the paper


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


def test_examples_use_flags_floor_and_a_cut() -> None:
    """No example shows fluxes that are flagged, faint, or without the floor in their errors."""
    survey = load_survey("sample")
    for name, text in reading_examples(survey).items():
        if name == "Aladin":  # shows pictures, not fluxes
            assert f"dmu5/data/{survey.name}/hips" in text
            continue
        for word in ("detect_isPrimary", "vk_psfFlux_flag", "vk_fluxFloor", "10"):
            assert word in text, f"{name}: {word}"
    assert len(list(survey_patches(survey))) == 4
