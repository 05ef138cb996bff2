"""One detector image, calibrated."""
