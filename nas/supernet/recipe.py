"""How a super-network is trained, as a value: stored with every checkpoint, NumPy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from search_spaces.architecture import Architecture, IntArray, Population
from search_spaces.costs import costs
from search_spaces.errors import UsageError
from search_spaces.moves import sample
from search_spaces.space import ChainSpace, SearchSpace

# Streams of randomness, told apart by the second word of a seed.
_ORDER, _PICK, _POOL, _AUGMENT = range(4)
# Networks among which the largest and the smallest are looked for.
_CANDIDATES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Sandwich training with in-place distillation.

    Each step trains the largest network on the labels and, on the largest one's answers, the
    smallest and a few random ones; the losses are averaged. Random networks are drawn from a pool
    that changes a little each epoch, so that an accelerator can prepare each network once.

    Source: Yu et al., "BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage
    Models", ECCV 2020, section 3 (sandwich rule, in-place distillation).

    Attributes:
        epochs: Passes over the training images; the rate falls to 0 at the end of the last.
        batch: Images of one step.
        rate: Highest learning rate, for this batch.
        warmup_epochs: Epochs in which the rate rises from 0.
        momentum: Nesterov's.
        weight_decay: On kernels and matrices; scales, shifts and biases have none.
        label_smoothing: For the largest network; the others learn from its answers.
        clip: Longest gradient.
        random_networks: Random networks of each step.
        pool: Networks these are drawn from.
        refreshed: Networks of the pool replaced after each epoch.
        ema: Share of the old in the moving average of the weights that is evaluated and kept; 0
            for none.
        crop_padding: Pixels by which a picture may be shifted.
        cutout: Side of the square that is blanked; 0 for none.
        calibration_images: Training images by which a network's batch norms are recalibrated.
        seed: Of all randomness.
    """

    epochs: int = 150
    batch: int = 1024
    rate: float = 0.5
    warmup_epochs: float = 3.0
    momentum: float = 0.9
    weight_decay: float = 2e-4
    label_smoothing: float = 0.1
    clip: float = 2.0
    random_networks: int = 2
    pool: int = 64
    refreshed: int = 2
    ema: float = 0.0
    crop_padding: int = 4
    cutout: int = 8
    calibration_images: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        positive = ("epochs", "batch", "rate", "clip", "pool", "calibration_images")
        wrong = [name for name in positive if not getattr(self, name) > 0]
        wrong += [
            name
            for name in ("momentum", "ema", "label_smoothing")
            if not 0 <= getattr(self, name) < 1
        ]
        wrong += [
            name
            for name in ("warmup_epochs", "weight_decay", "random_networks", "refreshed",
                         "crop_padding", "cutout", "seed")
            if getattr(self, name) < 0
        ]  # fmt: skip
        if self.random_networks > self.pool:
            wrong.append("random_networks")
        if wrong:
            msg = (
                f"recipe: {wrong[0]} is {getattr(self, wrong[0])}; counts, rates and sizes must "
                "not be negative, shares lie in [0, 1), random_networks is at most pool"
            )
            raise UsageError(msg)

    def rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a step: a linear rise, then half a cosine to 0.

        Example:
            >>> recipe = Recipe(epochs=10, rate=1.0, warmup_epochs=2.0)
            >>> [round(recipe.rate_at(step, 10), 2) for step in (0, 10, 20, 60, 100)]
            [0.05, 0.55, 1.0, 0.5, 0.0]
        """
        rise = self.warmup_epochs * steps_per_epoch
        if step < rise:
            return self.rate * (step + 1) / rise
        span = max(self.epochs * steps_per_epoch - rise, 1.0)
        return self.rate * 0.5 * (1.0 + math.cos(math.pi * min((step - rise) / span, 1.0)))

    def order(self, epoch: int, count: int) -> IntArray:
        """(count,) the images' order in an epoch."""
        return np.random.default_rng((self.seed, _ORDER, epoch)).permutation(count)

    def random_archs(self, space: SearchSpace, step: int, epoch: int) -> list[Architecture]:
        """The random networks of a step, out of the epoch's pool; the same for the same seed."""
        rng = np.random.default_rng((self.seed, _PICK, step))
        numbers = rng.choice(self.pool, self.random_networks, replace=False)
        first = epoch * self.refreshed
        # Place p holds the one network numbered first, first + 1, … that is p modulo the pool.
        return [
            pool_arch(space, self.seed, first + (int(number) - first) % self.pool)
            for number in numbers
        ]

    def augmentation_seed(self, step: int) -> int:
        """Seed of the step's shifts, flips and blanks."""
        return int(np.random.default_rng((self.seed, _AUGMENT, step)).integers(1 << 62))

    def as_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read `as_json` back.

        Raises:
            UsageError: If a field is unknown or of another type.
        """
        types: dict[str, type] = {field.name: type(field.default) for field in fields(cls)}
        for name, value in values.items():
            if name not in types or type(value) not in (types[name], int):
                msg = f"recipe: {name}={value!r} is not known; fields are {', '.join(types)}"
                raise UsageError(msg)
        return cls(**{name: types[name](value) for name, value in values.items()})


def pool_arch(space: SearchSpace, seed: int, number: int) -> Architecture:
    """Random network of that number, the same in every process."""
    return sample(space, 1, np.random.default_rng((seed, _POOL, number)))[0]


def extremes(space: SearchSpace) -> tuple[Architecture, Architecture]:
    """The largest and the smallest network by MACs.

    Looked for among the first and last genotype and random ones; in spaces whose options are in
    order of size the genotypes of all last and all first options are exact.
    """
    ends = np.stack([np.zeros_like(space.option_counts), space.option_counts - 1]).astype(np.int8)
    drawn = sample(space, _CANDIDATES, np.random.default_rng(0)).genes
    networks = Population(space, np.concatenate([space.canonical(ends), drawn]))
    if isinstance(space, ChainSpace):
        macs = costs(networks, ("macs",))["macs"]
    else:
        macs = np.array([float(space.graph(arch).macs) for arch in networks.architectures()])
    return networks[int(macs.argmax())], networks[int(macs.argmin())]
