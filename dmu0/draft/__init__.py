"""A survey file for a folder of FITS files: what the files are, on which pixels, and the text that says so."""
