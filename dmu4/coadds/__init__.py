"""Coaddition: images are resampled, compared and averaged, together with their PSFs and noise."""
