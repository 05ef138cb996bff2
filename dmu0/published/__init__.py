"""Coadds as others publish them."""
