"""Progress bars of notebooks, whose current state is also written to a file, for display in a terminal or a log.

The workflow names the file in the environment variable `FILE`; without it, these are ordinary tqdm bars.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm as _Bar

from dmu0.files.atomic import written_whole

FILE = "FUSION_PROGRESS"
"""Environment variable with the file for the state of a notebook's outermost bar."""

_BETWEEN = 0.5
"""Seconds between two updates of the file, which is read once per second."""


class tqdm(_Bar):
    """A bar of `tqdm.auto`, with the same parameters, that also writes its state to the file."""

    _noted = 0.0

    def display(self, *args: Any, **options: Any) -> Any:
        """Draw the bar, and write its state."""
        self._note()
        return super().display(*args, **options)

    def close(self) -> None:
        """Close the bar, and remove its state."""
        path = os.environ.get(FILE)
        if path and self._noted:
            Path(path).unlink(missing_ok=True)
            self._noted = 0.0
        super().close()

    def _note(self) -> None:
        """Write title, count, total and the remaining seconds; nested bars are not written."""
        path = os.environ.get(FILE)
        now = time.monotonic()
        if not path or self.disable or self.pos != 0 or now - self._noted < _BETWEEN:
            return
        state = self.format_dict
        rate = state["rate"] or (self.n / state["elapsed"] if state["elapsed"] > 0 else 0.0)
        left = (self.total - self.n) / rate if self.total and rate > 0 else None
        note = {"title": self.desc.rstrip(": "), "done": self.n, "total": self.total, "unit": self.unit, "left": left}
        with written_whole(Path(path)) as part:
            part.write_text(json.dumps(note))
        self._noted = now
