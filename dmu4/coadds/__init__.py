"""Many images to one: resampled, compared, added, with their PSF and noise."""
