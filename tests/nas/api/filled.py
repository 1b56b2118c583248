"""A store in which a made-up device was calibrated, as if an agent had measured it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from devices.device import Device
from devices.measurement import Measurement
from devices.reference import reference_graph
from nas.calibrate import block_key
from nas.service import Service
from nas.settings import Settings
from search_spaces.architecture import Architecture

if TYPE_CHECKING:
    from tests.conftest import World

TOKEN = "a-token-of-the-tests-0123"
BARE = "bare"
NETWORKS = 12


def fill(home: Path, world: World) -> list[str]:
    """Store blocks and networks of the made-up device, and a device nothing is known of.

    Returns:
        Keys of the networks.
    """
    keys = [arch.key for arch in world.networks(NETWORKS).architectures()]
    service = Service.open(Settings(home))
    try:
        service.store.add_device(Device(world.target.split(":")[0], {"system": "made up"}))
        service.store.add_device(Device(BARE))
        service.store.add_measurements(measured_blocks(world))
        measure(service, world, keys)
    finally:
        service.store.close()
    return keys


def measure(service: Service, world: World, keys: list[str], slower: float = 1.0) -> None:
    """Store one measurement of each network."""
    rng = np.random.default_rng(1)
    found = []
    for key in keys:
        digest = world.space.graph(Architecture.parse(key)).digest
        taken = world.measure(key, rng, slower=slower)
        found.append(replace(taken, digest=digest, reference=reference_graph().digest))
    service.store.add_measurements(found)


def measured_blocks(world: World) -> list[Measurement]:
    """Each distinct block once."""
    reference = reference_graph().digest
    return [
        replace(
            world.measurement(block_key(digest), ratio, count=3), kind="block", digest=digest,
            reference=reference,
        )
        for digest, ratio in world.ratio_by_digest.items()
    ]  # fmt: skip
