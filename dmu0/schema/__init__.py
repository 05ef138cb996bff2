"""The columns of the catalogue: names, types, units and meanings, defined once for every stage and format."""
