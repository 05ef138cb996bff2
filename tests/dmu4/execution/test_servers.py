"""The same step with its registry in PostgreSQL and its files in an object store, each served for real."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from lsst.daf.butler import DatasetType
from lsst.images import Box

from dmu0.surveys import Survey, SurveyError, load_survey
from dmu4.butler.ingest import make_repository
from dmu4.butler.repository import RepositoryError, create_repository, open_butler, repository_folder
from dmu4.execution import steps
from tests.scenes.lsst_coadds import make_lsst_coadd
from tests.scenes.object_store import Store, object_store
from tests.scenes.postgresql import Server, postgresql_server
from tests.scenes.toy_results import PRODUCTS, STATES, products_of, states_of


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL server."""
    with postgresql_server() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An object store."""
    with object_store(tmp_path, monkeypatch) as store:
        yield store


@pytest.fixture
def made_again(shared_step: Survey) -> Callable[..., Survey]:
    """A function that makes the repository of the toy step again with other settings of the engine."""

    def make(**engine: str) -> Survey:
        shutil.rmtree(repository_folder(shared_step))
        changed = shared_step.model_copy(update={"engine": shared_step.engine.model_copy(update=engine)})
        make_repository(changed, run="one")
        return changed

    return make


@pytest.fixture
def empty_database(server: Server) -> Server:
    """The server without a registry of the toy survey."""
    server.sql("DROP SCHEMA IF EXISTS tiny CASCADE")
    return server


@pytest.mark.parametrize("engine", ["local", "bps"])
def test_postgresql_gives_the_same(
    empty_database: Server, made_again: Callable, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """With the registry in PostgreSQL every quantum ends in the same state, and a restart of the server is survived."""
    monkeypatch.setenv("FUSION_ENGINE", engine)
    survey = made_again(registry=empty_database.url)
    assert states_of(steps.run_step(survey, "toy_step", progress=False)) == STATES
    assert products_of(survey) == PRODUCTS
    assert not list(repository_folder(survey).glob("*.sqlite3"))
    assert int(empty_database.sql("SELECT count(*) FROM tiny.dataset")) > 4
    empty_database.stop()
    empty_database.start()
    assert states_of(steps.run_step(survey, "toy_step", progress=False)) == STATES


def test_an_object_store_gives_the_same(store: Store, made_again: Callable) -> None:
    """With the files in S3 every quantum ends in the same state; what is lost there is made again."""
    survey = made_again(storage=store.url)
    assert states_of(steps.run_step(survey, "toy_step", progress=False)) == STATES
    assert products_of(survey) == PRODUCTS
    products = [name for name in store.names() if "/toy_product/" in name]
    assert len(products) == 3  # detector 3 failed after it had written: its product is there, and not registered
    assert all(name.startswith("of/tests/tiny/toy_step/first/") for name in products)
    assert not list(repository_folder(survey).rglob("*toy_product*"))


def test_parts_of_images_come_from_an_object_store(store: Store, made_again: Callable) -> None:
    """A component and a cutout of a coadd in S3 are those of the coadd that was put there."""
    survey = made_again(storage=store.url)
    kind = DatasetType("deep_coadd", (), "CellCoadd", universe=open_butler(survey).dimensions)
    coadd = make_lsst_coadd(np.random.default_rng(1))
    butler = open_butler(survey, collections="images", writeable=True)
    butler.registry.registerDatasetType(kind)
    butler.registry.registerRun("images")
    butler.put(coadd, kind, run="images")
    assert [name for name in store.names() if "deep_coadd" in name]
    butler = open_butler(survey, collections="images")
    assert butler.get("deep_coadd.bbox") == coadd.bbox
    part = Box.factory[coadd.bbox.y.start + 3 : coadd.bbox.y.stop - 1, coadd.bbox.x.start + 2 : coadd.bbox.x.stop - 5]
    cutout = butler.get("deep_coadd.image", parameters={"bbox": part})
    np.testing.assert_array_equal(cutout.array, coadd.image.array[3:-1, 2:-5])


def test_a_registry_without_its_repository_is_named(empty_database: Server, made_again: Callable) -> None:
    """After the folder is removed, the registry that remains is not overwritten; the error says how to remove it."""
    survey = made_again(registry=empty_database.url)
    shutil.rmtree(repository_folder(survey))
    with pytest.raises(RepositoryError, match=r"registry postgresql.*holds a registry.*DROP SCHEMA tiny CASCADE"):
        create_repository(survey)
    assert not repository_folder(survey).exists()


@pytest.mark.parametrize("key", ["registry", "storage"])
def test_passwords_do_not_belong_into_a_survey(survey: Survey, key: str) -> None:
    """A password in an address is refused, and not repeated."""
    text = survey.path.read_text() + f"engine: {{{key}: 'postgresql://me:Tr0ub4dor@host/database'}}\n"
    survey.path.write_text(text)
    with pytest.raises(SurveyError, match=rf"engine\.{key}.*contains a password") as raised:
        load_survey(str(survey.path))
    assert "Tr0ub4dor" not in str(raised.value)
