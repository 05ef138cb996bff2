"""The catalogue: how it is made, and how its users open it."""

from dmu5.catalogue import Catalogue, open_catalogue
from dmu5.dust import extinction, extinction_coefficient
from dmu5.magnitudes import flux_error, magnitude, magnitude_error, signal_to_noise

__all__ = [
    "Catalogue",
    "extinction",
    "extinction_coefficient",
    "flux_error",
    "magnitude",
    "magnitude_error",
    "open_catalogue",
    "signal_to_noise",
]
