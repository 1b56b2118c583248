"""Differentiable architecture search: probabilities of blocks are trained beside their weights.

Every layer is the sum of its candidates, weighted with a Gumbel-softmax of its logits. In each
epoch the blocks' weights are trained on one part of the training images, then the logits on the
rest, while the temperature falls and the weights of candidates become nearly one-hot. The latency
in the logits' loss is the expectation over the distribution.

Source: Wu et al., "FBNet", CVPR 2019, section 3; their settings, section 4.1.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nas.errors import CheckpointError
from nas.supernet.augment import augment, normalise
from nas.supernet.data import Cifar10, Images
from nas.supernet.dnas_recipe import SearchRecipe
from nas.supernet.latency_term import table_shape
from nas.supernet.mixture import Mixture
from nas.supernet.optimiser import Layout, adam_step, sgd_step
from nas.supernet.sandwich import mixed_precision
from nas.supernet.state import load_state, save_state
from nas.supernet.trainer import check_classes
from search_spaces.architecture import Architecture, FloatArray, Population
from search_spaces.errors import UsageError
from search_spaces.space import ChainSpace, SearchSpace

logger = logging.getLogger(__name__)

STATE = "search-state.safetensors"
_KIND = "differentiable search"
_SAVE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class SearchEpoch:
    """What one epoch did.

    Attributes:
        epoch: Number, from 1.
        temperature: Of the Gumbel-softmax.
        loss: Mean cross-entropy while weights were trained.
        expected_cost: Expectation of the table under the probabilities, at its end.
        entropy: Mean entropy of a layer's probabilities [nats]; 0 is decided.
    """

    epoch: int
    temperature: float
    loss: float
    expected_cost: float
    entropy: float


class DifferentiableSearch:
    """One search in progress.

    Args:
        space: A chain in which each choice decides one block, such as `fbnet`.
        data: CIFAR-10.
        table: (layers, options) cost of each candidate; ms, or another unit the budget is in.
        recipe: How.
        device: Where.

    Attributes:
        step: Steps done, of weights and of logits.
        history: One entry for each finished epoch.

    Raises:
        UsageError: If the table, the space or the number of images does not fit.
    """

    def __init__(
        self, space: SearchSpace, data: Cifar10, table: FloatArray, recipe: SearchRecipe,
        device: torch.device,
    ) -> None:  # fmt: skip
        if not isinstance(space, ChainSpace):
            msg = f"{space.name} is no chain of blocks; a differentiable search needs one: fbnet"
            raise UsageError(msg)
        shape = table_shape(space)
        if table.shape != shape or not np.isfinite(table).all():
            msg = (
                f"the cost table of {space.name} must be {shape} finite numbers, not {table.shape}"
            )
            raise UsageError(msg)
        check_classes(space, Architecture(space.name, (0,) * len(space.choices)))
        self.space, self.data, self.table, self.recipe = space, data, table, recipe
        self.device = device
        self.step = 0
        self.history: list[SearchEpoch] = []
        self._spent_s = 0.0
        self._split(recipe)
        self._mixture = Mixture(space)
        wanted = self._mixture.slots()
        self._layout = Layout.of(wanted)
        first = self._mixture.init(torch.Generator().manual_seed(recipe.seed))
        self._values = self._layout.flatten(first, device)
        self._gradients = torch.zeros_like(self._values)
        self._velocity = torch.zeros_like(self._values)
        self._logits = torch.zeros(shape, device=device)
        self._moments = torch.zeros(2, *shape, device=device)
        self._table = torch.tensor(table, dtype=torch.float32, device=device)
        self._loss = torch.zeros((), device=device)
        self._random = torch.Generator(device)
        self._pixels = torch.from_numpy(data.train.pixels).to(device)
        self._labels = torch.from_numpy(data.train.labels).to(device)
        self._run_frozen = self._mixture.bind(self._layout.views(self._values))
        self._run_trained = self._mixture.bind(self._leaves())
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cudnn.benchmark_limit = 5

    def _split(self, recipe: SearchRecipe) -> None:
        """Images for the weights and images for the logits, the same in every process."""
        count = len(self.data.train)
        order = np.random.default_rng((recipe.seed, 0)).permutation(count)
        first = round(recipe.weights_share * count)
        self._parts = (order[:first], order[first:])
        self._batches = tuple(min(recipe.batch, len(part)) for part in self._parts)
        if min(self._batches) < 2:
            msg = f"{count} images are too few to train weights and logits on; give 10 or more"
            raise UsageError(msg)
        self._steps = tuple(
            len(part) // batch for part, batch in zip(self._parts, self._batches, strict=True)
        )

    def _leaves(self) -> dict[str, Tensor]:
        result = {}
        gradients = self._layout.views(self._gradients)
        for name, view in self._layout.views(self._values).items():
            leaf = view.detach().requires_grad_()
            leaf.grad = gradients[name]
            result[name] = leaf
        return result

    @property
    def steps_per_epoch(self) -> int:
        """Steps of weights, then of logits."""
        return sum(self._steps)

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done."""
        return self.step >= self.recipe.epochs * self.steps_per_epoch

    @property
    def seconds(self) -> float:
        """Time spent, over all resumptions [s]."""
        return self._spent_s

    def probabilities(self) -> FloatArray:
        """(layers, options) softmax of the logits."""
        return np.asarray(self._logits.double().softmax(1).cpu().numpy())

    def architecture(self) -> Architecture:
        """The most probable block of each layer, in canonical form."""
        genes = self.probabilities().argmax(axis=1).astype(np.int8)
        return self.space.canonical_arch(Population(self.space, genes[None])[0])

    def advance(self) -> None:
        """One step: of the weights, or of the logits."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        of_logits = position >= self._steps[0]
        if not of_logits or epoch >= self.recipe.postponed_epochs:
            part = int(of_logits)
            batch = position - part * self._steps[0]
            images, labels = self._batch(part, epoch, batch)
            # Gumbel noise: -log of an exponential variable.
            noise = torch.empty_like(self._logits).exponential_(generator=self._random).log().neg()
            (self._step_logits if of_logits else self._step_weights)(images, labels, noise)
        self.step += 1

    def _batch(self, part: int, epoch: int, batch: int) -> tuple[Tensor, Tensor]:
        recipe, size = self.recipe, self._batches[part]
        rows = self._parts[part]
        order = np.random.default_rng((recipe.seed, 1 + part, epoch)).permutation(len(rows))
        index = torch.from_numpy(rows[order[batch * size : (batch + 1) * size]]).to(self.device)
        seed = np.random.default_rng((recipe.seed, 3, self.step)).integers(1 << 62)
        self._random.manual_seed(int(seed))
        images = augment(
            self._pixels[index], self._random, padding=recipe.crop_padding, cutout=recipe.cutout
        )
        return images, self._labels[index]

    def _weights(self, logits: Tensor, noise: Tensor) -> Tensor:
        return ((logits + noise) / self.recipe.temperature_at(self._epoch)).softmax(1)

    @property
    def _epoch(self) -> int:
        return self.step // self.steps_per_epoch

    def _step_weights(self, images: Tensor, labels: Tensor, noise: Tensor) -> None:
        recipe = self.recipe
        self._gradients.zero_()
        with mixed_precision(self.device):
            answers = self._run_trained(images, self._weights(self._logits, noise))
        loss = functional.cross_entropy(answers.float(), labels)
        torch.autograd.backward([loss])
        sgd_step(
            self._values, self._gradients, self._velocity, decayed=self._layout.decayed,
            rate=recipe.rate_at(self.step, self.steps_per_epoch), momentum=recipe.momentum,
            weight_decay=recipe.weight_decay, clip=recipe.clip,
        )  # fmt: skip
        self._loss += loss.detach()

    def _step_logits(self, images: Tensor, labels: Tensor, noise: Tensor) -> None:
        recipe = self.recipe
        logits = self._logits.clone().requires_grad_()
        weights = self._weights(logits, noise)
        with mixed_precision(self.device):
            answers = self._run_frozen(images, weights)
        error = functional.cross_entropy(answers.float(), labels)
        loss = recipe.total_loss(error, (weights * self._table).sum())
        (gradient,) = torch.autograd.grad(loss, logits)
        done = self.step - recipe.postponed_epochs * self.steps_per_epoch
        epochs, position = divmod(done, self.steps_per_epoch)
        count = epochs * self._steps[1] + position - self._steps[0] + 1
        adam_step(
            self._logits, gradient, self._moments, count=count, rate=recipe.logits_rate,
            weight_decay=recipe.logits_weight_decay,
        )  # fmt: skip

    def run(
        self, folder: Path, deadline: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Search until the end or the deadline; an interruption loses at most a minute.

        Args:
            folder: Where the state is written, every minute and at the end.
            deadline: Stop at this time of `clock`.
            clock: Tells the time [s].

        Raises:
            CheckpointError: If the state cannot be written, or the loss is no number.
        """
        saved = mark = clock()
        while not self.finished and (deadline is None or mark < deadline):
            self.advance()
            if self.step % self.steps_per_epoch == 0:
                self._end_epoch()
            self._spent_s, mark = self._spent_s + clock() - mark, clock()
            if mark - saved > _SAVE_EVERY_S:
                self.save(folder)
                saved = mark
        self.save(folder)

    def _end_epoch(self) -> None:
        probabilities = self.probabilities()
        entropy = -(probabilities * np.log(probabilities + 1e-12)).sum(axis=1).mean()
        epoch = self.step // self.steps_per_epoch
        done = SearchEpoch(
            epoch, self.recipe.temperature_at(epoch - 1), float(self._loss) / self._steps[0],
            float((probabilities * self.table).sum()), float(entropy),
        )  # fmt: skip
        self._loss.zero_()
        self.history.append(done)
        if not (math.isfinite(done.loss) and np.isfinite(probabilities).all()):
            msg = f"the loss of epoch {epoch} is no number; search again with a lower rate"
            raise CheckpointError(msg)
        logger.info(
            "epoch %d/%d: loss %.3f, expected cost %.4g, entropy %.2f, temperature %.2f",
            epoch, self.recipe.epochs, done.loss, done.expected_cost, entropy, done.temperature,
        )  # fmt: skip

    @torch.no_grad()
    def accuracy_percent(self, images: Images, batch: int = 500) -> float:
        """Accuracy [%] of the most probable network with the blocks' weights as they are.

        Batch norms use batches of these images; trained alone, the network does better.
        """
        weights = functional.one_hot(self._logits.argmax(1), self._logits.shape[1]).float()
        right = 0
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(images.pixels[start : start + batch]).to(self.device)
            with mixed_precision(self.device):
                answers = self._run_frozen(normalise(pixels), weights)
            labels = torch.from_numpy(images.labels[start : start + batch]).to(self.device)
            right += int((answers.argmax(1) == labels).sum())
        return 100.0 * right / len(images)

    def save(self, folder: Path) -> None:
        """Write the state."""
        arrays = {
            **self._layout.arrays("values", self._values),
            **self._layout.arrays("velocity", self._velocity),
            "logits": self._logits.cpu().numpy(),
            "moments": self._moments.cpu().numpy(),
        }
        about = {
            "kind": _KIND, **self._identity(), "step": self.step, "seconds": self._spent_s,
            "loss": float(self._loss),
            "history": [
                [e.epoch, e.temperature, e.loss, e.expected_cost, e.entropy] for e in self.history
            ],
        }  # fmt: skip
        save_state(folder / STATE, arrays, about)

    def restore(self, folder: Path) -> None:
        """Go back to a state written by `save`.

        Raises:
            CheckpointError: If it is damaged or of another search.
        """
        file = folder / STATE
        arrays, about = load_state(file, _KIND)
        for name, value in self._identity().items():
            if about.get(name) != value:
                msg = f"{file} has another {name}; resume the search as it was begun"
                raise CheckpointError(msg)
        try:
            self._values.copy_(self._layout.read("values", arrays, self.device))
            self._velocity.copy_(self._layout.read("velocity", arrays, self.device))
            self._logits.copy_(_shaped(arrays, "logits", self._logits))
            self._moments.copy_(_shaped(arrays, "moments", self._moments))
            self.step, self._spent_s = int(about["step"]), float(about["seconds"])
            self._loss.fill_(float(about["loss"]))
            self.history = [SearchEpoch(*row) for row in about["history"]]
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{file} does not fit {self.space.name}: {error}; search from the beginning"
            raise CheckpointError(msg) from error

    def _identity(self) -> dict[str, Any]:
        """What a state must agree with; the table by its numbers."""
        return {
            "space": self.space.name, "recipe": self.recipe.as_json(),
            "images": len(self.data.train), "table": self.table.tolist(),
        }  # fmt: skip


def _shaped(arrays: Mapping[str, NDArray[np.float32]], name: str, like: Tensor) -> Tensor:
    if arrays[name].shape != tuple(like.shape):
        msg = f"{name} has shape {arrays[name].shape}, not {tuple(like.shape)}"
        raise ValueError(msg)
    return torch.from_numpy(arrays[name])


def stored_search(folder: Path) -> tuple[str, SearchRecipe, FloatArray]:
    """Space, recipe and table of a search that was begun.

    Raises:
        CheckpointError: If there is none in the folder.
    """
    file = folder / STATE
    _, about = load_state(file, _KIND)
    try:
        table = np.array(about["table"], dtype=np.float64)
        return str(about["space"]), SearchRecipe.from_json(about["recipe"]), table
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        msg = f"{file} has nothing that can be gone on with: {error}; search from the beginning"
        raise CheckpointError(msg) from error
