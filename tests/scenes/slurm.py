"""A Slurm cluster of one node, this machine: its daemons are started and stopped by the test, without systemd."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmu0.processes import guarded_environment
from dmu4.execution.bps import find_site
from tests.scenes.postgresql import free_port

_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=6000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not here: apt-get install slurm-wlm munge")
    return found


def _wait(what: str, ready, log: Path) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline, f"{what}: {log.read_text() if log.exists() else 'no log'}"
        time.sleep(0.2)


def small_site(folder: Path) -> Path:
    """The shipped site file for Slurm, with as much as this machine has: two cores and 4 GB."""
    site = folder / "site.yaml"
    text = find_site("slurm").read_text()
    for old, new in (("_node: 8", "_node: 2"), ("_node: 72", "_node: 4"), ("12:00:00", "00:30:00")):
        assert old in text
        text = text.replace(old, new)
    site.write_text(text)
    return site


@contextlib.contextmanager
def slurm_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cluster whose configuration is in the environment; its folder with the logs."""
    munged, slurmctld, slurmd = map(_program, ("munged", "slurmctld", "slurmd"))
    sinfo = _program("sinfo")
    if os.geteuid() != 0:
        pytest.skip("slurmd runs jobs as root only")
    folder = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))
    folder.chmod(0o755)  # munged refuses a socket in a folder that others cannot enter
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    names = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser(), "cpus": os.cpu_count()}
    text = _CONFIG.format(folder=folder, port=free_port(), node_port=free_port(), **names)
    (folder / "slurm.conf").write_text(text)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    commands = {
        "munged": [munged, "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.sock",
                   f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed"],
        "slurmctld": [slurmctld, "-D", "-c"],
        "slurmd": [slurmd, "-D", "-c"],
    }  # fmt: skip
    with guarded_environment() as environment:  # whatever ends the test ends the daemons

        def idle() -> bool:
            done = subprocess.run([sinfo, "-h", "-o", "%t"], capture_output=True, text=True, check=False)
            return "idle" in done.stdout

        running = []
        for name, command in commands.items():
            with (folder / f"{name}.out").open("w") as log:
                running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            if name == "munged":
                _wait("munged", (folder / "munge.sock").exists, folder / "munged.out")
        try:
            _wait("slurm", idle, folder / "slurmctld.log")
            yield folder
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait()
            shutil.rmtree(folder, ignore_errors=True)
