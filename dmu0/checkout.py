"""Check that the running code belongs to the checkout in which it runs, since the environment may belong to another."""

from __future__ import annotations

from pathlib import Path


def find_checkout(folder: Path) -> Path | None:
    """The checkout of this project that contains a folder; None if there is none."""
    marks = ("pyproject.toml", "dmu0/__init__.py", "workflow/__init__.py")
    for parent in (folder, *folder.parents):
        if all((parent / mark).is_file() for mark in marks):
            return parent
    return None


def check_checkout(folder: Path, project: Path) -> None:
    """Refuse to run in one checkout with the code of another.

    Otherwise a notebook would run code other than that in its own checkout, and write to the other data folders.

    Parameters
    ----------
    folder
        Folder in which the process runs: that of a notebook.
    project
        Folder of the code.

    Raises
    ------
    ImportError
        If the folder is in another checkout.
    """
    checkout = find_checkout(folder.resolve())
    if checkout is not None and checkout != project.resolve():
        raise ImportError(
            f"{folder} is in the checkout {checkout}, but this environment has the code of {project}: start Python or "
            f"Jupyter with PYTHONPATH={checkout}, or use the environment that `make` makes in {checkout}."
        )
