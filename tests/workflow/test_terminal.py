"""What a person sees in the terminal of a release, and what is left when it is stopped; with real processes."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from dmu0.guard import marked_processes
from tests.scenes.toy_project import WRITE, command, environment, make, write_notebook
from workflow import progress
from workflow.records import lock_file, progress_file

COUNTING = """
import time
from dmu0.files.atomic import written_whole
from dmu0.progress import tqdm
from dmu0.surveys import load_survey
with written_whole(load_survey(survey).folders[3] / "table") as part:
    _ = part.write_text("half")
    for _ in tqdm(range(400), desc="counting"):
        time.sleep(0.1)
"""


class Terminal:
    """A pseudo-terminal with make in it, and all that it has shown."""

    def __init__(self, folder: Path, mark: str, *target: str) -> None:
        master, slave = pty.openpty()
        name, _, value = mark.partition("=")
        self.shown = ""
        self.process = subprocess.Popen(
            command(*target),
            cwd=folder,
            env=environment(folder) | {name: value, "COLUMNS": "200"},
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, args=(master,), daemon=True)
        self._reader.start()

    def _read(self, master: int) -> None:
        with open(master, "rb", buffering=0) as stream:
            try:
                while block := stream.read(4096):
                    self.shown += block.decode()
            except OSError:  # the other end is closed
                return

    def wait_for(self, text: str) -> None:
        """Wait until something is shown."""
        deadline = time.monotonic() + 120
        while not re.search(text, self.shown):
            assert time.monotonic() < deadline, self.shown
            assert self.process.poll() is None, self.shown
            time.sleep(0.05)

    def interrupt(self) -> float:
        """Press Ctrl-C; seconds until make has ended."""
        begun = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=60)
        seconds = time.monotonic() - begun
        self._reader.join(timeout=10)
        return seconds


def test_progress_a_running_step_and_ctrl_c(toy: Path, mark: str) -> None:
    """A bar of a notebook is seen in the terminal and in the status; Ctrl-C ends all and leaves nothing half."""
    write_notebook(toy / "dmu3/1_C.ipynb", reads="[dmu0/1_A](../dmu0/1_A.ipynb)", imports="", body=COUNTING)
    terminal = Terminal(toy, mark, "release", "SURVEY=toy")
    terminal.wait_for(r"\r\x1b\[K\[toy\] dmu3/1_C counting \d+ of 400, \d+ s left \(\d+ s\)")
    assert list(toy.rglob("*.part")), "the notebook has begun to write"
    state = make(toy, "status", "SURVEY=toy")
    assert re.search(r"dmu3/1_C +running .* counting \d+ of 400, \d+ s left", state.stdout), state.stdout
    seconds = terminal.interrupt()
    print(f"Ctrl-C ended the release in {seconds:.2f} s (promised is 1; here, on a busy machine, 5 is the limit)")
    assert seconds < 5
    assert terminal.process.returncode != 0
    said = terminal.shown[terminal.shown.rindex("of 400") :].replace("\r\x1b[K", "\n").splitlines()[1:]
    assert [line for line in said if line.strip()] == ["[toy] stopped; run it again to go on"]
    deadline = time.monotonic() + 10
    while marked_processes(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked_processes(mark) == []
    assert not list(toy.rglob("*.part"))
    assert not list(toy.rglob(".1_C.p*")), "neither note of progress nor journal is left"
    state = make(toy, "status", "SURVEY=toy")
    assert re.search(r"dmu3/1_C +to do", state.stdout), state.stdout


def test_a_log_gets_a_line_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal there are whole lines, and only of steps that run: those whose lock is held."""
    import fcntl

    monkeypatch.setattr(progress, "_IN_LOG", 0.05)
    records = {"dmu1/1_A": tmp_path / "1_A.ipynb", "dmu1/2_B": tmp_path / "2_B.ipynb"}
    note = {"title": "files", "done": 7, "total": 30, "unit": "file", "left": 345.0}
    for record in records.values():
        progress_file(record).write_text(json.dumps(note))
        lock_file(record).touch()
    log = io.StringIO()
    with lock_file(records["dmu1/1_A"]).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with progress.shown_progress(records, name="toy", stream=log):
            time.sleep(0.5)
    lines = log.getvalue().splitlines()
    assert len(lines) >= 2
    for line in lines:
        assert re.fullmatch(r"\[toy\] dmu1/1_A files 7 of 30, 6 min left \(\d s\)", line)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5990, "100 min"),
        (6000, "1.7 h"),
        (9e4, "25.0 h"),
        (864_000, "10 days"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    """Seconds, minutes and hours, each where it says most."""
    assert progress.in_words(seconds) == words


def test_clean_asks_for_a_survey(toy: Path) -> None:
    """`make clean-dmu2` removes nothing unless it is told of which survey."""
    result = make(toy, "clean-dmu2")
    assert result.returncode != 0
    assert "SURVEY=name-or-path" in result.stderr
    assert (toy / "dmu2/data/toy/number.txt").exists()
    assert make(toy, "clean-dmu2", "SURVEY=toy").returncode == 0
    assert not (toy / "dmu2/data/toy").exists()


def test_a_step_that_succeeds_clears_its_failure(toy: Path) -> None:
    """After a failure the last lines are the failure and what to do, once each; its pages go with the next success."""
    body = WRITE.format(stage=3, value=3)
    reads = "[dmu0/1_A](../dmu0/1_A.ipynb)"
    write_notebook(toy / "dmu3/1_C.ipynb", reads=reads, imports="", body=body + 'raise ValueError("seeing 9.9")')
    result = make(toy, "release", "SURVEY=toy")
    ours = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert re.fullmatch(r"\[toy\] failed: dmu3/1_C\.ipynb, .*ValueError: seeing 9\.9  \[read .*\]", ours[-2])
    assert ours[-1] == ("[toy] 3 of 4 steps are done, and stay so. Mend what failed, and give the same command again.")
    assert "Notebooks:" not in result.stdout
    runs = toy / "dmu3/data/toy/runs"
    assert sorted(path.name for path in runs.glob("*failed*")) == [
        f"1_C.failed.{kind}" for kind in ("html", "ipynb", "txt")
    ]
    assert "ValueError: seeing 9.9" in make(toy, "status", "SURVEY=toy").stdout
    write_notebook(toy / "dmu3/1_C.ipynb", reads=reads, imports="", body=body)
    assert make(toy, "release", "SURVEY=toy").returncode == 0
    assert not list(runs.glob("*failed*"))
