"""The digest of everything on which the result of a notebook depends: code, imported modules, parameters.

Prose, comments, docstrings and modification times do not count, since they cannot change a result.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path

import yaml

from dmu0.files.paths import PROJECT
from dmu0.surveys import Survey
from workflow.graph import Step, read_cells

_DOTTED = re.compile(r"\b(?:obs_vista|dmu[0-5])(?:\.\w+)+")
_PACKAGES = ("obs_vista", *(f"dmu{stage}" for stage in range(6)))


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        # Strings that stand alone are docstrings, of modules, classes, functions or attributes.
        node.body = [
            item
            for item in body
            if not (
                isinstance(item, ast.Expr)
                and isinstance(item.value, ast.Constant)
                and isinstance(item.value.value, str)
            )
        ]
    return tree


def module_files(dotted: str) -> list[Path]:
    """Files that are executed when a dotted name is imported: the existing packages and modules on its path."""
    parts = dotted.split(".")
    files = []
    for length in range(1, len(parts) + 1):
        base = PROJECT.joinpath(*parts[:length])
        if (base / "__init__.py").is_file():
            files.append(base / "__init__.py")
        elif base.with_suffix(".py").is_file():
            files.append(base.with_suffix(".py"))
            break
        else:
            break
    return files


def _imported(tree: ast.AST, package: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = node.module or ""
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                parent = ".".join([*base, *([parent] if parent else [])])
            names.update(f"{parent}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] in _PACKAGES}


def _strings(tree: ast.AST) -> set[str]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _data_files(strings: set[str], folder: Path) -> set[Path]:
    """Data files named in a module, or all YAML files of a folder named in it.

    They are searched in the folder of the module and in those above it, up to that of its stage.
    """
    found: set[Path] = set()
    folders = [folder, *folder.parents[: len(folder.relative_to(PROJECT).parts) - 1]]
    for text in strings:
        if not re.fullmatch(r"[\w./-]{2,80}", text) or text.startswith(("/", ".")):
            continue
        for path in (place / text for place in folders):
            if path.suffix in {".yaml", ".csv"} and path.is_file():
                found.add(path)
            elif path.is_dir() and path.name not in {"data", "surveys"}:
                found.update(path.glob("*.yaml"))
    return found


@cache
def _read_module(path: Path) -> tuple[str, frozenset[Path]]:
    """Digest of the code of one file, and the files that it uses."""
    if path.suffix != ".py":
        text = path.read_text()
        content = yaml.safe_load(text) if path.suffix == ".yaml" else text
        leads = {file for name in _DOTTED.findall(text) for file in module_files(name)}
        return _hash(json.dumps(content, sort_keys=True, default=str)), frozenset(leads)
    tree = ast.parse(path.read_text())
    package = ".".join(path.parent.relative_to(PROJECT).parts)
    return _hash(ast.dump(_without_docstrings(tree))), frozenset(_leads(tree, path.parent, package))


def _leads(tree: ast.AST, folder: Path, package: str) -> set[Path]:
    strings = _strings(tree)
    dotted = _imported(tree, package) | {name for text in strings for name in _DOTTED.findall(text)}
    return {file for name in dotted for file in module_files(name)} | _data_files(strings, folder)


def code_cells(path: Path) -> list[str]:
    """The sources of the code cells of a notebook, without line magics."""
    cells = [source for kind, source in read_cells(path) if kind == "code"]
    return ["\n".join(line for line in cell.split("\n") if not line.startswith(("%", "!"))) for cell in cells]


def reached_files(path: Path) -> list[Path]:
    """Every module and data file of the project that the code of a notebook uses, directly or not, sorted."""
    tree = ast.parse("\n".join(code_cells(path)))
    todo = _leads(tree, path.parent, path.parent.name)
    reached: set[Path] = set()
    while todo:
        file = todo.pop()
        if file not in reached:
            reached.add(file)
            todo |= _read_module(file)[1]
    return sorted(reached)


def survey_content(survey: Survey) -> str:
    """The parts of a survey that can change a result: everything except its title and engine."""
    content = survey.model_dump(mode="json", exclude={"title", "engine"})
    return json.dumps(content, sort_keys=True)


def input_contents(step: Step, survey: Survey) -> dict[str, str]:
    """Checksum of each input file of a step, so that replacing a file makes the step stale.

    Only the steps of dmu0 read input files directly. If the files are downloaded or simulated, the first step makes
    them, and only later ones read them. A file is read again if its size, times or inode have changed.
    """
    is_local = survey.inputs.source == "local"
    if step.stage != 0 or not (is_local or step.reads) or not survey.input_folder.is_dir():
        return {}
    from dmu0.files.checksums import Checksums  # with sky maps and FITS, which take a second to import
    from dmu0.files.expected import find_inputs

    checksums = Checksums(survey.folders)
    contents = {}
    for item in find_inputs(survey):
        try:
            contents[os.path.relpath(item.path, survey.input_folder)] = checksums.digest(item.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            contents[os.path.relpath(item.path, survey.input_folder)] = str(error.errno)
    checksums.write()
    return contents


def step_digest(step: Step, survey: Survey, *, tracts: str = "", contents: dict[str, str] | None = None) -> str:
    """Digest of everything on which the result of a step depends, except the steps that it reads.

    Parameters
    ----------
    step, survey
        The step, and the survey.
    tracts
        Selected tracts, from `dmu0.surveys.normal_tracts`.
    contents
        Checksums of the input files; None: they are computed now.
    """
    code = [ast.dump(_without_docstrings(ast.parse(cell))) for cell in code_cells(step.path)]
    files = [f"{path.relative_to(PROJECT)} {_read_module(path)[0]}" for path in reached_files(step.path)]
    inputs = input_contents(step, survey) if contents is None else contents
    return _hash(*code, *files, survey_content(survey), tracts, json.dumps(inputs, sort_keys=True) if inputs else "")


def run_id(digest: str, upstream: dict[str, str]) -> str:
    """Id of a particular result: the digest of a step together with the results that it read."""
    return _hash(digest, json.dumps(upstream, sort_keys=True))[:16]
