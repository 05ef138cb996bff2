"""Downloads of one file, from a server that fails in every way it can."""

from __future__ import annotations

import hashlib
import itertools
import os
import time

import pytest

from dmu0.archives.session import (
    AbsentError,
    ArchiveError,
    LoginError,
    Patience,
    RateLimiter,
    find_login,
    make_session,
    same_domain,
    shown_address,
)
from dmu0.archives.transfer import download_file
from dmu0.files.atomic import unfinished

FILE = bytes(range(256)) * 4000  # about a megabyte
QUICK = Patience(attempts=4, first_delay=0.01, longest_delay=0.05, read_timeout=0.5, per_second=1000)


@pytest.fixture
def download(local_archive, tmp_path, monkeypatch):
    """A function that downloads ``/file`` with given faults; it returns the result, the delays and the rejections."""
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    local_archive.files["/file"] = FILE
    target = tmp_path / "data" / "file.fits"

    def run(*faults: str, patience: Patience = QUICK, archive: str = "hsc"):
        local_archive.faults["/file"] = list(faults)
        delays: list[float] = []
        rejected: list[str] = []

        def check(path) -> str:
            return "" if path.read_bytes() == local_archive.files["/file"] else "is not what it should be"

        def reject(path, reason: str) -> None:
            rejected.append(reason)
            path.unlink()

        session = make_session(archive, "127.0.0.1", patience, RateLimiter(patience.per_second))
        with session:
            received = download_file(
                session,
                f"{local_archive.address}/file",
                target,
                check=check,
                reject=reject,
                patience=patience,
                archive=archive,
                wait=delays.append,
            )
        return received, delays, rejected

    run.target = target
    return run


def leftovers(target) -> list[str]:
    """Files beside the target."""
    return sorted(path.name for path in target.parent.glob("*") if path != target) if target.parent.exists() else []


def test_good_server(download):
    """A file comes in one request, whole, with its digest, and nothing stays beside it."""
    received, delays, rejected = download()
    assert received == (len(FILE), hashlib.sha256(FILE).hexdigest(), 1)
    assert download.target.read_bytes() == FILE
    assert (delays, rejected, leftovers(download.target)) == ([], [], [])


@pytest.mark.parametrize(
    "fault",
    [
        *("500", "503", "429", "page", "page as file", "drop", "slow", "empty"),
        *("truncated", "announces more", "cut silently", "damaged", "no tag"),
    ],
)
def test_every_fault_once_is_survived(download, fault):
    """Whatever goes wrong once, the second or third attempt has the whole file."""
    received, delays, _ = download(fault)
    assert download.target.read_bytes() == FILE
    assert received.attempts in (2, 3)
    assert len(delays) == received.attempts - 1
    assert leftovers(download.target) == []


@pytest.mark.parametrize("fault", ["500", "page as file", "drop", "cut silently", "damaged"])
def test_every_fault_for_ever_is_an_error(download, fault):
    """What goes wrong every time ends with an error that says what and how often; no bad file gets the name."""
    with pytest.raises(ArchiveError, match="after 4 attempts"):
        download(*[fault] * 10)
    assert not download.target.exists()


def test_broken_connections_are_resumed(download, local_archive):
    """After a broken connection only the rest is asked for."""
    download("truncated", "truncated")
    ranges = [wanted for _, wanted in local_archive.asked]
    assert ranges[0] == ""
    assert [int(wanted.removeprefix("bytes=").rstrip("-")) > 0 for wanted in ranges[1:]] == [True, True]


def test_a_killed_process_is_resumed(download, local_archive):
    """What an earlier process left is continued, or recognised as complete."""
    with pytest.raises(ArchiveError):
        download("truncated", patience=Patience(attempts=1, per_second=1000))
    assert leftovers(download.target) == [unfinished(download.target).name, ".file.fits.tag"]
    download()
    assert local_archive.asked[-1][1].startswith("bytes=")
    download.target.rename(unfinished(download.target))
    download()
    assert download.target.read_bytes() == FILE


def test_a_file_that_changed_is_not_mixed(download, local_archive):
    """If the archive's file is another one by now, it is fetched from its beginning."""
    with pytest.raises(ArchiveError):
        download("truncated", patience=Patience(attempts=1, per_second=1000))
    local_archive.files["/file"] = FILE[::-1]
    local_archive.tag = '"two"'
    received, _, rejected = download()
    assert download.target.read_bytes() == FILE[::-1]
    assert (received.attempts, rejected) == (1, [])


@pytest.mark.parametrize("fault", ["no ranges", "wrong range"])
def test_servers_that_cannot_resume(download, fault):
    """A server that ignores the range, or sends another, does no harm."""
    download("truncated", fault)
    assert download.target.read_bytes() == FILE


def test_a_part_longer_than_the_file_is_dropped(download):
    """What is longer than the archive's file cannot be a part of it."""
    part = unfinished(download.target)
    part.parent.mkdir()
    part.write_bytes(bytes(2 * len(FILE)))
    download()
    assert download.target.read_bytes() == FILE


