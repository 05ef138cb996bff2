"""Fluxes, shapes and classification of all objects of a patch."""
