"""Datasets held in memory: read once, dropped when there is no room."""

from __future__ import annotations

from types import SimpleNamespace

from dmu4.butler.dataset_cache import DatasetCache, empty_caches


class Handle:
    """Counts how often its dataset is read."""

    def __init__(self, name: str, size: int) -> None:
        self.ref, self.dataset, self.read = SimpleNamespace(id=name), bytes(size), 0

    def get(self) -> bytes:
        """The dataset."""
        self.read += 1
        return self.dataset


def test_what_fits_is_read_once():
    """Datasets within the limit are read once; the one unused for longest is dropped, and read again."""
    recent = DatasetCache(10, len)
    one, two, three = (Handle(name, 5) for name in ("one", "two", "three"))
    for handle in (one, two, one, two, one):
        assert recent.get(handle) is handle.dataset
    assert (one.read, two.read) == (1, 1)
    recent.get(three)
    assert recent.find(two) is None
    assert recent.find(one) is one.dataset
    recent.get(two)
    assert two.read == 2


def test_what_does_not_fit_is_held_while_it_is_used():
    """A dataset above the limit takes the place of all others."""
    recent = DatasetCache(10, len)
    small, large = Handle("small", 5), Handle("large", 50)
    recent.get(small)
    recent.get(large)
    assert recent.find(large) is large.dataset
    assert recent.find(small) is None
    recent.get(small)
    assert recent.find(large) is None


def test_the_end_of_a_task_empties_every_cache():
    """Whatever caches a process has, nothing is held after their end; what is wanted again is read again."""
    one, two = DatasetCache(10, len), DatasetCache(10, len)
    handle = Handle("one", 5)
    one.get(handle)
    two.get(handle)
    empty_caches()
    assert (len(one), len(two)) == (0, 0)
    assert one.get(handle) is handle.dataset
    assert handle.read == 3


def test_a_part_of_a_dataset():
    """What is held, and counted, is what the reader of the cache makes of a dataset."""
    parts = DatasetCache(10, len, read=lambda handle: handle.get()[:4])
    one, two = Handle("one", 50), Handle("two", 60)
    for handle in (one, two, one, two):
        assert parts.get(handle) == bytes(4)
    assert (one.read, two.read) == (1, 1)
