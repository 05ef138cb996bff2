"""Readers of published coadds."""
