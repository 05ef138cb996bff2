"""The release page: one static site, without server and network."""
