"""What a step costs: CPU time and memory of the processes that it started."""

from __future__ import annotations

import subprocess
import sys

from workflow.execute import _children
from workflow.records import Record


def test_cost_is_that_of_ended_processes() -> None:
    """A process that takes 0.4 CPU s and 300 MB, and has ended, counts; so does one that it started itself."""
    work = "import time; kept = bytearray(300_000_000)\nwhile time.process_time() < 0.4: pass"
    before, _ = _children()
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}], check=True)"
    subprocess.run([sys.executable, "-c", nested], check=True)
    after, memory = _children()
    assert 0.4 <= after - before < 5
    assert memory >= 300


def test_cost_in_words() -> None:
    """CPU time and memory are shown where they were recorded; records without them are read as before."""
    assert Record("a", "2026-01-01T00:00:00+00:00", 12.5, cpu_seconds=31.6, memory=1234.5).cost == "32 CPU s, 1234 MB"
    assert Record("a", "2026-01-01T00:00:00+00:00", 12.5).cost == ""
