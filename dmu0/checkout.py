"""Whether what runs is the code of the checkout in which it runs: an environment may be made for another one."""

from __future__ import annotations

from pathlib import Path


def find_checkout(folder: Path) -> Path | None:
    """The checkout of this project that a folder is in; None if it is in none."""
    marks = ("pyproject.toml", "dmu0/__init__.py", "workflow/__init__.py")
    for parent in (folder, *folder.parents):
        if all((parent / mark).is_file() for mark in marks):
            return parent
    return None


def check_checkout(folder: Path, project: Path) -> None:
    """Refuse to go on in one checkout with the code of another.

    A notebook would show the code beside it, run the other's, and write into the other's data folders.

    Parameters
    ----------
    folder
        Where the process runs: the folder of a notebook.
    project
        Where its code is.

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
