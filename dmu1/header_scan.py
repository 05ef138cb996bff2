"""Reading the headers of a FITS file without its pixels, since a survey has many files with few cards of interest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from astropy.io import fits

from obs_vista.cards import CardError, whole_number

BLOCK = 2880
"""Bytes in a FITS block."""

CARD = 80
"""Characters in a card."""

_MAX_BLOCKS = 400  # 14,400 cards: what claims a longer header is not a header
_STRUCTURE = re.compile(rb"(SIMPLE|XTENSION|BITPIX|NAXIS|NAXIS\d+|PCOUNT|GCOUNT)$")


class HeaderError(ValueError):
    """A file is not FITS, or is truncated."""


def read_headers(path: Path, wanted: Callable[[str], bool]) -> list[fits.Header]:
    """The requested cards of every HDU of a file, without reading pixels.

    Parameters
    ----------
    path
        Path of the file, which must not be compressed as a whole; images may be tile-compressed.
    wanted
        Function of a keyword (without HIERARCH) that returns whether to keep it. Cards that describe the layout of an
        HDU are always kept, comments and history never; long strings are whole.

    Returns
    -------
    headers
        One dictionary per HDU, in the order of the file.

    Raises
    ------
    HeaderError
        If the file is not FITS, a header does not end, or data are missing at the end of the file.
    """
    headers: list[fits.Header] = []
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        while (start := stream.tell()) < size:
            raw = _read_raw(stream, number=len(headers))
            if raw is None:
                break
            header = _parse(raw, wanted)
            end = start + len(raw) + _data_bytes(header, number=len(headers))
            if end > size:
                raise HeaderError(f"truncated: HDU {len(headers)} should end at byte {end}, the file at {size}")
            headers.append(header)
            stream.seek(end)
    if not headers:
        raise HeaderError("not FITS: the file is empty")
    return headers


def _read_raw(stream: BinaryIO, *, number: int) -> bytes | None:
    """The blocks of one header; None if only padding follows the last HDU."""
    blocks: list[bytes] = []
    while len(blocks) < _MAX_BLOCKS:
        block = stream.read(BLOCK)
        if not blocks:
            if number and not block.strip(b"\0 "):
                return None
            if not block.startswith(b"XTENSION" if number else b"SIMPLE  "):
                what = "not FITS: the file starts" if number == 0 else f"HDU {number} starts"
                raise HeaderError(f"{what} with {block[:20].decode('ascii', 'replace')!r}")
        if len(block) < BLOCK:
            raise HeaderError(f"truncated in the header of HDU {number}")
        blocks.append(block)
        if any(block[at : at + 8] == b"END     " for at in range(0, BLOCK, CARD)):
            return b"".join(blocks)
    raise HeaderError(f"the header of HDU {number} has no END")


def _parse(raw: bytes, wanted: Callable[[str], bool]) -> fits.Header:
    """The requested cards of a header, and those of its structure."""
    cards = []
    for at in range(0, len(raw), CARD):
        name = raw[at : at + 8].rstrip()
        if name == b"END":
            break
        if name == b"HIERARCH":
            keyword = raw[at + 9 : at + CARD].split(b"=", 1)[0].strip().decode("ascii", "replace")
        elif raw[at + 8 : at + 10] != b"= ":
            continue
        else:
            keyword = name.decode("ascii", "replace")
        if _STRUCTURE.match(name) or wanted(keyword):
            cards.append(fits.Card.fromstring(raw[at : _end_of_card(raw, at)]))
    return fits.Header(cards)


def _end_of_card(raw: bytes, at: int) -> int:
    """Where a card ends with its continuations, which follow text with an ampersand at its end."""
    end = at + CARD
    while raw[end - CARD : end].split(b"/")[0].rstrip().endswith(b"&'") and raw[end : end + 8] == b"CONTINUE":
        end += CARD
    return end


def _data_bytes(header: fits.Header, *, number: int) -> int:
    """Size in bytes of the data after a header, padded to whole blocks (FITS standard 4.0, equations 1 and 2)."""
    most = 2**40
    try:
        count = whole_number(header, "NAXIS", low=0, high=999)
        axes = [whole_number(header, f"NAXIS{axis}", low=0, high=most) for axis in range(1, count + 1)]
        values = whole_number(header, "PCOUNT", low=0, high=most, default=0)
        groups = whole_number(header, "GCOUNT", low=0, high=most, default=1)
        product = 1
        for length in axes:
            product *= length
        bits = abs(whole_number(header, "BITPIX", low=-64, high=64))
    except CardError as error:
        raise HeaderError(f"HDU {number} does not say how large it is: {error}") from error
    size = bits // 8 * groups * (values + product) if axes else 0
    return -(-size // BLOCK) * BLOCK
