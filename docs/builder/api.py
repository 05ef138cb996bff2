"""The pages of the public functions and classes: one per stage, or per room of a stage."""

from __future__ import annotations

from pathlib import Path

PACKAGES = ("obs_vista", "dmu0", "dmu1", "dmu2", "dmu3", "dmu4", "dmu5", "workflow")


def rooms(project: Path) -> dict[str, list[str]]:
    """Each package that contains modules, with the names of its modules.

    Parameters
    ----------
    project
        Folder of the repository.
    """
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((project / package).rglob("*.py")):
            parts = path.relative_to(project).with_suffix("").parts
            if "data" in parts or parts[-1] == "__main__":
                continue
            room = ".".join(parts[:-1])
            found.setdefault(room, [])
            if parts[-1] != "__init__":
                found[room].append(".".join(parts))
    return {room: modules for room, modules in found.items() if modules}


def api_page(room: str, modules: list[str]) -> str:
    """The page of a room in reStructuredText: every public member of its modules."""
    lines = [room, "=" * len(room), "", f".. automodule:: {room}", "   :no-members:", ""]
    for module in modules:
        lines += [module, "-" * len(module), "", f".. automodule:: {module}"]
        lines += ["   :members:", "   :ignore-module-all:", ""]
    return "\n".join(lines)


def api_pages(project: Path) -> dict[str, str]:
    """The pages by their path in the site, including the list of pages."""
    found = rooms(project)
    pages = {f"api/{room}.rst": api_page(room, modules) for room, modules in found.items()}
    title = "Functions and classes"
    lines = [title, "=" * len(title), "", "Listed by stage, in the order in which data and imports flow.", ""]
    lines += [".. toctree::", "   :maxdepth: 1", "", *(f"   {room}" for room in found), ""]
    return {"api/index.rst": "\n".join(lines), **pages}
