"""All trained tensors as one vector: clipping, decay, momentum and saving are one line each.

A network's tensors are leaves over slices of that vector, whose gradients are slices of a second
one: backward passes of several networks add up in place, and nothing is ever copied or padded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.graph import OpGraph
from search_spaces.tensors import TensorSlot, graph_slots
from search_spaces.torch_build import from_arrays, to_arrays


@dataclass(frozen=True)
class Layout:
    """Where each trained tensor lies in the vector.

    Attributes:
        shapes: Shape of each, by name; those with weight decay come first.
        offsets: First element of each.
        size: Elements in all.
        decayed: Leading elements that weight decay applies to.
    """

    shapes: Mapping[str, tuple[int, ...]]
    offsets: Mapping[str, int]
    size: int
    decayed: int

    @classmethod
    def of(cls, wanted: Mapping[str, TensorSlot]) -> Layout:
        """The trained ones of these slots, under the keys of the mapping."""
        trained = {name: slot for name, slot in wanted.items() if slot.trained}
        ordered = sorted(trained, key=lambda name: not trained[name].decayed)
        offsets: dict[str, int] = {}
        size = decayed = 0
        for name in ordered:
            offsets[name] = size
            size += prod(trained[name].shape)
            if trained[name].decayed:
                decayed = size
        return cls({name: trained[name].shape for name in ordered}, offsets, size, decayed)

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Tensors by name over a (size,) vector; kernels lie with the channels last."""
        result = {}
        for name, shape in self.shapes.items():
            part = flat[self.offsets[name] : self.offsets[name] + prod(shape)]
            if len(shape) == 4:
                out, channels, height, width = shape
                part = part.view(out, height, width, channels).permute(0, 3, 1, 2)
            else:
                part = part.view(shape)
            result[name] = part
        return result

    def flatten(self, tensors: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """A (size,) vector that holds these tensors."""
        flat = torch.zeros(self.size, device=device)
        for name, view in self.views(flat).items():
            view.copy_(tensors[name])
        return flat

    def arrays(self, prefix: str, flat: Tensor) -> dict[str, NDArray[np.float32]]:
        """The tensors of a vector as arrays named `<prefix>/<name>`."""
        views = to_arrays(self.views(flat))
        return {f"{prefix}/{name}": array for name, array in views.items()}

    def read(
        self, prefix: str, arrays: Mapping[str, NDArray[np.float32]], device: torch.device
    ) -> Tensor:
        """The vector whose tensors `arrays` wrote.

        Raises:
            KeyError: If a tensor is missing.
            ValueError: If one has another shape.
        """
        found = {name: arrays[f"{prefix}/{name}"] for name in self.shapes}
        for name, shape in self.shapes.items():
            if found[name].shape != shape:
                msg = f"{name!r} has shape {found[name].shape}, not {shape}"
                raise ValueError(msg)
        return self.flatten(from_arrays(found), device)


def leaves(
    graph: OpGraph, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A network's trained tensors: leaves that share storage with `values`.

    Args:
        graph: The network.
        values: Shared tensors by name.
        gradients: As large; backward passes add to them in place.
    """
    result = {}
    for slot in graph_slots(graph):
        if slot.trained:
            place = slot.within(tuple(values[slot.name].shape))
            leaf = values[slot.name][place].detach().requires_grad_()
            # A leaf that has a gradient already is added to in place, here through a view.
            leaf.grad = gradients[slot.name][place].detach()
            result[slot.name] = leaf
    return result


@torch.no_grad()
def sgd_step(
    values: Tensor, gradients: Tensor, velocity: Tensor, *,
    decayed: int, rate: float, momentum: float, weight_decay: float, clip: float,
) -> None:  # fmt: skip
    """Nesterov's momentum as torch.optim.SGD does it, in place; the gradients are used up.

    Args:
        values: (size,) what is trained.
        gradients: (size,) scaled down to the length `clip` if longer, then decayed.
        velocity: (size,) moving sum of gradients.
        decayed: Leading elements that weight decay applies to.
        rate: Learning rate.
        momentum: Share of the old velocity.
        weight_decay: Times the value, added to the gradient.
        clip: Longest gradient.
    """
    gradients.mul_((clip / (gradients.norm() + 1e-6)).clamp(max=1.0))
    gradients[:decayed].add_(values[:decayed], alpha=weight_decay)
    velocity.mul_(momentum).add_(gradients)
    values.add_(gradients.add_(velocity, alpha=momentum), alpha=-rate)


@torch.no_grad()
def adam_step(
    values: Tensor, gradient: Tensor, moments: Tensor, *,
    count: int, rate: float, weight_decay: float,
) -> None:  # fmt: skip
    """Adam as torch.optim.Adam does it, in place, with betas 0.9 and 0.999.

    Args:
        values: What is trained.
        gradient: As large.
        moments: (2, ...) moving means of the gradient and of its square.
        count: Number of this step, from 1.
        rate: Learning rate.
        weight_decay: Times the value, added to the gradient.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
    """
    gradient = gradient + weight_decay * values
    moments[0].lerp_(gradient, 0.1)
    moments[1].lerp_(gradient.square(), 0.001)
    mean, square = moments[0] / (1.0 - 0.9**count), moments[1] / (1.0 - 0.999**count)
    values.sub_(rate * mean / (square.sqrt() + 1e-8))
