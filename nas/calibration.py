"""Learning a device from a few whole networks: here, through an agent, or from a public table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from devices.benchmark import NETWORK_PLAN, Plan
from devices.errors import DeviceUnavailableError
from devices.measurement import Measurement
from nas.calibrate import measure_blocks
from nas.evaluators.latency import LatencyEvaluator
from nas.fleet import Fleet
from nas.knowledge import Knowledge
from nas.memory import stored_knowledge
from nas.places import Place
from nas.progress import Progress
from nas.remote import RemoteEvaluator
from nas.store import Store
from nas.trial import Failure, StoredMeasurement
from predictors.choose import unadapted_predictor
from predictors.errors import NotCalibratedError
from predictors.predictor import LatencyTable
from predictors.scores import coverage, mape_percent, spearman
from search_spaces.architecture import Architecture, IntArray, Population
from search_spaces.errors import UsageError
from search_spaces.moves import sample, unique_rows
from search_spaces.space import ChainSpace

_POOL = 2000
# Networks of a table on which an adapted predictor is judged.
_JUDGED = 2000


def calibrate(
    store: Store, place: Place, networks: int, progress: Progress, seed: int = 0
) -> tuple[Knowledge, dict[str, Any]]:
    """Measure what the predictor of a device needs, or take it from an imported table.

    Args:
        store: Where measurements go.
        place: Space and device.
        networks: Whole networks to know in the end.
        progress: Who is told.
        seed: Of the choice of networks.

    Returns:
        What is known then, and a summary for people (JSON values).

    Raises:
        DeviceUnavailableError: If the device can neither be measured nor has an imported table.
    """
    known = stored_knowledge(store, place)
    if place.reach == "none":
        if known.imported is None:
            name = place.device.name
            msg = (
                f"{name} is not within reach; run 'nas serve' here and 'nas agent run --server URL "
                f"--token T --name {name}' there, or measure a pack offline: nas profile pack "
                f"--device {name}"
            )
            raise DeviceUnavailableError(msg)
        return known, _from_table(known, networks, seed)
    if place.reach == "local" and isinstance(place.space, ChainSpace):
        progress.stage(1, 2, "measure blocks")
        measure_blocks(store, place.measuring(), place.space, "calibration", progress)
        known = stored_knowledge(store, place)
    missing = max(networks - len(known.by_network), 0)
    progress.stage(2, 2, "measure whole networks")
    if missing:
        pool = _pool(place, seed)
        archs = [pool[int(row)] for row in _choose(known, pool, missing, seed)]
        measure_networks(store, place, archs, NETWORK_PLAN, "calibration", progress)
        known = stored_knowledge(store, place)
    return known, {
        "target": known.target,
        "space": known.space.name,
        "model": known.predictor.model,
        "kind": "measured",
        "blocks": len(known.blocks),
        "networks": len(known.by_network),
        "spread_percent": 100.0 * known.predictor.typical_spread(known.space),
        "between_occasions_percent": 100.0 * known.between_sd,
        "reference_quiet_ms": known.quiet_ms,
    }


def measure_networks(
    store: Store, place: Place, archs: Sequence[Architecture], plan: Plan, owner: str,
    progress: Progress,
) -> list[Measurement | Failure]:  # fmt: skip
    """Measure networks here or through the agent; each is stored as it ends.

    Raises:
        DeviceUnavailableError: If the device is out of reach.
    """
    keys = [place.space.canonical_arch(arch).key for arch in archs]
    outcomes: dict[int, Measurement | Failure] = {}
    for position, outcome in _timed(store, place, keys, plan, owner, progress):
        # What an agent sends is stored when it arrives.
        if isinstance(outcome, StoredMeasurement):
            outcomes[position] = outcome.measurement
        else:
            outcomes[position] = outcome
            if isinstance(outcome, Measurement):
                store.add_measurements([outcome])
        progress.step(len(outcomes), len(keys))
    return [outcomes[position] for position in range(len(keys))]


def _timed(
    store: Store, place: Place, keys: list[str], plan: Plan, owner: str, progress: Progress
) -> Iterator[tuple[int, Measurement | StoredMeasurement | Failure]]:
    target = place.measuring()
    if place.reach == "local":
        yield from LatencyEvaluator(
            place.space, target, plan, owner,
            on_wait=lambda who: progress.note(f"waiting for {who}"),
        ).evaluate(keys)  # fmt: skip
    elif place.reach == "agent":
        yield from RemoteEvaluator(
            Fleet(store), place.space, target, plan, owner,
            on_wait=lambda who: progress.note(f"waiting for {who}"),
        ).evaluate(keys)  # fmt: skip
    else:
        msg = f"{place.device.name} is not within reach; start an agent on it (nas agent run)"
        raise DeviceUnavailableError(msg)


def _pool(place: Place, seed: int) -> Population:
    pool = sample(place.space, _POOL, np.random.default_rng(seed))
    return Population(place.space, pool.genes[unique_rows(pool.genes)])


def _choose(known: Knowledge, pool: Population, count: int, seed: int) -> IntArray:
    """The most telling networks; any, where nothing is known of the device."""
    count = min(count, len(pool))
    rng = np.random.default_rng(seed)
    try:
        return known.predictor.select(pool, count, rng)
    except NotCalibratedError:
        predictor = unadapted_predictor(known.space, known.target, known.sources)
        return np.arange(count) if predictor is None else predictor.select(pool, count, rng)


def _from_table(known: Knowledge, count: int, seed: int) -> dict[str, Any]:
    """Adapt to few rows of an imported table and judge the predictor on the others."""
    table = known.imported
    assert table is not None  # the caller looked
    base = unadapted_predictor(known.space, known.target, known.sources)
    if base is None:
        msg = (
            f"no predictor for {known.space.name} to adapt; import the tables of three or more "
            "other devices first: nas import latency-table"
        )
        raise UsageError(msg)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table))
    pool, judged = order[:_POOL], order[_POOL : _POOL + _JUDGED]
    if len(judged) == 0:
        pool, judged = order[: len(order) // 2], order[len(order) // 2 :]
    chosen = pool[base.select(Population(known.space, table.genes[pool]), count, rng)]
    adapted = base.adapt(replace(_rows(table, chosen), target=known.target))
    prediction = adapted.predict(Population(known.space, table.genes[judged]))
    truth_ms = table.latency_ms[judged]
    return {
        "target": known.target,
        "space": known.space.name,
        "model": adapted.model,
        "kind": "imported",
        "table": table.target,
        "networks": len(chosen),
        "source_devices": len(known.sources) or "packaged",
        "judged_networks": len(judged),
        "spearman": spearman(truth_ms, prediction.median_ms),
        "mape_percent": mape_percent(truth_ms, prediction.median_ms),
        "coverage_of_90_percent": coverage(truth_ms, prediction),
    }


def _rows(table: LatencyTable, rows: IntArray) -> LatencyTable:
    return replace(
        table, genes=table.genes[rows], latency_ms=table.latency_ms[rows],
        relative_se=table.relative_se[rows],
    )  # fmt: skip
