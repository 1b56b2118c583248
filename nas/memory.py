"""What the store knows of a place: measurements, blocks, imported tables, facts."""

from __future__ import annotations

from collections.abc import Mapping

from devices.catalog import DEVICES
from devices.reference import reference_graph
from nas.calibrate import block_ratios
from nas.knowledge import Knowledge
from nas.places import IMPORTED, Place
from nas.store import Store
from predictors.predictor import LatencyTable
from search_spaces.space import ChainSpace

# With fewer imported devices than this the packaged predictors know more.
FEWEST_SOURCES = 3
# More teach little and cost much: fitting a prior takes seconds, quadratic in the devices.
MOST_SOURCES = 8


def stored_knowledge(
    store: Store, place: Place, *, up_to_id: int | None = None, stored_by: str | None = None,
    blocks: Mapping[str, float] | None = None,
) -> Knowledge:  # fmt: skip
    """All that is stored of a place.

    Args:
        store: The store.
        place: Space and target.
        up_to_id: Measurements up to this number only, such as a run's baseline.
        stored_by: Imported tables stored by this time only, such as when a run was opened.
        blocks: Block ratios just measured; read from the store if not given.
    """
    networks = []
    if place.target is not None:
        networks = store.measurements(
            place.key, kind="network", space=place.space.name, up_to_id=up_to_id,
            reference=reference_graph().digest,
        )  # fmt: skip
        if blocks is None and isinstance(place.space, ChainSpace):
            blocks = block_ratios(store, place.target)
    # A block table needs nobody else's numbers, and they take a moment to read.
    tables = [] if blocks else store.latency_tables(place.space.name, stored_by=stored_by)
    # Published tables name devices in ways of their own; the catalogue knows some of them.
    names = [alias for alias, name in DEVICES.aliases().items() if name == place.device.name]
    own = {place.key, *(IMPORTED + name for name in (place.device.name, *names))}
    sources = tuple(table for table in tables if table.target not in own)
    return Knowledge(
        space=place.space,
        target=place.key,
        blocks=blocks or {},
        networks=[row.measurement for row in networks],
        facts=place.device.facts,
        imported=next((table for table in tables if table.target in own), None),
        sources=_spread(sources) if len(sources) >= FEWEST_SOURCES else (),
    )


def _spread(sources: tuple[LatencyTable, ...]) -> tuple[LatencyTable, ...]:
    """Some of the tables, evenly over the order in which they were imported."""
    count = min(len(sources), MOST_SOURCES)
    return tuple(sources[round(i * (len(sources) - 1) / (count - 1))] for i in range(count))
