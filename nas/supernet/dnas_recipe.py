"""How a differentiable search runs, as a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from search_spaces.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecipe:
    """FBNet's settings, shortened to fewer epochs.

    Attributes:
        epochs: Passes over the training images.
        postponed_epochs: First epochs in which only weights are trained, so that logits do not
            judge blocks that have learned nothing.
        batch: Images of one step.
        weights_share: Share of the training images for the weights; the rest is for the logits.
        rate: Highest learning rate of the weights; it falls to 0 by half a cosine.
        momentum: Nesterov's.
        weight_decay: On kernels and matrices.
        clip: Longest gradient of the weights.
        logits_rate: Adam's learning rate.
        logits_weight_decay: Times the logits, added to their gradient.
        temperature: Of the Gumbel-softmax in the first epoch.
        final_temperature: In the last; it falls by the same factor each epoch.
        budget: Cost that the network may have, in the table's unit; None for the paper's loss.
        strength: Of the budget's term.
        alpha: Of the paper's loss.
        beta: Of the paper's loss.
        crop_padding: Pixels by which a picture may be shifted.
        cutout: Side of the square that is blanked; 0 for none.
        seed: Of all randomness.
    """

    epochs: int = 60
    postponed_epochs: int = 6
    batch: int = 256
    weights_share: float = 0.8
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip: float = 5.0
    logits_rate: float = 0.01
    logits_weight_decay: float = 5e-4
    temperature: float = 5.0
    final_temperature: float = 0.1
    budget: float | None = None
    strength: float = 2.0
    alpha: float = 0.2
    beta: float = 0.6
    crop_padding: int = 4
    cutout: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be searched with."""
        positive = ("epochs", "batch", "rate", "clip", "logits_rate", "temperature",
                    "final_temperature", "alpha", "beta", "strength")  # fmt: skip
        wrong = [name for name in positive if not getattr(self, name) > 0]
        wrong += [] if 0.0 < self.weights_share < 1.0 else ["weights_share"]
        wrong += [] if 0 <= self.postponed_epochs < self.epochs else ["postponed_epochs"]
        wrong += [] if self.budget is None or self.budget > 0 else ["budget"]
        wrong += [] if self.seed >= 0 else ["seed"]
        if wrong:
            msg = (
                f"search recipe: {wrong[0]} is {getattr(self, wrong[0])}; rates, sizes and the "
                "budget must be positive, weights_share between 0 and 1, postponed_epochs fewer "
                "than epochs"
            )
            raise UsageError(msg)

    def rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of the weights at a step."""
        return self.rate * 0.5 * (1.0 + math.cos(math.pi * step / (self.epochs * steps_per_epoch)))

    def temperature_at(self, epoch: int) -> float:
        """Temperature of an epoch, numbered from 0.

        Example:
            >>> recipe = SearchRecipe(epochs=3, temperature=4.0, final_temperature=1.0,
            ...                       postponed_epochs=0)
            >>> [recipe.temperature_at(epoch) for epoch in range(3)]
            [4.0, 2.0, 1.0]
        """
        share = float(epoch) / max(self.epochs - 1, 1)
        return self.temperature * math.pow(self.final_temperature / self.temperature, share)

    def total_loss(self, error: Tensor, cost: Tensor) -> Tensor:
        """The logits' loss.

        Without a budget it is the paper's, error * alpha * log(cost)^beta (equation 2), with the
        cost in thousandths of the table's unit (microseconds where that is ms), so that the
        logarithm is positive. That loss trades error for latency at a rate nobody asked for, so
        with a budget it is error + strength * max(0, log(cost / budget)): free below the budget,
        and above it a given excess in per cent costs the same for small and for large networks.
        """
        if self.budget is None:
            return error * self.alpha * (1000.0 * cost).clamp(min=1.001).log() ** self.beta
        return error + self.strength * (cost.clamp(min=1e-9) / self.budget).log().clamp(min=0.0)

    def as_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read `as_json` back.

        Raises:
            UsageError: If a field is unknown or no number.
        """
        known = [field.name for field in fields(cls)]
        for name, value in values.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if name not in known or not (number or (name == "budget" and value is None)):
                msg = f"search recipe: {name}={value!r} is not known; fields: {', '.join(known)}"
                raise UsageError(msg)
        return cls(**values)
