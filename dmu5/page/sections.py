"""The sections of the release page, as HTML."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from astropy.table import Table

from dmu0.schema.columns import schema_columns
from dmu5.census import Part, census_table, explain, plural
from dmu5.checks import Check
from dmu5.dust import extinction_coefficient
from dmu5.page.judgement import caveats, count_verdicts, summary
from dmu5.page.page_figures import PageFigure
from dmu5.page.products import Product, readable_size
from dmu5.quality_checks import short_value, verdict_table, worst
from obs_vista.bands import get_band, shown_band

Linker = Callable[[Path], str]
"""Function that gives the relative address of a file."""


def linker(folder: Path) -> Linker:
    """The function that gives addresses relative to the folder of a page."""
    return lambda path: escape(os.path.relpath(path, folder))


def said(text: str) -> str:
    """A text of a check as HTML, with the signs of limits as people write them."""
    return escape(text.replace("<=", "\u2264").replace(">=", "\u2265").replace("+-", "\u00b1"))


def verdict_section(checks: Sequence[Check], lacks: Sequence[str], failures: Sequence[str] = ()) -> str:
    """The verdict, and what to beware of."""
    counts = count_verdicts(checks)
    worst_of_all = worst([verdict for verdict, number in counts.items() if number] + ["warn"] * bool(failures))
    lines = [f'<li><b class="{verdict}">{verdict}</b>{said(text)}</li>' for verdict, text in caveats(checks)]
    lines += [f'<li><b class="fail">failed</b>{escape(text)}</li>' for text in failures]
    lines += [f'<li><b class="warn">missing</b>{escape(text)}</li>' for text in lacks]
    listed = f"<ul>{''.join(lines[:6])}</ul>" if lines else ""
    rest = "".join(lines[6:])
    more = f"<details><summary>{len(lines) - 6} more</summary><ul>{rest}</ul></details>" if rest else ""
    return f'<div class="verdict {worst_of_all}" id="verdict"><p>{escape(summary(checks))}</p>{listed}{more}</div>'


def facts(values: Mapping[str, str]) -> str:
    """A list of short facts."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items())
    return f'<dl class="facts">{rows}</dl>'


def viewer_section(tracts: Sequence[int]) -> str:
    """The sky viewer, whose data are in ``sky.js``."""
    options = "".join(f'<option value="{number}">tract {tract}</option>' for number, tract in enumerate(tracts))
    choice = f'<select id="tract-choice">{options}</select>' if len(tracts) > 1 else ""
    return (
        '<div class="viewer"><canvas aria-label="Colour picture of the sky"></canvas><div class="tools">'
        '<button class="in" title="zoom in">+</button><button class="out" title="zoom out">&minus;</button>'
        '<button class="all" title="show all">&#8962;</button></div><div class="where">RA, Dec</div></div>'
        f'<div class="layers">{choice}<label><input type="checkbox" id="layer-stars"> point sources '
        '(yellow)</label><label><input type="checkbox" id="layer-galaxies"> extended and unknown (blue)</label></div>'
        '<p class="note" id="picked">Choose an object to see its identifier and magnitudes.</p>'
    )


def band_section(bands: Table, areas: Mapping[str, float]) -> str:
    """One row per band: wavelength, area, depth and numbers of objects."""
    rows = []
    for row in bands:
        label = str(row["band"])
        area = f"{areas[label]:.1f}" if label in areas else "unknown"
        depth = f"{row['depth5']:.2f}" if np.isfinite(row["depth5"]) else "no data"
        dust = f"{extinction_coefficient(label):.2f}"
        cells = (shown_band(label), f"{label}_", f"{get_band(label).wavelength:.0f}", dust, area, depth)
        numbers = (row["above_5_sigma"], row["detected"], f"{100 * row['usable']:.1f}%")
        rows.append([*cells, *(str(number) for number in numbers)])
    names = (
        "band",
        "columns",
        "nm",
        "A / E(B-V)",
        "area (arcmin²)",
        "depth (5 sigma, AB)",
        "above 5 sigma",
        "detected",
        "usable",
    )
    return html_table(names, rows)


def census_section(parts: Sequence[Part], link: Linker, listing: Path) -> str:
    """How many inputs, detectors, coadds, patches and tracts are in which state, and why they are not done."""
    table = census_table(parts)
    rows = [[plural(str(row["kind"])), *(f"{row[name]:,}" for name in table.colnames[1:])] for row in table]
    lines = [
        f'<li><b class="{"fail" if state == "failed" else "warn"}">{escape(state)}</b> {escape(text)}</li>'
        for state, text in explain(parts, ("failed", "skipped", "to do"))
    ]
    listed = f"<ul>{''.join(lines)}</ul>" if lines else "<p>All of them are done.</p>"
    return (
        html_table(("", *table.colnames[1:]), rows)
        + '<p class="note">Each is counted once. What was skipped is left out on purpose, for the reason below; what '
        f'failed is wrong or absent. <a href="{link(listing)}">All of them, with their reasons (CSV)</a>.</p>{listed}'
    )


