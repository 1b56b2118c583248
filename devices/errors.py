"""Errors of the devices room; all of them end the command line with exit code 4.

NasError
└── DeviceError                   exit_code 4
    ├── DeviceUnavailableError    no such device here, or it cannot run this
    ├── InvalidDeviceFileError    a file of the device catalogue is not as it should be
    ├── UnsupportedTargetError    the runtime has no such precision, threads or provider
    └── TooNoisyError             measured, but too uncertain to say anything
"""

from __future__ import annotations

from search_spaces.errors import NasError


class DeviceError(NasError):
    """A device cannot give the answer; the request may be right."""

    exit_code = 4


class DeviceUnavailableError(DeviceError):
    """There is no such device within reach."""


class InvalidDeviceFileError(DeviceError):
    """A file of the device catalogue is not as it should be."""


class UnsupportedTargetError(DeviceError):
    """The device is there, but not with this runtime, precision, batch or thread count."""


class TooNoisyError(DeviceError):
    """The samples spread too widely for an answer."""
