"""Every key of a survey file is read by some stage: a setting that nobody reads is a promise that nobody keeps."""

from __future__ import annotations

import ast
import re
import typing

import pytest
from pydantic import BaseModel

from dmu0.files.paths import PROJECT
from dmu0.surveys import Survey, keys
from workflow.digest import code_cells

PACKAGES = ("obs_vista", "dmu0", "dmu1", "dmu2", "dmu3", "dmu4", "dmu5", "workflow")
NOT_KEYS = {"path"}
"""Fields of a survey that its file does not have."""


def sections() -> dict[type[BaseModel], set[str]]:
    """The classes of a survey file, and the names of the keys below which each stands."""
    found: dict[type[BaseModel], set[str]] = {Survey: {"survey", "config"}}
    waiting = [Survey]
    while waiting:
        for name, field in waiting.pop().model_fields.items():
            for kind in (field.annotation, *typing.get_args(field.annotation)):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    found.setdefault(kind, set()).add(name)
                    waiting.append(kind)
    return found


def last_name(node: ast.expr) -> str:
    """What stands before a dot: ``optical`` of ``survey.optical``, ``vista`` of ``vista``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def read_keys(tree: ast.Module, kind: type[BaseModel], names: set[str]) -> set[str]:
    """Attributes that code reads of a section, by any name that it has there.

    It is known by its key, by parameters annotated with its class, and by variables it is assigned to.
    """
    names = set(names)
    nodes = list(ast.walk(tree))
    for node in nodes:
        annotation = getattr(node, "annotation", None)
        if isinstance(node, ast.arg) and annotation and re.search(rf"\b{kind.__name__}\b", ast.unparse(annotation)):
            names.add(node.arg)
    for node in nodes:
        if isinstance(node, ast.Assign) and last_name(node.value) in names:
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and last_name(node.value) in names}


@pytest.fixture(scope="module")
def code() -> list[ast.Module]:
    """All modules and notebooks. In the module of the keys a validator's ``self.folder`` is not known as a section."""
    trees = []
    for package in PACKAGES:
        folder = PROJECT / package
        for path in sorted(folder.rglob("*.py")):
            if "data" not in path.relative_to(PROJECT).parts:
                trees.append(ast.parse(path.read_text()))
        trees += [ast.parse("\n".join(code_cells(path))) for path in sorted(folder.glob("*.ipynb"))]
    return trees


@pytest.mark.parametrize("kind", sections(), ids=lambda kind: kind.__name__)
def test_every_key_is_read(code: list[ast.Module], kind: type[BaseModel]) -> None:
    """The code reads every key of a section somewhere."""
    names = sections()[kind]
    read = set().union(*(read_keys(tree, kind, names) for tree in code))
    unread = set(kind.model_fields) - NOT_KEYS - read
    assert not unread, f"no stage reads {', '.join(sorted(unread))} of {kind.__name__}"


def test_keys_of_others_do_not_count() -> None:
    """A model's ``psf`` is not that of the optical half; a parameter of its class and an alias are."""
    optical = keys.Optical
    for text, read in (
        ("fit.psf; survey.optical.bands", {"bands"}),
        ("def f(half: Optical | None): return half.kind", {"kind"}),
        ("def f(half: OpticalFilters): return half.psf", set()),
        ("half = survey.optical\nprint(half.coadds)", {"coadds"}),
        ("def f(self): return self.butler, self.optical.collection", {"collection"}),
    ):
        assert read_keys(ast.parse(text), optical, {"optical"}) == read, text
