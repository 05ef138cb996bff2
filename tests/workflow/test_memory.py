"""Memory of notebooks: what arrays took goes back to the machine when they are freed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from workflow.execute import _settings

WORK = """
import numpy as np

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

before = resident()
np.ones(3_000_000)  # 24 MB, freed at once: from here on glibc keeps what is smaller in its heap
kept = []
images = []
for _ in range(80):
    images.append(np.ones(750_000))  # 6 MB, an image
    kept.append(bytearray(100_000))  # between images, and in use to the end
del images
print(resident() - before)
"""


def held(environment: dict[str, str]) -> float:
    """MB that a process holds after it has freed 480 MB of images."""
    command = [sys.executable, "-c", WORK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed")
def test_freed_images_are_returned() -> None:
    """With the settings of a notebook a process holds what it uses, without them hundreds of MB more."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    assert held(plain) > 300
    assert held(plain | _settings("id", stage=5)) < 30
