"""Build the site: ``python -m docs.builder [--survey sample]``, or ``make docs``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import nbformat

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
BUILD = DOCS / "_build"
STAGES = ("dmu0", "dmu1", "dmu2", "dmu3", "dmu4", "dmu5")


def committed_pages() -> dict[str, str]:
    """Files of the repository that become pages -> their paths in the site."""
    found = [path.relative_to(PROJECT).as_posix() for path in DOCS.rglob("*.md") if BUILD not in path.parents]
    pages = {path: path.removeprefix("docs/") for path in sorted(found)}
    pages |= {f"{stage}/readme.md": f"stages/{stage}.md" for stage in STAGES}
    return pages | {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}


def assemble(source: Path, survey: str) -> None:
    """Write the source of the site: committed pages, pages generated from the code, executed notebooks.

    Parameters
    ----------
    source
        Folder of the source, which is emptied first.
    survey
        Name of the survey whose executed notebooks are shown.
    """
    from docs.builder.api import api_pages
    from docs.builder.columns import columns_page
    from docs.builder.make_targets import make_targets_page
    from docs.builder.markdown import relink
    from docs.builder.notebooks import executed_notebooks, notebooks_page, prepared
    from docs.builder.survey_keys import survey_keys_page

    shutil.rmtree(source, ignore_errors=True)
    executed = executed_notebooks(PROJECT, survey)
    committed = committed_pages()
    notebooks = {path: f"notebooks/{path}" for path in executed}
    texts = {"survey_keys.md": survey_keys_page(), "columns.md": columns_page()}
    texts |= {"make.md": make_targets_page(PROJECT / "Makefile"), **api_pages(PROJECT)}
    texts["notebooks/index.md"] = notebooks_page(list(executed), survey)
    pages = committed | notebooks | {f"docs/{path.name}": path.name for path in DOCS.glob("*.jpg")}
    pages |= {f"docs/{page}": page for page in texts} | {"docs/api/index.md": "api/index.rst"}
    pages |= {"dmu0/surveys": "survey_keys.md", "dmu0/schema/object.yaml": "columns.md"}
    for path, page in committed.items():
        if path == "README.md":
            continue
        texts[page] = relink((PROJECT / path).read_text(), source=path, page=page, pages=pages)
    for page, text in texts.items():
        path = source / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path, copy in executed.items():
        page = source / notebooks[path]
        page.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(prepared(copy, source=path, page=notebooks[path], pages=pages), page)
    for picture in DOCS.glob("*.jpg"):
        shutil.copy(picture, source / picture.name)


def main() -> int:
    """Exit code 0 if the site was built without a warning."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--survey", default="sample", help="the survey whose executed notebooks are shown")
    survey = parser.parse_args().survey
    # Compiled functions have no signature to show; nothing is computed here, so that nothing need be compiled.
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    from sphinx.cmd.build import main as sphinx

    source, site = BUILD / "source", BUILD / "html"
    assemble(source, survey)
    shutil.rmtree(site, ignore_errors=True)
    arguments = ["-c", str(DOCS), "-d", str(BUILD / "trees"), "-b", "html", "-W", "--keep-going", "-q", "-E"]
    code = sphinx([*arguments, str(source), str(site)])
    print(f"{site / 'index.html'}" if code == 0 else "The site has warnings, which count as errors.", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
