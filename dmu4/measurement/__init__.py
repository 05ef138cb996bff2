"""Fluxes, shapes and classes of all objects of a patch."""
