"""Errors of the search room.

NasError
├── InvalidRequestError           exit_code 2   a request that cannot be meant
├── StoreError                    exit_code 1   the database refused, is newer, or is damaged
│   └── StaleLeaseError           the lease on a job ran out or was another's
├── NoFeasibleArchitectureError   exit_code 3   nothing in the space meets the budget
├── VerificationFailedError       exit_code 5   promising networks did not hold
├── MissingExtraError             exit_code 1   an optional package is needed; says what to install
├── DatasetError                  exit_code 1   images cannot be found or read
├── CheckpointError               exit_code 1   a file of weights is truncated, foreign or misfits
└── InterruptedRunError           exit_code 130 stopped by the user; everything is saved
"""

from __future__ import annotations

from search_spaces.errors import NasError, UsageError


class InvalidRequestError(UsageError):
    """A request that cannot be meant: a budget without a unit, an unknown field."""


class StoreError(NasError):
    """The database cannot be opened, written or understood."""


class StaleLeaseError(StoreError):
    """The lease on a job has run out, or belongs to another claim; claim a job again."""


class NoFeasibleArchitectureError(NasError):
    """No network of the space meets the limits; the nearest is in the message."""

    exit_code = 3


class VerificationFailedError(NasError):
    """Networks predicted and measured within the budget did not hold when verified."""

    exit_code = 5


class InterruptedRunError(NasError):
    """The user stopped the run; `nas run resume` goes on from here."""

    exit_code = 130


class MissingExtraError(NasError):
    """An optional package is not installed; the message names the extra that brings it."""


class DatasetError(NasError):
    """Images to train on cannot be found or read."""


class CheckpointError(NasError):
    """A file of weights or of a training's state is truncated, foreign, or of something else."""
