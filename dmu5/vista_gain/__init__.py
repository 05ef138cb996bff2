"""What the VISTA bands add to the optical ones: photometric redshifts, and the separation of stars and galaxies."""
