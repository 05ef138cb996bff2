"""The release page: a picture, the products and how to read them, the checks, and the executed notebooks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from astropy.table import Table
from lsst.daf.butler import CollectionType

from dmu0.files.atomic import written_whole
from dmu0.files.code_version import UNKNOWN, code_version
from dmu0.files.metadata import from_lines
from dmu0.files.paths import PROJECT
from dmu0.surveys import Survey
from dmu4.butler.repository import RELEASE, open_butler
from dmu5.checks import Check
from dmu5.writers import parquet_path

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


def release_products(survey: Survey) -> list[tuple[Path, str]]:
    """The existing files of the release, with a description of each."""
    folder = survey.folders[5] / "catalogue"
    known = [
        *((parquet_path(folder, tract=tract), f"the catalogue of tract {tract}, Parquet") for tract in survey.tracts),
        (folder / "object.fits", "the catalogue of all tracts, FITS"),
        (folder / "object.vot", "the same, VOTable"),
        *((path, f"the catalogue of tract {path.parent.name}, FITS") for path in sorted(folder.glob("fits/*/*.fits"))),
        *((path, f"the catalogue of tract {path.parent.name}, VOTable") for path in sorted(folder.glob("vot/*/*.vot"))),
        (folder / "object_lite.parquet", "one row per object, the forty columns most people use, Parquet"),
        (folder / "object_lite.fits", "the same, FITS"),
        (folder / "hats" / "collection.properties", "one row per object, HATS collection with margin and index"),
        (folder / "schema.yaml", "what each column is, Felis"),
        *(
            (folder / "moc" / f"{name}.moc.fits", f"sky covered by {name}, MOC")
            for name in ("catalogue", *survey.bands)
        ),
        (survey.folders[5] / "selection" / "selection.ecsv", "completeness and purity in bins of magnitude"),
        (survey.folders[5] / "diagnostics" / "bands.ecsv", "objects and depth of each band"),
        (survey.folders[5] / "diagnostics" / "baseline.ecsv", "fluxes beside those of the baseline"),
    ]
    return [(path, text) for path, text in known if path.exists()]


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
    checks
        Tables of `dmu5.checks.read_checks`.
    products
        Files, with a description of each.
    pictures
        PNG files, with a caption of each.
    provenance
        Provenance of the catalogue from its file (`dmu0.files.metadata.read_provenance`).
    runs
        Provenance of the pipeline's runs (`release_runs`).
    lacks
        What the release had to do without (`dmu0.surveys.check.survey_warnings`).
    """

    bands: Table
    checks: dict[str, list[Check]]
    products: Sequence[tuple[Path, str]]
    pictures: Sequence[tuple[Path, str]]
    provenance: Mapping[str, str]
    runs: Table
    lacks: Sequence[str] = ()


def write_page(survey: Survey, folder: Path, content: PageContent) -> Path:
    """Write the release page, ``index.html``; links are relative, so that the data folders can be moved together.

    Parameters
    ----------
    survey
        The survey.
    folder
        Folder of the page.
    content
        Contents of the page.
    """

    def link(path: Path, text: str) -> str:
        return f'<a href="{escape(os.path.relpath(path, folder))}">{escape(text)}</a>'

    parts = [f"<h1>{escape(survey.title)}</h1>"]
    for path, caption in content.pictures:
        source = escape(os.path.relpath(path, folder))
        parts.append(
            f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
        )
    if content.lacks:
        parts += ["<h2>What is missing</h2><ul>", *(f"<li>{escape(text)}</li>" for text in content.lacks), "</ul>"]
    parts += ["<h2>Bands</h2>", _html_table(content.bands), "<h2>Checks</h2>"]
    for name, table in content.checks.items():
        rows = Table(rows=list(table) or None, names=Check._fields)
        parts += [f"<h3>{escape(name.replace('_', ' '))}</h3>", _html_table(rows)]
    parts.append("<h2>Products</h2><ul>")
    parts += [f"<li>{link(path, path.name)}: {escape(text)}</li>" for path, text in content.products]
    parts += ["</ul>", reading_examples(survey), *_made_by(content), "<h2>Executed notebooks</h2><ul>"]
    parts += [f"<li>{link(path, title)}</li>" for title, path in executed_notebooks(survey)]
    parts += ["</ul>", f"<footer>Page made by {escape(str(code_version()))}.</footer>"]
    text = _PAGE.format(title=escape(survey.title), body="\n".join(parts))
    with written_whole(folder / "index.html") as part:
        part.write_text(text)
    return folder / "index.html"


def _made_by(content: PageContent) -> list[str]:
    """The provenance section: that of the catalogue, followed by the runs of the pipeline."""
    rows = "\n".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td><code>{escape(value)}</code></td></tr>"
        for name, value in content.provenance.items()
    )
    table = f"<table>{rows}</table>" if rows else "<p>No provenance is recorded in the catalogue.</p>"
    text = "<p>The runs of the pipeline whose products are in the catalogue:</p>"
    return [
        "<h2>Provenance</h2>",
        "<p>As recorded in the files of the catalogue:</p>",
        table,
        text,
        _html_table(content.runs),
    ]


def reading_examples(survey: Survey) -> str:
    """Examples of reading the catalogue with pandas and astropy, in five lines each."""
    band = survey.bands[-1]
    flux = f"{band}_psfFlux"
    pandas = (
        "import numpy as np, pandas as pd\n"
        f'objects = pd.read_parquet("dmu5/data/{survey.name}/catalogue/parquet")\n'
        'objects = objects[objects["detect_isPrimary"]]\n'
        f'good = objects[~objects["{flux}_flag"] & (objects["{flux}"] > 5 * objects["{flux}Err"])]\n'
        f'magnitude = 31.4 - 2.5 * np.log10(good["{flux}"])'
    )
    astropy = (
        "from astropy.table import Table\n"
        f'objects = Table.read("dmu5/data/{survey.name}/catalogue/object.fits")\n'
        'objects = objects[objects["detect_isPrimary"]]\n'
        f'good = objects[~objects["{flux}_flag"] & (objects["{flux}"] > 5 * objects["{flux}Err"])]\n'
        f'magnitude = good["{flux}"].quantity.to("mag(AB)")'
    )
    return (
        f"<h2>Reading the catalogue</h2><p>From the project's folder, in pandas:</p><pre>{escape(pandas)}</pre>"
        f"<p>and in astropy:</p><pre>{escape(astropy)}</pre>"
    )


def _html_table(table: Table) -> str:
    def cell(value: object) -> str:
        if isinstance(value, bool | np.bool_):
            return "yes" if value else "NO"
        return f"{value:.4g}" if isinstance(value, float | np.floating) else escape(str(value))

    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in table.colnames)
    body = "\n".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in table)
    return f"<table><tr>{head}</tr>\n{body}</table>"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; line-height: 1.4; color: #222 }}
img {{ max-width: 100% }} figure {{ margin: 1em 0 }} figcaption {{ color: #555; font-size: 0.9em }}
table {{ border-collapse: collapse; margin: 1em 0; font-size: 0.9em }}
th, td {{ border-bottom: 1px solid #ccc; padding: 0.25em 0.8em 0.25em 0; text-align: left }}
pre {{ background: #f4f4f4; padding: 0.8em; overflow-x: auto }}
code {{ overflow-wrap: anywhere }} footer {{ color: #555; font-size: 0.9em; margin-top: 2em }}
</style></head>
<body>
{body}
</body></html>
"""
