"""Which predictor answers for a device, given what is known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from predictors.errors import NotCalibratedError
from predictors.models.analytic import Analytic
from predictors.models.few_shot import FewShot
from predictors.predictor import LatencyPredictor, LatencyTable
from predictors.roofline import Machine
from search_spaces import SPACES
from search_spaces.errors import UsageError
from search_spaces.space import SearchSpace

PACKS = Path(__file__).parent / "packs"


@lru_cache
def few_shot_pack(space: str) -> FewShot | None:
    """The prior that comes with the package for a space; None if there is none."""
    file = PACKS / f"few_shot_{space.replace('-', '_')}.npz"
    return FewShot.loads(file.read_bytes()) if file.is_file() else None


def device_predictor(
    space: SearchSpace,
    target_key: str,
    facts: Mapping[str, Any],
    table: LatencyTable | None,
    sources: Sequence[LatencyTable] = (),
) -> LatencyPredictor:
    """The best predictor of whole networks on a target that what is known allows.

    - No samples: the roofline of the device's published figures.
    - Samples: few-shot, its prior fitted on `sources` if these suffice (takes seconds), else the
      pack of the space.
    - Samples, but neither: the roofline, corrected by the samples.

    Args:
        space: The space.
        target_key: Key of the target.
        facts: What is known of the device, may be empty.
        table: Networks measured on the target, one or many; None for none.
        sources: Networks measured on other devices; those of this target are left out.

    Raises:
        NotCalibratedError: If there are neither samples nor facts that say how fast it is.
        UsageError: If the table is of another space or target.
    """
    if table is None or not len(table):
        if Machine.of(target_key, facts) is None:
            raise NotCalibratedError(_nothing_known(space.name, target_key))
        return Analytic.of(space, target_key, facts)
    prior = unadapted_predictor(space, target_key, sources)
    if prior is not None:
        return prior.adapt(table)
    return Analytic.of(space, target_key, facts).adapt(table)


def unadapted_predictor(
    space: SearchSpace, target_key: str, sources: Sequence[LatencyTable] = ()
) -> FewShot | None:
    """A few-shot predictor that saw no network of the target yet; it can `select` and `adapt`.

    Its prior is fitted on `sources` if these suffice (once for the same tables; takes seconds),
    else it is the pack of the space.

    Args:
        space: The space.
        target_key: Key of the target.
        sources: Networks measured on other devices; those of this target are left out.

    Returns:
        The predictor; None if there is neither enough to fit nor a pack.
    """
    usable = tuple(t for t in sources if t.space == space.name and t.target != target_key)
    prior = (_fitted(_Sources(space.name, usable)) if usable else None) or few_shot_pack(space.name)
    return None if prior is None else prior.on(target_key)


def how_to_narrow(space: str, target_key: str, measured: int) -> str:
    """What makes the interval of a prediction narrower, in one sentence with a command."""
    device = target_key.partition(":")[0]
    if measured:
        return (
            f"{measured} networks were measured on {device}; more make the interval narrower: "
            f"nas device calibrate {device} --space {space} --samples {max(2 * measured, 10)}"
        )
    return (
        f"nothing was measured on {device}; ten networks make the interval several times "
        f"narrower: nas device calibrate {device} --space {space} --samples 10 "
        "(from another machine: start `nas agent run` on the device first)"
    )


@dataclass(frozen=True, eq=False)
class _Sources:
    """Tables of one space, equal if their contents are: what fitted priors are kept by."""

    space: str
    tables: tuple[LatencyTable, ...]

    @cached_property
    def digest(self) -> str:
        found = hashlib.sha256(self.space.encode())
        for table in self.tables:
            found.update(f"{table.target} {table.genes.shape} ".encode())
            found.update(table.genes.tobytes())
            found.update(table.latency_ms.tobytes())
        return found.hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sources) and other.digest == self.digest


@lru_cache(maxsize=8)
def _fitted(sources: _Sources) -> FewShot | None:
    """A prior of the given sources; None if they are too few or share too few networks."""
    try:
        return FewShot.fit(SPACES.get(sources.space), sources.tables)
    except UsageError:
        return None


def _nothing_known(space: str, target_key: str) -> str:
    device = target_key.partition(":")[0]
    return (
        f"nothing is known of {device}: it is not in the catalogue with a peak rate or a memory "
        f"bandwidth, and no network of {space} was measured on it; run: nas device calibrate "
        f"{device} --space {space} --samples 10 (from another machine: start `nas agent run` on "
        "the device first)"
    )
