"""The sky maps: tracts, patches and cells."""