def matrix_section(checks: Sequence[Check], bands: Sequence[str]) -> str:
    """The verdicts of each band as a table in colour, and those on the whole catalogue."""
    names, table = verdict_table(checks, bands)
    head = "".join(f"<th>{escape(shown_band(band))}</th>" for band in bands)
    rows = []
    for name in names:
        cells = "".join(_cell(table.get((name, band))) for band in bands)
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    whole = [check for check in checks if check.band not in bands]
    listed = "".join(
        f'<li><b class="{row.verdict}">{row.verdict}</b> {said(f"{row.check}: {row.value} (limit {row.limit})")}</li>'
        for row in whole
    )
    return (
        f'<div class="scroll"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>\n<tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
        + (f"<h3>Whole catalogue</h3><ul>{listed}</ul>" if listed else "")
    )


def _cell(check: Check | None) -> str:
    if check is None:
        return "<td></td>"
    title = said(f"{check.value}; limit {check.limit}")
    return f'<td class="{check.verdict}" title="{title}">{escape(short_value(check.value))}</td>'


def figure_section(figures: Iterable[PageFigure], link: Linker) -> str:
    """The figures, with a judgement under each."""
    return "\n".join(
        f'<h3>{escape(item.title)}</h3><figure><a href="{link(item.path)}"><img loading="lazy" src="{link(item.path)}" '
        f'alt="{escape(item.caption)}"></a><figcaption>{escape(item.caption)}</figcaption></figure>'
        f'<p class="judgement">{said(item.judgement)}</p>'
        for item in figures
    )


def column_section(bands: Sequence[str]) -> str:
    """Every column, those of bands once, with a search."""
    rows = []
    first = bands[0]
    for column in schema_columns(bands):
        if column.band not in ("", first):
            continue
        name, text = column.name, column.description
        if column.band:
            name = "{band}" + name.removeprefix(first)
            text = (
                text.replace(f"{first}_", "{band}_").replace(f"{first}:", "{band}:").replace(f"in {first}", "in {band}")
            )
        rows.append(
            (f"<code>{escape(name)}</code>", escape(column.unit), escape(text), f"<code>{escape(column.ucd)}</code>")
        )
    prefixes = ", ".join(f"{band}_ ({shown_band(band)})" for band in bands)
    table = html_table(("column", "unit", "meaning", "UCD"), rows, escaped=True)
    return (
        f"<p>{{band}} is one of: {escape(prefixes)}. Fluxes are in nJy, AB magnitude = 31.4 - 2.5 log10(flux).</p>"
        '<p><label for="column-search">Search</label> <input type="search" id="column-search" '
        'placeholder="e.g. psf flag, kron, position"> <span class="note" id="column-count"></span></p>'
        f'<div id="columns-table">{table}</div>'
    )


def product_section(products: Sequence[Product], link: Linker, checksums: Path) -> str:
    """The files, with sizes and checksums."""
    rows = []
    for item in products:
        size = readable_size(item.size) + (f" in {item.files} files" if item.files > 1 else "")
        digest = f'<code class="sum" title="{item.sha256}">{item.sha256[:12]}</code>' if item.sha256 else ""
        rows.append(
            (f'<a href="{link(item.path)}">{escape(item.path.name)}</a>', escape(item.description), size, digest)
        )
    table = html_table(("file", "contents", "size", "SHA-256 (first 12)"), rows, escaped=True)
    text = (
        f'<p>Whole checksums are in <a href="{link(checksums)}">{escape(checksums.name)}</a>: '
        "<code>sha256sum -c SHA256SUMS</code> in its folder compares all files with them.</p>"
    )
    return table + text


def reading_section(examples: Mapping[str, str]) -> str:
    """The examples of reading."""
    return "\n".join(f"<h3>{escape(name)}</h3><pre>{escape(text)}</pre>" for name, text in examples.items())


def list_section(lines: Iterable[str]) -> str:
    """A list of lines that are HTML."""
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def html_table(names: Sequence[str], rows: Iterable[Sequence[str]], *, escaped: bool = False) -> str:
    """A table of texts, which scrolls by itself if it is wide."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{cell if escaped else escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
