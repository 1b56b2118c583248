"""Predictors kept loaded: building one reads every sample of its device, asking it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.prediction import prediction_rows
from nas.service import Service
from predictors.predictor import LatencyPredictor
from search_spaces import SPACES
from search_spaces.architecture import Architecture

# A predictor that is registered in the store is replaced as soon as a newer one is; others follow
# from single samples and tables, and lag by so much at most while something is being stored.
LAG_S = 5.0
# Loaded at the same time; a request for one more drops the one that was loaded first.
_MOST_LOADED = 64

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(slots=True)
class _Loaded:
    """A predictor, and when it was known to be the present one.

    Attributes:
        predictor: What answers.
        measured_networks: What it learned from on its target.
        registered: Digest of the newest predictor in the store when it was built.
        built_at: On the monotonic clock [s].
        stamp: Of the database when it was last known to be the present one.
        renewing: Held by the one thread that builds the next.
    """

    predictor: LatencyPredictor
    measured_networks: int
    registered: str | None
    built_at: float
    stamp: Stamp
    renewing: threading.Lock = field(default_factory=threading.Lock)


class Predictors:
    """Answers `predict` from loaded predictors, one for each space and device.

    Whether one is still the present one costs two `stat` calls while nothing is stored, and one
    query after something was. Threads may share it.

    Attributes:
        service: Builds predictors from the store.
        clock: Seconds that never run backwards.
    """

    def __init__(self, service: Service, clock: Callable[[], float] = time.monotonic) -> None:
        self.service = service
        self.clock = clock
        self._loaded: dict[tuple[str, str], _Loaded] = {}
        self._first = threading.Lock()
        self._keeping = threading.Lock()
        path = service.settings.database
        self._files = (path, path.with_name(f"{path.name}-wal"))

    def rows(self, keys: Sequence[str], device: str) -> list[dict[str, Any]]:
        """Predict as `Service.predict` does, in the order of the keys.

        Raises:
            InvalidArchitectureError: If a key is no network of its space; the gene is named.
            UnknownNameError: If a space or the device is unknown.
            NotCalibratedError: If nothing is known of the device.
        """
        places: dict[str, list[int]] = {}
        archs = [Architecture.parse(key) for key in keys]
        for position, arch in enumerate(archs):
            places.setdefault(arch.space, []).append(position)
        populations = {
            name: SPACES.get(name).population([archs[position] for position in positions])
            for name, positions in places.items()
        }
        rows: list[dict[str, Any]] = [{} for _ in keys]
        for name, positions in places.items():
            loaded = self._current(name, device)
            found = prediction_rows(loaded.predictor, populations[name], loaded.measured_networks)
            for position, row in zip(positions, found, strict=True):
                rows[position] = row
        return rows

    def _current(self, space: str, device: str) -> _Loaded:
        key, stamp = (space, device), self._stamp()
        loaded = self._loaded.get(key)
        if loaded is None:
            with self._first:
                # Another thread may have built it while this one waited.
                loaded = self._loaded.get(key)
                if loaded is None:
                    loaded = self._keep(key, stamp)
            return loaded
        if loaded.stamp == stamp or not loaded.renewing.acquire(blocking=False):
            return loaded
        try:
            newest = self.service.store.latest_predictor(loaded.predictor.target, space)
            if newest != loaded.registered or self.clock() - loaded.built_at > LAG_S:
                return self._keep(key, stamp)
            return loaded
        finally:
            loaded.renewing.release()

    def _keep(self, key: tuple[str, str], stamp: Stamp) -> _Loaded:
        space, device = key
        known = self.service.knowledge(space, device)
        registered = self.service.store.latest_predictor(known.target, space)
        loaded = _Loaded(known.predictor, len(known.by_network), registered, self.clock(), stamp)
        with self._keeping:
            while len(self._loaded) >= _MOST_LOADED and key not in self._loaded:
                del self._loaded[next(iter(self._loaded))]
            self._loaded[key] = loaded
        return loaded

    def _stamp(self) -> Stamp:
        """Changes with every commit: SQLite writes to the file or to its log."""
        stamp = []
        for file in self._files:
            try:
                status = file.stat()
                stamp.append((status.st_mtime_ns, status.st_size, status.st_ino))
            except FileNotFoundError:
                stamp.append((0, 0, 0))
        return tuple(stamp)
