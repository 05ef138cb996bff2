"""Processes for work that Python itself would do one thread at a time."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def process_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of processes that start afresh: forked ones inherit the locks of a notebook's or a Butler's threads."""
    return ProcessPoolExecutor(workers, get_context("spawn"))
