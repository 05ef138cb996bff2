"""Peaks and footprints in all bands of a patch."""
