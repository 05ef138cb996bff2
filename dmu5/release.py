"""The release page: verdict, sky, checks, figures, columns, files, and how to read and cite them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from astropy.table import Table
from lsst.daf.butler import CollectionType
from mocpy import MOC

from dmu0.files.atomic import written_whole
from dmu0.files.code_version import UNKNOWN, code_version
from dmu0.files.html_page import html_document
from dmu0.files.metadata import from_lines
from dmu0.files.paths import PROJECT
from dmu0.surveys import Survey
from dmu1.sky_maps import moc_area
from dmu4.butler.repository import RELEASE, open_butler
from dmu5.census import Part, explain, write_parts
from dmu5.checks import Check
from dmu5.page import sections
from dmu5.page.judgement import all_checks
from dmu5.page.page_figures import PageFigure
from dmu5.page.products import Product, write_checksums
from dmu5.page.reading import acknowledgements, licence_texts, reading_examples
from dmu5.picture import Picture
from obs_vista.bands import shown_band

RELEASE_NOTEBOOK = (5, "4_Release")
"""Stage and name of the notebook that writes the release page."""


def executed_notebooks(survey: Survey) -> list[tuple[str, Path]]:
    """Title and page of every executed notebook of the survey, in order of the stages.

    The page of a notebook is written when its execution ends; that of the notebook that writes the release page does
    not exist yet at this point.
    """
    found = []
    for stage in range(6):
        for notebook in sorted((PROJECT / f"dmu{stage}").glob("[1-9]_*.ipynb")):
            record = survey.folders.runs(stage) / notebook.name
            if record.exists() or (stage, notebook.stem) == RELEASE_NOTEBOOK:
                cells = json.loads(notebook.read_text())["cells"]
                title = "".join(cells[0]["source"]).splitlines()[0].lstrip("# ")
                found.append((title, record.with_suffix(".html")))
    return found


def release_runs(survey: Survey) -> Table:
    """The runs whose products are in the catalogue, with their provenance; ``unknown`` if it was not recorded.

    Returns
    -------
    Table
        One row per run collection of the pipeline, the newest step first: run, software, commit, modified.
    """
    names = ("software", "commit", "modified")
    with open_butler(survey) as butler:
        infos = butler.collections.query_info(
            RELEASE, CollectionType.RUN, flatten_chains=True, include_doc=True, include_chains=False
        )
    words = [(info.name, from_lines(info.doc or "")) for info in infos]
    rows = [(run, *(said.get(name, UNKNOWN) for name in names)) for run, said in words]
    return Table(rows=rows or None, names=("run", *names), dtype=[str] * 4)


@dataclass(frozen=True)
class PageContent:
    """The contents of the release page of a survey.

    Attributes
    ----------
    bands
        One row per band (`dmu5.diagnostics.summarise_bands`).
    areas
        Area of some bands, and of the ``catalogue``, in arcmin^2.
    objects
        Number of objects.
    checks
        Checks of `dmu5.checks.read_checks`.
    products
        Files with sizes and checksums.
    pictures
        Pictures of tracts.
    figures
        Figures with captions and judgements.
    provenance
        Provenance of the catalogue from its file (`dmu0.files.metadata.read_provenance`).
    runs
        Provenance of the pipeline's runs (`release_runs`).
    lacks
        What the release had to do without (`dmu0.surveys.check.survey_warnings`).
    parts
        Inputs, detectors, coadds, patches and tracts with their states (`dmu5.census.take_census`).
    """

    bands: Table
    areas: Mapping[str, float]
    objects: int
    checks: Mapping[str, Sequence[Check]]
    products: Sequence[Product]
    pictures: Sequence[Picture]
    figures: Sequence[PageFigure]
    provenance: Mapping[str, str]
    runs: Table
    lacks: Sequence[str] = ()
    parts: Sequence[Part] = ()


def moc_areas(survey: Survey) -> dict[str, float]:
    """Area in arcmin^2 of each coverage map of the catalogue, by its name: bands and ``catalogue``."""
    paths = sorted((survey.folders[5] / "catalogue" / "moc").glob("*.moc.fits"))
    return {path.name.removesuffix(".moc.fits"): 3600 * moc_area(MOC.from_fits(path)) for path in paths}


def write_page(survey: Survey, folder: Path, content: PageContent) -> Path:
    """Write the release page, ``index.html``, and the checksums of its files; the sky data are written beside it.

    Links are relative, so that the data folders can be moved together; nothing is fetched from elsewhere.

    Parameters
    ----------
    survey
        The survey.
    folder
        Folder of the page.
    content
        Contents of the page.
    """
    checksums = write_checksums(content.products, folder / "SHA256SUMS")
    listing = write_parts(content.parts, folder / "outcomes.csv")
    failures = [text for _, text in explain(content.parts, ("failed",))]
    link, checks = sections.linker(folder), all_checks(content.checks)
    notebooks = [f'<a href="{link(path)}">{escape(title)}</a>' for title, path in executed_notebooks(survey)]
    licences = [*acknowledgements(survey), *licence_texts(PROJECT / "CITATION.cff")]
    parts = {
        "Sky": sections.viewer_section([picture.tract for picture in content.pictures]) if content.pictures else "",
        "Bands": sections.band_section(content.bands, content.areas),
        "Outcomes": sections.census_section(content.parts, link, listing) if content.parts else "",
        "Checks": sections.matrix_section(checks, survey.bands),
        "Figures": sections.figure_section(content.figures, link),
        "Columns": sections.column_section(survey.bands),
        "Files": sections.product_section(content.products, link, checksums),
        "Reading": sections.reading_section(reading_examples(survey)),
        "Citing": sections.list_section(licences),
        "Provenance": _made_by(content),
        "Notebooks": sections.list_section(notebooks),
    }
    shown = {title: text for title, text in parts.items() if text}
    menu = "".join(f'<a href="#{title.lower()}">{title}</a>' for title in shown)
    body = [
        f'<main><header class="top"><h1>{escape(survey.title)}</h1></header>',
        sections.verdict_section(checks, content.lacks, failures),
        sections.facts(_facts(survey, content)),
        f'<nav class="sections">{menu}</nav>',
        *(f'<h2 id="{title.lower()}">{title}</h2>\n{text}' for title, text in shown.items()),
        f"<footer>Page made by {escape(str(code_version()))}.</footer></main>",
        '<script src="sky.js"></script>' if content.pictures else "",
    ]
    style, script = (_ASSETS.with_name(name).read_text() for name in ("page.css", "page.js"))
    with written_whole(folder / "index.html") as part:
        part.write_text(html_document(survey.title, "\n".join(body), style=style, script=script, kind="release"))
    return folder / "index.html"


def _facts(survey: Survey, content: PageContent) -> dict[str, str]:
    """The release in figures."""
    area = content.areas.get("catalogue")
    size = "unknown" if area is None else f"{area:.1f} arcmin²" if area < 3600 else f"{area / 3600:.2f} deg²"
    return {
        "name": survey.name,
        "area": size,
        "objects": f"{content.objects:,}",
        "bands": ", ".join(map(shown_band, survey.bands)),
        "tracts": ", ".join(map(str, survey.tracts)) if len(survey.tracts) < 6 else f"{len(survey.tracts)}",
        "newest exposure": content.provenance.get("newest_input", UNKNOWN)[:10],
        "version": content.provenance.get("software", UNKNOWN),
    }


def _made_by(content: PageContent) -> str:
    """The provenance of the catalogue, followed by the runs of the pipeline."""
    rows = [
        (escape(name.replace("_", " ")), f"<code>{escape(value)}</code>") for name, value in content.provenance.items()
    ]
    table = sections.html_table(("from the files", ""), rows, escaped=True)
    runs = sections.html_table(content.runs.colnames, [[str(value) for value in row] for row in content.runs])
    return (
        (table if rows else "<p>No provenance is recorded in the catalogue.</p>")
        + "<p>The runs of the pipeline whose products are in the catalogue:</p>"
        + runs
    )


_ASSETS = Path(sections.__file__)
