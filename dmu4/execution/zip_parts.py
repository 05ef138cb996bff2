"""A correction for reading several members of a zip file in turn, as the middleware does for its graphs.

Up to Python 3.12.8 and 3.13.1 a relative seek in a stored member starts where the last read of *any* member ended, so
that wrong bytes are read: https://github.com/python/cpython/issues/127847, fixed upstream by
https://github.com/python/cpython/pull/127856. The same correction is made here if it is needed.
"""

from __future__ import annotations

import io
import os
import zipfile


def reads_parts_of_zips() -> bool:
    """Whether this Python reads the right bytes from two members of a zip file in turn."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", "123")
        archive.writestr("b", "456")
    with zipfile.ZipFile(file) as archive, archive.open("a") as a, archive.open("b") as b:
        a.read(1)
        b.seek(1)
        return b.read(1) == b"5"


def mend_zip_reading() -> bool:
    """Make this process read members of zip files correctly.

    Returns
    -------
    bool
        Whether a correction was needed.

    Raises
    ------
    RuntimeError
        If this Python reads them incorrectly for another reason.
    """
    if reads_parts_of_zips():
        return False
    shared_file = zipfile._SharedFile
    seek = shared_file.seek

    def seek_from_own_position(self: zipfile._SharedFile, offset: int, whence: int = os.SEEK_SET) -> int:
        return seek(self, self._pos + offset) if whence == os.SEEK_CUR else seek(self, offset, whence)

    shared_file.seek = seek_from_own_position
    if not reads_parts_of_zips():
        shared_file.seek = seek
        raise RuntimeError("This Python reads parts of zip files wrongly: use 3.12.9, 3.13.2 or later.")
    return True
