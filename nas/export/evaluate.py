"""What an exported network gets right on images, by ONNX Runtime alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import InvalidRequestError
from nas.supernet.checkpoint import scaled
from nas.supernet.inference import correct, open_session
from search_spaces.errors import UsageError


def evaluate_onnx(model: bytes, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Top-1 of an exported network.

    Args:
        model: A model that `export_trained` made: it says how its input is scaled.
        pixels: (n, 3, height, width) bytes, n >= 1.
        labels: (n,) classes, in the model's order.

    Returns:
        Share of images classified as their labels say [%].

    Raises:
        InvalidRequestError: If the model cannot be loaded, does not say how its input is scaled,
            or takes other images.
    """
    if not len(labels):
        msg = "an accuracy needs images; none were given"
        raise InvalidRequestError(msg)
    try:
        session = open_session(model)
    except Exception as error:
        # ONNX Runtime raises a dozen classes of its own for a file that is none.
        msg = f"ONNX Runtime cannot load the model: {error}; export it again"
        raise InvalidRequestError(msg) from error
    mean, std = _normalisation(session)
    try:
        right = correct(session, scaled(pixels, mean, std), labels)
    except (UsageError, ValueError) as error:
        msg = f"the model does not fit these images: {error}"
        raise InvalidRequestError(msg) from error
    return 100.0 * right / len(labels)


def _normalisation(session: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    about = session.get_modelmeta().custom_metadata_map
    try:
        normalise = json.loads(about["normalise"])
        return tuple(map(float, normalise["mean"])), tuple(map(float, normalise["std"]))
    except (KeyError, TypeError, ValueError) as error:
        msg = (
            f"the model does not say how its input is scaled (weights: {about.get('weights')}); "
            "only networks exported with trained weights can be evaluated"
        )
        raise InvalidRequestError(msg) from error
