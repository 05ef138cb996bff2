"""Coverage maps: their area is that of the objects."""

from __future__ import annotations

from pathlib import Path

from astropy.io import fits
from astropy.table import Table

from dmu0.files.provenance import Provenance
from dmu5.sky_coverage import write_mocs

BANDS = ("g", "i", "vj", "vk")


def test_mocs_cover_the_objects(objects: Table, tmp_path: Path, provenance: Provenance) -> None:
    """Each band's MOC has about the area of the field; a band without data has none."""
    objects["vj_usable"] = False
    areas = write_mocs(objects, tmp_path, BANDS, provenance=provenance)
    assert 30 < areas["catalogue"] < 60  # the field is 36 arcmin^2, cells are 0.7
    assert areas["vj"] == 0
    assert (tmp_path / "g.moc.fits").exists()
    assert not (tmp_path / "vj.moc.fits").exists()
    with fits.open(tmp_path / "g.moc.fits") as hdus:
        headers = [hdu.header for hdu in hdus]
    assert any(header.get("GITHASH") == provenance.commit for header in headers)
