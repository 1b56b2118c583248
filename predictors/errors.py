"""Errors of the predictors room.

NasError
└── PredictorError                exit_code 4
    ├── NotCalibratedError        the device has no predictor for that space yet
    └── InvalidPredictorFileError a file that is no predictor, or of another version
"""

from __future__ import annotations

from search_spaces.errors import NasError


class PredictorError(NasError):
    """A prediction cannot be given."""

    exit_code = 4


class NotCalibratedError(PredictorError):
    """Nothing has been measured on that device for that space yet."""


class InvalidPredictorFileError(PredictorError):
    """The file is damaged, of another version, or no predictor at all."""
