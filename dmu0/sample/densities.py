"""Densities of true sources on the patches of a simulated survey, beside those of its scene."""

from __future__ import annotations

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from dmu0.sample.make import field_centre, patches_half
from dmu0.sample.scene import Scene
from dmu0.surveys import Survey, load_survey
from dmu0.truth import is_star


def densities(survey: Survey, truth: Table) -> dict[str, tuple[float, float]]:
    """Numbers of stars and galaxies per square arcmin on the square around the patches of the first tract.

    Parameters
    ----------
    survey
        A simulated survey.
    truth
        Its true sources.

    Returns
    -------
    dict
        "stars" and "galaxies" -> the density, and the density that follows from the settings.
    """
    like = survey if survey.inputs.like is None else load_survey(survey.inputs.like)  # the survey with the same sky
    scene, half = Scene.from_changes(like.inputs.scene), patches_half(like)
    position = SkyCoord(truth["ra"], truth["dec"], unit="deg").transform_to(field_centre(like).skyoffset_frame())
    inside = (np.abs(position.lon.arcsec) < half) & (np.abs(position.lat.arcsec) < half)
    area = (2 * half / 60) ** 2
    stars = scene.star_density * (scene.star_faint - scene.star_bright) * (1 + scene.star_paired)
    galaxies = scene.galaxy_density + int(scene.clusters) * int(scene.cluster_members) / area
    star = is_star(truth)
    return {
        "stars": (float(np.sum(inside & star) / area), stars),
        "galaxies": (float(np.sum(inside & ~star) / area), galaxies),
    }
