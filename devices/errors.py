"""Errors of the devices room; most of them end the command line with exit code 4.

NasError
├── UsageError                    exit_code 2
│   └── InvalidPackError          an offline pack or its results cannot be used
└── DeviceError                   exit_code 4
    ├── DeviceUnavailableError    no such device here, or it cannot run this
    ├── InvalidDeviceFileError    a file of the device catalogue is not as it should be
    ├── UnsupportedTargetError    the runtime has no such precision, threads or provider
    ├── TooNoisyError             measured, but too uncertain to say anything
    └── ServerError               an agent and its server do not get along
        ├── ServerUnreachableError  no answer, or it is in trouble: later perhaps
        ├── ServerRefusedError      it understood and said no: trying again is no use
        └── LeaseLostError          the job is no longer this agent's: claim again
"""

from __future__ import annotations

from search_spaces.errors import NasError, UsageError


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


class ServerError(DeviceError):
    """An agent and its server do not get along."""


class ServerUnreachableError(ServerError):
    """No answer came, or the server is in trouble; later it may work."""


class ServerRefusedError(ServerError):
    """The server understood and refused; the same request will not be accepted later."""


class TokenRefusedError(ServerRefusedError):
    """The server does not know the token."""


class LeaseLostError(ServerError):
    """The job is no longer this agent's: its lease ran out, or the job is gone."""


class InvalidPackError(UsageError):
    """An offline pack or a file of results that is damaged, or does not belong here."""
