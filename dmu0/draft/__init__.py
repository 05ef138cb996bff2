"""Drafts of survey files for folders of FITS files: types of the files, their pixel grid, and the text of the draft."""
