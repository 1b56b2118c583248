"""Accuracy of sub-networks on shared weights, their batch norms recalibrated first.

A shared weight has no statistics that fit all networks that read it: each network's are taken anew
from training images (Yu et al., BigNAS, 2020, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from nas.supernet.augment import normalise
from nas.supernet.data import Images
from nas.supernet.sandwich import fitted, mixed_precision
from search_spaces.architecture import Architecture
from search_spaces.graph import OpGraph
from search_spaces.space import SearchSpace
from search_spaces.tensors import graph_slots
from search_spaces.torch_build import forward


class Evaluation:
    """Evaluates networks of a space on one device.

    Args:
        space: Whose networks.
        calibration: Training images that statistics are taken from.
        batch: Images of one pass.
        device: Where passes run.
    """

    def __init__(
        self, space: SearchSpace, calibration: Images, batch: int, device: torch.device
    ) -> None:
        self._space, self._device = space, device
        self._batch = min(batch, len(calibration))
        # Whole batches only: a shorter last one would weigh as much as the others.
        whole = len(calibration) // self._batch * self._batch
        self._calibration = torch.from_numpy(calibration.pixels[:whole]).to(device)

    def statistics(self, arch: Architecture, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Means and variances of a network's batch norms over the calibration images.

        Args:
            arch: The network.
            values: Shared trained tensors by name.

        Returns:
            Vectors of the network's own lengths, by name.
        """
        return self._statistics(self._space.graph(arch), values)

    def accuracy_percent(
        self, arch: Architecture, values: Mapping[str, Tensor], images: Images
    ) -> float:
        """Share of images [%] that a network answers rightly with recalibrated statistics."""
        graph = self._space.graph(arch)
        tensors = {**values, **self._statistics(graph, values)}
        right = torch.zeros((), dtype=torch.int64, device=self._device)
        for pixels, labels in self._batches(images):
            x = fitted(normalise(pixels), graph)
            with mixed_precision(self._device):
                logits = forward(graph, tensors, x, statistics="stored")
            right += (logits[: len(labels)].argmax(1) == labels).sum()
        return 100.0 * int(right) / len(images)

    def _statistics(self, graph: OpGraph, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {
            slot.name: torch.zeros(slot.shape, device=self._device)
            for slot in graph_slots(graph)
            if not slot.trained
        }
        tensors = {**values, **found}
        for count, pixels in enumerate(self._calibration.split(self._batch), start=1):
            x = fitted(normalise(pixels), graph)
            with mixed_precision(self._device):
                # A momentum of 1/count makes the mean over all batches so far.
                forward(graph, tensors, x, statistics="batch", momentum=1.0 / count)
        return found

    def _batches(self, images: Images) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels and labels; the last pixels are filled up, since each new shape costs a search."""
        for start in range(0, len(images), self._batch):
            pixels = torch.from_numpy(images.pixels[start : start + self._batch])
            labels = torch.from_numpy(images.labels[start : start + self._batch])
            missing = self._batch - len(pixels)
            if missing and start:
                pixels = torch.cat([pixels, pixels.new_zeros(missing, *pixels.shape[1:])])
            yield pixels.to(self._device), labels.to(self._device)
