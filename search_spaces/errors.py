"""The root of the one exception hierarchy, and the errors of this room.

    NasError                          exit_code 1
    ├── UsageError                    exit_code 2   the caller asked for something impossible
    │   ├── InvalidArchitectureError  a genotype that is not of the space
    │   ├── UnknownNameError          no plug-in, device, run of that name
    │   └── InvalidGraphError         a layer graph that does not fit together
    ├── devices.errors                (exit_code 4)
    ├── predictors.errors
    └── nas.errors                    (exit_codes 2, 3, 5)

Every message says what was wrong, what is allowed, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NasError(Exception):
    """Anything the user can act on; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(NasError):
    """The request itself is wrong; nothing was started and nothing was stored."""

    exit_code = 2


class InvalidArchitectureError(UsageError):
    """A genotype, key or dictionary that does not describe a network of the space."""


class InvalidGraphError(UsageError):
    """A layer graph whose operators do not fit together."""


class UnknownNameError(UsageError):
    """A name that nothing answers to; the message lists the nearest known ones."""

    @classmethod
    def of(cls, what: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Build the message: `what` is the kind of thing, `known` all the names there are."""
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        return cls(f"unknown {what} {name!r}; {hint}known: {', '.join(names) or 'none'}")
