"""The Butler repository of a survey: its folder, opening it, and its collections."""

from __future__ import annotations

from pathlib import Path

from lsst.daf.butler import Butler, CollectionType, Config
from lsst.daf.butler.registry.interfaces import SchemaAlreadyDefinedError

from dmu0.files.atomic import written_whole
from dmu0.surveys import Survey
from obs_vista import VIRCAM

INPUTS = "inputs"
"""Collection of the inputs of the pipeline."""

RELEASE = "release"
"""Collection with the newest products of every step."""

_PIXELS = "obs_vista.formatters.PixelsAsTheyAre"
REPOSITORY_CONFIG = {"datastore": {"formatters": {"CellCoadd": _PIXELS, "VisitImage": _PIXELS}}}
"""Configuration that differs from the Butler's defaults."""


class RepositoryError(RuntimeError):
    """A repository cannot be created."""


def repository_folder(survey: Survey) -> Path:
    """The folder of the survey's repository."""
    return survey.folders[4] / "repo"


def open_butler(survey: Survey, *, collections: str = RELEASE, writeable: bool = False) -> Butler:
    """The Butler of a survey, which searches for datasets in ``collections``.

    Raises
    ------
    FileNotFoundError
        If the repository does not exist.
    """
    folder = repository_folder(survey)
    if not (folder / "butler.yaml").exists():
        raise FileNotFoundError(f"{folder} is not a Butler repository: run dmu4/1_Butler_repository for {survey.name}.")
    return Butler.from_config(
        str(folder),
        collections=collections,
        skymap=survey.sky_map.name,
        instrument=VIRCAM.getName(),
        writeable=writeable,
    )


def repository_config(survey: Survey) -> Config:
    """The configuration of a survey's repository: its registry and the place of its files.

    A database server holds the registries of several surveys, each in a schema with the name of the survey; so do
    places for files, each in a folder of that name.
    """
    config = Config(REPOSITORY_CONFIG)
    if survey.engine.registry is not None:
        config["registry", "db"] = survey.engine.registry
        if not survey.engine.registry.startswith("sqlite"):
            config["registry", "namespace"] = survey.name
    if survey.engine.storage is not None:
        config["datastore", "root"] = f"{survey.engine.storage.rstrip('/')}/{survey.name}"
    return config


def create_repository(survey: Survey) -> None:
    """Create an empty repository, completely or not at all.

    Raises
    ------
    RepositoryError
        If the database holds a registry of a survey with this name, whose repository is not here.
    """
    folder = repository_folder(survey)
    if (folder / "butler.yaml").exists():
        return
    with written_whole(folder) as part:
        try:
            # Otherwise the files would be beside the configuration, whatever it says.
            Butler.makeRepo(str(part), config=repository_config(survey), forceConfigRoot=survey.engine.storage is None)
        except SchemaAlreadyDefinedError as error:
            raise RepositoryError(
                f"{survey.path}: engine.registry {survey.engine.registry} holds a registry of a survey {survey.name}, "
                f"but {folder} is not here. If nobody needs it, remove it: DROP SCHEMA {survey.name} CASCADE; "
                "otherwise give this survey another name."
            ) from error


def has_collection(butler: Butler, name: str) -> bool:
    """Whether a repository has a collection of that name, of any type."""
    return name in butler.collections.query("*", include_chains=True)


def remove_runs(butler: Butler, runs: list[str]) -> None:
    """Remove run collections with all their datasets; ingested files are kept."""
    chains = [info.name for info in butler.collections.query_info("*", collection_types={CollectionType.CHAINED})]
    for chain in chains:
        children = butler.collections.get_info(chain).children
        kept = [child for child in children if child not in runs]
        if len(kept) != len(children):
            butler.collections.redefine_chain(chain, kept)
    butler.removeRuns(runs, unlink_from_chains=True)


def newest(butler: Butler, family: str, run: str) -> None:
    """Make ``run`` the run of its family in the release, and remove its predecessors.

    Parameters
    ----------
    butler
        A writeable Butler.
    family
        Family of runs: `INPUTS` or a step of the pipeline; runs are called ``<family>/<id>``.
    run
        The completed run collection.
    """
    butler.collections.register(RELEASE, CollectionType.CHAINED)
    kept = [child for child in butler.collections.get_info(RELEASE).children if not child.startswith(f"{family}/")]
    butler.collections.redefine_chain(RELEASE, [run, *kept])
    if family == INPUTS:
        butler.collections.register(INPUTS, CollectionType.CHAINED)
        butler.collections.redefine_chain(INPUTS, [run])
    old = [name for name in butler.collections.query(f"{family}/*") if name != run]
    if old:
        remove_runs(butler, old)
