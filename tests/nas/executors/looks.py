"""Evaluators that travel to worker processes: an even one, and one that dies there."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.trial import Estimate, Failure
from search_spaces.errors import NasError


@dataclass(frozen=True)
class Look:
    """A value out of the key alone, by arithmetic whose last bits depend on the order of sums.

    Attributes:
        offset: Added to each value, to tell two evaluators apart.
        metric: See `SlotEvaluator`.
    """

    offset: float = 0.0
    metric: str = "accuracy"

    def evaluate_one(self, key: str) -> Estimate | Failure:
        """Keys that begin with `bad` fail, `error` and `bug` raise."""
        if key.startswith("bad"):
            return Failure(f"{key} is no network")
        if key.startswith("error"):
            msg = "the images are gone; fetch them again"
            raise NasError(msg)
        if key.startswith("bug"):
            raise ZeroDivisionError(key)
        seed = np.frombuffer(key.encode(), dtype=np.uint8)
        values = np.random.default_rng(seed).standard_normal((64, 64))
        value = float((values @ values.T).sum()) + self.offset
        return Estimate(self.metric, value, 0.5, {"key": key})


@dataclass(frozen=True)
class Deadly:
    """Kills its own process when it looks at a key that begins with `deadly`.

    Attributes:
        folder: Where it leaves a trace of each look.
        deaths: How often it does so.
        metric: See `SlotEvaluator`.
    """

    folder: Path
    deaths: int
    metric: str = "accuracy"

    def evaluate_one(self, key: str) -> Estimate | Failure:
        """A look that survives says in how many processes it was taken."""
        tries = len(list(self.folder.glob(f"{key}.*")))
        (self.folder / f"{key}.{tries}").write_text(str(os.getpid()))
        if key.startswith("deadly") and tries < self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return Estimate(self.metric, 1.0, 0.0, {"tries": tries + 1})


@dataclass(frozen=True)
class Surroundings:
    """Says where it is evaluated.

    Attributes:
        metric: See `SlotEvaluator`.
    """

    metric: str = "accuracy"

    def evaluate_one(self, key: str) -> Estimate | Failure:
        """Process and threads, and what the process imports from."""
        facts = {
            "process": os.getpid(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "path": sys.path,
        }
        return Estimate(self.metric, 0.0, 0.0, facts)


@dataclass(frozen=True)
class Sleepy:
    """Takes a minute, after it has said in which process.

    Attributes:
        folder: Where it writes that.
        metric: See `SlotEvaluator`.
    """

    folder: Path
    metric: str = "accuracy"

    def evaluate_one(self, key: str) -> Estimate | Failure:
        """Only a killed parent ends it early."""
        (self.folder / f"{key}.pid").write_text(str(os.getpid()))
        time.sleep(60.0)
        return Estimate(self.metric, 0.0, 0.0)
