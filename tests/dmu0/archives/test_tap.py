"""Tables from a TAP service that fails in every way it can."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from dmu0.archives.session import ArchiveError, LoginError, Patience, RateLimiter, make_session
from dmu0.archives.tap import run_query, save_table, without_masks
from dmu0.files.integrity import check_file

QUICK = Patience(attempts=3, first_delay=0.01, longest_delay=0.05, read_timeout=0.5, per_second=1000)
SOURCES = Table(
    {
        "ra": np.linspace(34, 35, 50),
        "dec": np.linspace(-5, -4, 50),
        "Jmag": MaskedColumn(np.linspace(10, 20, 50), mask=np.arange(50) % 10 == 0),
        "Nd": MaskedColumn(np.arange(50, dtype=np.int32), mask=np.arange(50) == 3),
        "Qflg": ["AAA"] * 50,
    }
)


@pytest.fixture
def ask(local_archive, tmp_path, monkeypatch):
    """A function that asks the local service, which has the faults given."""
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    local_archive.tables = lambda query: None if "nonsense" in query else SOURCES

    def run(*faults: str, query: str = "SELECT * FROM sources") -> Table:
        local_archive.faults["/tap/sync"] = list(faults)
        with make_session("ps1", "127.0.0.1", QUICK, RateLimiter(1000)) as session:
            return run_query(
                f"{local_archive.address}/tap", query, session=session, patience=QUICK, wait=lambda seconds: None
            )

    return run


def test_whole_table_without_masks(ask):
    """All rows come, missing values as NaN and -1, words as words."""
    table = ask()
    assert len(table) == 50
    assert not table.has_masked_columns
    assert np.isnan(table["Jmag"]).sum() == 5
    assert table["Nd"][3] == -1
    assert table["Qflg"].dtype.kind == "U"
    np.testing.assert_array_equal(table["ra"], SOURCES["ra"])


@pytest.mark.parametrize("fault", ["500", "503", "page", "drop", "slow", "cut silently", "empty"])
def test_every_fault_once_is_survived(ask, local_archive, fault):
    """Whatever goes wrong once, the next attempt has the table."""
    assert len(ask(fault)) == 50


@pytest.mark.parametrize("fault", ["500", "page", "drop", "cut silently"])
def test_every_fault_for_ever_is_an_error(ask, fault):
    """What goes wrong every time ends with an error that counts the attempts."""
    with pytest.raises(ArchiveError, match="after 3 attempts"):
        ask(*[fault] * 10)


def test_expired_login(ask):
    """A refused login is an error at once."""
    with pytest.raises(LoginError, match="netrc"):
        ask("401", "401", "401")


def test_wrong_queries_are_not_repeated(ask, local_archive):
    """A query that the service does not understand is an error at once, with the query and the service's words."""
    with pytest.raises(ArchiveError, match="no such column") as caught:
        ask(query="SELECT nonsense FROM sources")
    assert "SELECT nonsense" in str(caught.value)
    assert len(local_archive.queries) == 1


def test_tables_that_are_cut_short_are_queued(ask, local_archive):
    """A table above the limit of synchronous queries comes whole from a queued one."""
    local_archive.limit_at_once = 20
    assert len(ask()) == 50


def test_tables_that_stay_cut_short_are_refused(ask, local_archive):
    """A table above every limit is an error: half a catalogue would pass for a whole one."""
    local_archive.limit_at_once = local_archive.limit_as_job = 20
    with pytest.raises(ArchiveError, match="cut the table short"):
        ask()


def test_tables_are_saved_whole(ask, tmp_path):
    """A table is written with checksums under its name, or not at all."""
    path = tmp_path / "catalogues" / "ps1_8524.fits"
    save_table(ask(), path, check=lambda part: check_file(part, "ps1"))
    assert check_file(path, "ps1") == ""
    assert np.isnan(fits.getdata(path, 1)["Jmag"]).sum() == 5
    with pytest.raises(ArchiveError, match="is too warm"):
        save_table(ask(), tmp_path / "catalogues" / "other.fits", check=lambda part: "is too warm")
    assert [item.name for item in path.parent.iterdir()] == ["ps1_8524.fits"]


def test_objects_become_words():
    """Columns of words that may be missing are plain words."""
    table = without_masks(Table({"a": np.array(["x", None], dtype=object)}))
    assert table["a"].tolist() == ["x", ""]