def test_bad_files_are_rejected_and_fetched_again(download):
    """A complete file that does not pass its check is put aside with the reason, each time."""
    _, _, rejected = download("cut silently", "damaged")
    assert rejected == ["is not what it should be"] * 2


@pytest.mark.parametrize("fault", ["401", "403", "login page", "login page as file"])
def test_login_is_asked_for_once(download, local_archive, fault):
    """A missing or expired login is an error at once, with what to do; asking again would not help."""
    with pytest.raises(LoginError, match="netrc"):
        download(*[fault] * 5)
    assert len(local_archive.asked) == 1
    if fault == "401":
        with pytest.raises(LoginError, match="HSC_SSP_USER and HSC_SSP_PASSWORD"):
            download(fault)


def test_absent_files_are_absent(download, local_archive):
    """404 is not asked for again."""
    del local_archive.files["/file"]
    with pytest.raises(AbsentError, match="HTTP 404"):
        download()
    assert len(local_archive.asked) == 1


def test_delays_grow_and_servers_are_obeyed(download):
    """Each delay is about twice the last; Retry-After is kept to, within limits."""
    patience = Patience(attempts=5, first_delay=1.0, longest_delay=100.0, read_timeout=5, per_second=1000)
    _, delays, _ = download("500", "500", "500", patience=patience)
    for earlier, later in itertools.pairwise(delays):
        assert 1.2 < later / earlier < 3.1
    _, delays, _ = download("503", patience=patience)
    assert delays == [7.0]
    assert patience.delay(50) == 100.0


def test_requests_are_kept_apart():
    """Requests to one host are a fixed time apart; other hosts do not wait."""
    limiter = RateLimiter(per_second=50)
    start = time.monotonic()
    for _ in range(6):
        limiter.wait("http://one/a")
    assert time.monotonic() - start >= 5 / 50
    limiter = RateLimiter(per_second=0.2)  # 5 s apart: however busy the machine is, not to wait is told from waiting
    limiter.wait("http://one/a")
    start = time.monotonic()
    limiter.wait("http://two/a")
    assert time.monotonic() - start < 2.5


def test_login_from_the_environment_or_netrc(download, local_archive, tmp_path, monkeypatch):
    """The environment counts before netrc; without either there is no login, and none is made up."""
    assert find_login("hsc", "127.0.0.1") is None
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password secret1\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert find_login("hsc", "127.0.0.1") == ("ann", "secret1")
    monkeypatch.setenv("HSC_SSP_USER", "bob")
    monkeypatch.setenv("HSC_SSP_PASSWORD", "secret2")
    assert find_login("hsc", "127.0.0.1") == ("bob", "secret2")
    download()
    assert "Basic Ym9iOnNlY3JldDI=" in local_archive.authorizations
    monkeypatch.setenv("RSP_TOKEN", "token3")
    download(archive="lsst")
    assert "Bearer token3" in local_archive.authorizations
    netrc.write_text("machine\n")
    with pytest.raises(LoginError, match="netrc cannot be used"):
        find_login("gaia", "127.0.0.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("archive.eso.org", "dataportal.eso.org", True),
        ("vsa.roe.ac.uk", "tap.roe.ac.uk", True),
        ("vsa.roe.ac.uk", "tap.rse.ac.uk", False),
        ("eso.org", "evil.org", False),
        ("data.lsst.cloud", "data.lsst.cloud.evil.org", False),
        ("127.0.0.1", "10.0.0.1", False),
        ("localhost", "localhost", True),
        ("", "archive.eso.org", False),
    ],
)
def test_hosts_of_one_archive(one: str, other: str, same: bool) -> None:
    """Siblings in a domain belong together; what shares only the last name, or an address in numbers, does not."""
    assert same_domain(one, other) is same
    assert same_domain(other, one) is same


def test_addresses_are_shown_without_keys() -> None:
    """Names of files stay, signatures, tokens and keys go, wherever in the query they are."""
    shown = "http://a/b?file=%2Fd.fit&MFID=7&X-Amz-Signature=***&x=1&access_token=***#top"
    assert shown_address(shown.replace("***", "s3cr=et/")) == shown
    assert shown_address("http://a/token/b?rID=0") == "http://a/token/b?rID=0"


def test_passwords_are_in_no_message(download, monkeypatch):
    """Errors name the variables, never what is in them."""
    monkeypatch.setenv("HSC_SSP_USER", "bob")
    monkeypatch.setenv("HSC_SSP_PASSWORD", "very-secret")
    with pytest.raises(LoginError) as caught:
        download("401")
    assert "very-secret" not in str(caught.value)
    assert "very-secret" not in repr(caught.value.__cause__)


def test_impossible_patience():
    """No attempts at all, or no requests at all, are refused."""
    with pytest.raises(ValueError, match="attempts must be positive; got 0"):
        Patience(attempts=0)
    assert os.environ.get("HSC_SSP_PASSWORD") != "very-secret"
