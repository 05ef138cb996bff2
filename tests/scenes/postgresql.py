"""A PostgreSQL server of its own for a test, started and stopped by it."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DEBIAN = "/usr/lib/postgresql"
"""Where Debian puts the programs of its versions."""


def programs() -> Path:
    """The folder of PostgreSQL's programs; the test is skipped where there are none."""
    found = sorted(Path(DEBIAN).glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not here: apt-get install postgresql")
    return found[-1].parent


def free_port() -> int:
    """A TCP port that nobody uses, below those that the system gives to outgoing connections and to who asks for any.

    One of the latter may be given to another process before the server that it is for has started.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as listener:
            if listener.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("of 100 TCP ports each is in use")


class Server:
    """A server in a temporary folder, which listens on this machine only.

    Parameters
    ----------
    folder
        The folder.
    password
        The password of its user, for which every connection is asked; empty: all are trusted.

    Attributes
    ----------
    port
        Its TCP port.
    """

    def __init__(self, folder: Path, password: str = "") -> None:
        self._bin, self._folder, self.port = programs(), folder, free_port()
        root = os.geteuid() == 0  # PostgreSQL refuses to run as root: its own user does
        self._as = ["runuser", "-u", "postgres", "--"] if root else []
        self.user = "postgres" if root else getpass.getuser()
        if root:
            shutil.chown(folder, "postgres")
        asked = ["--auth=trust"]
        if password:
            (folder / "password").write_text(password)
            (folder / "password").chmod(0o644)  # its own user reads it
            asked = ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        self._call("initdb", *asked, "--no-sync", "-U", self.user, "-D", str(folder / "data"))
        self.start()
        self.sql("CREATE EXTENSION btree_gist")

    @property
    def url(self) -> str:
        """The address of its database, as a survey's key engine.registry."""
        return f"postgresql+psycopg://{self.user}@127.0.0.1:{self.port}/postgres"

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as, str(self._bin / program), *arguments], capture_output=True, text=True, check=False, cwd="/"
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c fsync=off"
        log = str(self._folder / "log")
        self._call("pg_ctl", "-w", "-D", str(self._folder / "data"), "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, as by a crash of the machine."""
        self._call("pg_ctl", "-w", "-D", str(self._folder / "data"), "-m", "immediate", "stop")

    def kill(self) -> None:
        """Kill the process of one of its connections, after which it ends all of them and recovers."""
        process = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(process, signal.SIGQUIT)
        while Path(f"/proc/{process}").exists():
            time.sleep(0.05)

    def dump(self) -> str:
        """All that is in its database, as SQL."""
        done = subprocess.run(
            ["pg_dump", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "postgres"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sql(self, statement: str) -> str:
        """Execute a statement; returns the rows as text."""
        done = subprocess.run(
            ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", "postgres", "-Atc", statement],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def postgresql_server(password: str = "") -> Iterator[Server]:
    """A server that is stopped at the end; with a password, $PGPASSWORD has to be set to it."""
    programs()
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: names of sockets may have a hundred characters
    server = Server(folder, password)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
