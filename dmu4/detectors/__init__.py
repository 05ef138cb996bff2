"""Calibration of a detector image."""
