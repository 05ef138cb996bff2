"""Pages of executed notebooks: they need no network, have no dead links, and show nothing of this machine."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from PIL import Image

from workflow.graph import Step
from workflow.notebook_body import page_link, without_local_paths
from workflow.pages import write_index, write_page
from workflow.records import StepState

V4 = nbformat.v4


def png_of(pixels: np.ndarray) -> str:
    """A picture as a notebook keeps it."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return base64.b64encode(target.getvalue()).decode()


def output(**data: object) -> nbformat.NotebookNode:
    """An output that a cell displays."""
    return V4.new_output("display_data", data={key.replace("_", "/"): value for key, value in data.items()})


def elsewhere(project: Path) -> Path:
    """A folder outside of the project."""
    return project.parent / "elsewhere"


def executed(project: Path, *cells: nbformat.NotebookNode) -> Path:
    """An executed notebook of a survey outside of the project, in its place."""
    record = project / "dmu4" / "data" / "toy" / "runs" / "2_Single_frame.ipynb"
    record.parent.mkdir(parents=True, exist_ok=True)
    notebook = V4.new_notebook(cells=list(cells), metadata={"widgets": {"x": {}}})
    notebook.metadata["papermill"] = {"parameters": {"survey": str(elsewhere(project) / "mine.yaml")}}
    nbformat.write(notebook, record)
    return record


def test_a_page_fetches_nothing(tmp_path: Path) -> None:
    """No script, no address, a width for phones; equations are MathML, and progress bars are left out."""
    record = executed(
        tmp_path,
        V4.new_markdown_cell(
            "# 4.2 Calibrate\n\nIt costs \\$5 or `$x$`; the pull is $(F - F_0) / \\sigma_F$.\n\n$$a_1 * b_2 * c$$"
        ),
        V4.new_code_cell(
            "1",
            outputs=[
                V4.new_output(
                    "display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%|"}
                ),
                V4.new_output("stream", name="stderr", text="bands: 10%|\rbands: 20%|"),
                V4.new_output("stream", name="stderr", text="one file was left out"),
            ],
        ),
    )
    text = write_page(record, project=tmp_path).read_text()
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"(https?:)?//", text)
    assert '<meta name="viewport" content="width=device-width' in text
    assert "<title>4.2 Calibrate</title>" in text
    assert text.count("<math ") == 2
    assert 'display="block"' in text
    assert "<code>$x$</code>" in text
    assert "<em>" not in text
    assert "%|" not in text
    assert "one file was left out" in text


def test_links_lead_to_pages_and_files(tmp_path: Path) -> None:
    """A notebook is its page, also of another stage; a file is found from the page; addresses and anchors stay."""
    record = executed(
        tmp_path,
        V4.new_markdown_cell(
            "# 4.2\n\n[next](3_Coadd.ipynb#Checks) [input](../dmu0/1_Get_inputs.ipynb) "
            "[schema](../dmu0/schema/object.yaml) [here](#Checks) [paper](https://doi.org/1)"
        ),
    )
    text = write_page(record, project=tmp_path).read_text()
    links = re.findall(r'href="([^"]+)"', text.partition("</nav>")[2])
    assert links[-5:] == [
        "3_Coadd.html#Checks",
        "../../../../dmu0/data/toy/runs/1_Get_inputs.html",
        "../../../../dmu0/schema/object.yaml",
        "#Checks",
        "https://doi.org/1",
    ]
    assert (record.parent / links[-3]).resolve() == (tmp_path / "dmu0/schema/object.yaml").resolve()
    outside = page_link("../../other/1_A.ipynb", record=record, project=tmp_path)
    assert (record.parent / outside).resolve() == (tmp_path.parent / "other/1_A.ipynb").resolve()


def test_nothing_of_this_machine_is_shown(tmp_path: Path) -> None:
    """Paths of the project become relative, that of a survey elsewhere a name; other paths stay."""
    record = executed(
        tmp_path,
        V4.new_code_cell(
            f'survey = "{elsewhere(tmp_path)}/mine.yaml"',
            outputs=[V4.new_output("stream", name="stdout", text=f"{tmp_path}/dmu0/data/a.fits")],
        ),
    )
    text = write_page(record, project=tmp_path).read_text()
    assert str(tmp_path) not in text
    assert "dmu0/data/a.fits" in text
    assert str(elsewhere(tmp_path)) not in text
    assert "mine.yaml" in text
    assert without_local_paths("/data/vista/a.fits", project=tmp_path) == "/data/vista/a.fits"


def test_what_files_say_is_text(tmp_path: Path) -> None:
    """Text of headers and names of files is shown as text: in prints, tables, errors, titles and the index."""
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    table, frame = Table({"path": [evil]}), pd.DataFrame({evil: [evil]})
    shown = [
        V4.new_output("stream", name="stdout", text=evil),
        V4.new_output("stream", name="stderr", text=evil),
        output(text_html=table._repr_html_(), text_plain=evil),
        output(text_html=frame.to_html(), text_plain=evil),
        V4.new_output("execute_result", data={"text/plain": evil}, execution_count=1),
        V4.new_output("error", ename=evil, evalue=evil, traceback=[f"\x1b[31m{evil}\x1b[0m"]),
    ]
    record = executed(tmp_path, V4.new_markdown_cell("# 4.2 a < b"), V4.new_code_cell(f"'{evil}'", outputs=shown))
    text = write_page(record, project=tmp_path).read_text()
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("alert(1)") >= len(shown)
    step = Step(tmp_path / "dmu4" / "2_Single_frame.ipynb", 4, evil)
    folder = tmp_path / "dmu5" / "data" / "toy" / "runs"
    folder.mkdir(parents=True)
    index = write_index([StepState(step, "to do", None)], survey_name="toy", title=evil, folder=folder).read_text()
    assert "<script" not in index
    assert "<img" not in index
    assert index.count("&lt;script&gt;") == 2


@pytest.mark.parametrize(("noise", "kept"), [(0, "png"), (255, "jpeg")])
def test_large_pictures_are_written_as_jpeg(tmp_path: Path, rng: np.random.Generator, noise: int, kept: str) -> None:
    """A noisy picture of megabytes becomes a JPEG of a fraction of it; a figure stays as it is."""
    pixels = rng.integers(0, noise + 1, (700, 900, 3), dtype=np.uint8)
    record = executed(tmp_path, V4.new_code_cell("1", outputs=[output(image_png=png_of(pixels))]))
    text = write_page(record, project=tmp_path).read_text()
    assert f"data:image/{kept};base64," in text
    assert len(text) < 0.7 * len(record.read_text()) or kept == "png"
