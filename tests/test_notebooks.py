"""The contract of the notebooks: what each must have, so that people and make can rely on it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest

from workflow.digest import code_cells, reached_files
from workflow.graph import load_steps

PROJECT = Path(__file__).resolve().parent.parent
STEPS = load_steps()
ORDER = [
    "dmu0/1_Get_inputs",
    "dmu0/2_Check_inputs",
    "dmu1/1_Inventory",
    "dmu1/2_Quality",
    "dmu1/3_Coverage",
    "dmu2/1_Match_references",
    "dmu2/2_Colour_terms",
    "dmu2/3_Reference_catalogue",
    "dmu3/1_Baseline_images",
    "dmu3/2_Baseline_catalogues",
    "dmu4/1_Butler_repository",
    "dmu4/2_Single_frame",
    "dmu4/3_Coadd",
    "dmu4/4_Multiband_photometry",
    "dmu5/1_Fused_catalogue",
    "dmu5/2_Diagnostics",
    "dmu5/3_Selection_function",
    "dmu5/4_Release",
    "dmu5/5_Use_the_catalogue",
    "dmu5/6_What_VISTA_adds",
]


@pytest.fixture(params=ORDER)
def step(request):
    """Each notebook of the design."""
    assert request.param in STEPS, f"{request.param}.ipynb is missing"
    return STEPS[request.param]


@pytest.fixture
def cells(step):
    """Its cells."""
    return nbformat.read(step.path, as_version=4).cells


def test_no_other_notebooks() -> None:
    """The notebooks are those of the design, in its order."""
    assert list(STEPS) == ORDER


def test_committed_clean(step) -> None:
    """Valid, without outputs or execution counts."""
    notebook = nbformat.read(step.path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


def test_card(step, cells) -> None:
    """A numbered title and the table Reads / Writes / Runs in / Checks."""
    first = cells[0].source
    number = f"{step.stage}.{step.path.stem.split('_')[0]}"
    assert re.match(rf"# {re.escape(number)} \S", first), f"the title must begin with '# {number} '"
    for row in ("Reads", "Writes", "Runs in", "Checks"):
        assert re.search(rf"^\| *{row} *\| *\S", first, re.M), f"the card has no row {row!r}"


def test_parameters(cells) -> None:
    """One cell tagged parameters, whose values are typed and commented; the first is the survey."""
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = [line for line in tagged[0].source.split("\n") if line.strip()]
    for line in lines:
        assert re.match(r"\w+: [\w\[\], |]+ = .+  # \S", line), f"not typed and commented: {line}"
    assert lines[0].startswith('survey: str = "sample"')


def test_parameters_are_not_rebound(cells) -> None:
    """No cell gives a parameter another value, or the cell could not be run twice."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    parameters = next(cell for cell in code if "parameters" in cell.metadata.get("tags", []))
    names = {node.target.id for node in ast.parse(parameters.source).body if isinstance(node, ast.AnnAssign)}
    assert "survey" in names
    for cell in code:
        bound = {
            node.id
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del)
        }
        assert cell is parameters or not bound & names, f"{cell.id} binds {', '.join(sorted(bound & names))} again"


def test_code_is_a_story(cells) -> None:
    """Cells of at most 15 lines, no class, no long def, no absolute path, no warning filter, no bare except."""
    for cell in cells:
        if cell.cell_type != "code":
            continue
        lines = [line for line in cell.source.split("\n") if line.strip()]
        assert len(lines) <= 15, f"{cell.id}: {len(lines)} lines"
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef), f"{cell.id}: a class belongs in a module"
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 3, f"{cell.id}: def {node.name} belongs in a module"
            assert not (isinstance(node, ast.ExceptHandler) and node.type is None)
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.match(r"(/\w+/|~|[A-Z]:\\)", node.value), f"{cell.id}: absolute path {node.value}"
        assert "filterwarnings" not in cell.source
        assert "simplefilter" not in cell.source


def test_checks_print_and_assert(cells) -> None:
    """A section of checks whose asserts print the number beside its limit, then what comes next."""
    headings = [cell.source.split("\n")[0] for cell in cells if cell.cell_type == "markdown"]
    assert "## Checks" in headings
    start = next(k for k, cell in enumerate(cells) if cell.source.startswith("## Checks"))
    checks = "\n".join(cell.source for cell in cells[start:] if cell.cell_type == "code")
    assert "assert " in checks
    assert "print(" in checks
    assert cells[-1].cell_type == "markdown"
    assert cells[-1].source.startswith("## What comes next")


def test_imports_follow_the_layers(step) -> None:
    """A notebook imports only from obs_vista and from stages up to its own."""
    tree = ast.parse("\n".join(code_cells(step.path)))
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            found = re.match(r"dmu(\d)", name)
            assert not (found and int(found[1]) > step.stage), f"imports {name}"
            assert not name.startswith("workflow"), f"imports {name}"


def test_reads_only_earlier_stages(step) -> None:
    """Reads and writes stay in dmu0 ... dmuN: folders[M] with M <= N, and every stage read is in the card."""
    code = "\n".join(code_cells(step.path))
    stages = {int(number) for number in re.findall(r"folders\[(\d)\]", code)}
    assert all(stage <= step.stage for stage in stages), f"uses the data of stages {sorted(stages)}"
    read = {int(name[3]) for name in step.reads} | {step.stage}
    assert stages <= read, f"reads data of {sorted(stages - read)}, which the card does not say"


def test_reaches_its_modules(step) -> None:
    """What make counts as the notebook's code includes modules of its own stage, and none of a later one."""
    reached = {path.relative_to(PROJECT).parts[0] for path in reached_files(step.path)}
    assert f"dmu{step.stage}" in reached
    assert not [name for name in reached if name.startswith("dmu") and int(name[3]) > step.stage]


def test_readmes() -> None:
    """Each stage has a readme and a committed readme in its ignored data folder."""
    for stage in range(6):
        assert (PROJECT / f"dmu{stage}" / "readme.md").is_file()
        assert (PROJECT / f"dmu{stage}" / "data" / "README.md").is_file()
