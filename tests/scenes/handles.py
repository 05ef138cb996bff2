"""Handles of datasets in memory, for tasks that read their inputs later."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Handle:
    """What a task gets for an input that is read later."""

    dataId: dict[str, object]
    value: object

    def get(self, *, component: str | None = None) -> object:
        """The dataset; a coadd has all that its component ``masked_image`` has."""
        assert component in (None, "masked_image")
        return self.value
