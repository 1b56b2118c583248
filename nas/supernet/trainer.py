"""Train a super-network: sandwich steps, a state on disk every minute, resumed exactly.

Everything random is a function of the seed and the step, so that the state is four vectors and one
number. On one CPU with one number of threads the same seed gives the same weights, interrupted or
not; accelerators add up in any order and differ in the last bits.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.errors import CheckpointError
from nas.supernet.augment import augment
from nas.supernet.data import CLASSES, Cifar10
from nas.supernet.evaluation import Evaluation
from nas.supernet.optimiser import Layout, sgd_step
from nas.supernet.recipe import Recipe, extremes
from nas.supernet.sandwich import Sandwich
from nas.supernet.state import load_state, save_state
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError
from search_spaces.space import SearchSpace
from search_spaces.tensors import shared_slots
from search_spaces.torch_build import head_name, init_slots

logger = logging.getLogger(__name__)

STATE = "state.safetensors"
_KIND = "super-network training"
_SAVE_EVERY_S = 60.0
# Networks kept prepared besides the pool: the largest, the smallest, and a few just replaced.
_SPARE = 4

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch did.

    Attributes:
        epoch: Number, from 1.
        loss: Mean loss of the largest network on augmented images.
        distillation: Mean loss of the others.
        seconds: Time it took [s].
    """

    epoch: int
    loss: float
    distillation: float
    seconds: float


def pick_device(name: str) -> torch.device:
    """`auto` is an accelerator if there is one.

    Raises:
        UsageError: If the name is unknown or there is no such device.
    """
    if name not in ("auto", "cpu", "cuda"):
        msg = f"device {name!r} is unknown; give auto, cpu or cuda"
        raise UsageError(msg)
    if name == "cuda" and not torch.cuda.is_available():
        msg = "torch sees no CUDA device here; give --device cpu, or look at nvidia-smi"
        raise UsageError(msg)
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


class Trainer:
    """One training in progress.

    Args:
        space: Whose super-network; its networks must have ten classes.
        data: CIFAR-10.
        recipe: How.
        device: Where.
        captured: Replay CUDA graphs where the device can.

    Attributes:
        step: Steps done.
        steps_per_epoch: Steps of one pass over the training images.
        history: One entry for each finished epoch.
    """

    def __init__(
        self, space: SearchSpace, data: Cifar10, recipe: Recipe, device: torch.device, *,
        captured: bool = True,
    ) -> None:  # fmt: skip
        self.space, self.data, self.recipe, self.device = space, data, recipe, device
        self.largest, self.smallest = extremes(space)
        check_classes(space, self.largest)
        self.step = 0
        self.history: list[Epoch] = []
        self.batch = min(recipe.batch, len(data.train))
        self.steps_per_epoch = len(data.train) // self.batch
        wanted = shared_slots(space)
        self._layout = Layout.of(wanted)
        first = init_slots(
            wanted, torch.Generator().manual_seed(recipe.seed),
            head=head_name(space.graph(self.largest)),
        )  # fmt: skip
        self._values = self._layout.flatten(first, device)
        self._gradients = torch.zeros_like(self._values)
        self._velocity = torch.zeros_like(self._values)
        self._average = self._values.clone() if recipe.ema else None
        self._pixels = torch.from_numpy(data.train.pixels).to(device)
        self._labels = torch.from_numpy(data.train.labels).to(device)
        self._random = torch.Generator(device)
        self._order = torch.empty(0, dtype=torch.int64)
        self._order_epoch = -1
        self._spent_s = 0.0
        # Depthwise kernels are compiled for each new shape, a second each: trying every algorithm
        # of each (cudnn.benchmark) took 68 s for the first step alone and gained nothing after.
        self._sandwich = Sandwich(
            space, self._layout.views(self._values), self._layout.views(self._gradients),
            batch=self.batch, label_smoothing=recipe.label_smoothing,
            share=1.0 / (2 + recipe.random_networks), device=device, kept=recipe.pool + _SPARE,
            captured=captured and device.type == "cuda",
        )  # fmt: skip

    @property
    def steps(self) -> int:
        """Steps of the whole recipe."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done."""
        return self.step >= self.steps

    @property
    def epochs_done(self) -> int:
        """Finished epochs."""
        return self.step // self.steps_per_epoch

    @property
    def seconds(self) -> float:
        """Time spent in epochs, over all resumptions [s]."""
        return self._spent_s

    def values(self) -> dict[str, Tensor]:
        """Shared trained tensors by name: the moving average, if the recipe keeps one."""
        flat = self._values if self._average is None else self._average
        return self._layout.views(flat)

    def advance(self) -> None:
        """One step: every network's pass, then one change of the weights."""
        recipe = self.recipe
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if epoch != self._order_epoch:
            order = recipe.order(epoch, len(self.data.train))
            self._order, self._order_epoch = torch.from_numpy(order).to(self.device), epoch
        rows = self._order[position * self.batch : (position + 1) * self.batch]
        self._random.manual_seed(recipe.augmentation_seed(self.step))
        images = augment(
            self._pixels[rows], self._random, padding=recipe.crop_padding, cutout=recipe.cutout
        )
        self._gradients.zero_()
        self._sandwich.feed(images, self._labels[rows])
        self._sandwich.teach(self.largest)
        for arch in (self.smallest, *recipe.random_archs(self.space, self.step, epoch)):
            self._sandwich.learn(arch)
        sgd_step(
            self._values, self._gradients, self._velocity, decayed=self._layout.decayed,
            rate=recipe.rate_at(self.step, self.steps_per_epoch), momentum=recipe.momentum,
            weight_decay=recipe.weight_decay, clip=recipe.clip,
        )  # fmt: skip
        if self._average is not None:
            # Early on the average follows, so that it does not remember the first values.
            keep = min(recipe.ema, (1.0 + self.step) / (10.0 + self.step))
            self._average.lerp_(self._values, 1.0 - keep)
        self.step += 1

    def run(
        self, folder: Path, deadline: float | None = None, clock: Clock = time.monotonic
    ) -> None:
        """Train until the end or the deadline; an interruption loses at most a minute.

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
                # Reading the losses waits for the device, so that the time is right.
                losses = self._sandwich.take_losses()
                self._spent_s, mark = self._spent_s + clock() - mark, clock()
                self._end_epoch(*losses)
            else:
                self._spent_s, mark = self._spent_s + clock() - mark, clock()
            if mark - saved > _SAVE_EVERY_S:
                self.save(folder)
                saved = mark
        self.save(folder)

    def _end_epoch(self, teacher: float, learners: float) -> None:
        count = self.steps_per_epoch
        done = Epoch(
            self.epochs_done, teacher / count, learners / count / (1 + self.recipe.random_networks),
            self._spent_s - sum(epoch.seconds for epoch in self.history),
        )  # fmt: skip
        self.history.append(done)
        if not math.isfinite(done.loss):
            msg = f"the loss of epoch {done.epoch} is no number; train again with a lower rate"
            raise CheckpointError(msg)
        logger.info(
            "epoch %d/%d: loss %.3f, distillation %.3f, %.1f s, %.0f images/s",
            done.epoch, self.recipe.epochs, done.loss, done.distillation, done.seconds,
            count * self.batch / max(done.seconds, 1e-9),
        )  # fmt: skip

    def evaluation(self) -> Evaluation:
        """Evaluates sub-networks, recalibrated on the first training images."""
        calibration = self.data.train.first(self.recipe.calibration_images)
        return Evaluation(self.space, calibration, self.batch, self.device)

    def save(self, folder: Path) -> None:
        """Write the state."""
        arrays: dict[str, NDArray[np.float32]] = {}
        for name, flat in self._vectors().items():
            arrays |= self._layout.arrays(name, flat)
        about = {
            "kind": _KIND, "space": self.space.name, "recipe": self.recipe.as_json(),
            "images": len(self.data.train), "step": self.step, "seconds": self._spent_s,
            "losses": self._sandwich.losses.tolist(),
            "history": [[e.epoch, e.loss, e.distillation, e.seconds] for e in self.history],
        }  # fmt: skip
        save_state(folder / STATE, arrays, about)

    def restore(self, folder: Path) -> None:
        """Go back to a state written by `save`.

        Raises:
            CheckpointError: If it is damaged or of another training.
        """
        file = folder / STATE
        arrays, about = load_state(file, _KIND)
        ours = {
            "space": self.space.name, "recipe": self.recipe.as_json(),
            "images": len(self.data.train),
        }  # fmt: skip
        for name, value in ours.items():
            if about.get(name) != value:
                msg = f"{file} has {name} {about.get(name)}, not {value}; resume it as it was begun"
                raise CheckpointError(msg)
        try:
            for name, flat in self._vectors().items():
                flat.copy_(self._layout.read(name, arrays, self.device))
            self.step = int(about["step"])
            self._spent_s = float(about["seconds"])
            self._sandwich.losses.copy_(torch.tensor(about["losses"]))
            self.history = [Epoch(*row) for row in about["history"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            msg = f"{file} does not fit {self.space.name}: {error}; train from the beginning"
            raise CheckpointError(msg) from error

    def _vectors(self) -> dict[str, Tensor]:
        found = {"values": self._values, "velocity": self._velocity}
        if self._average is not None:
            found["average"] = self._average
        return found


def stored_recipe(folder: Path) -> tuple[str, Recipe]:
    """Space and recipe of a training that was begun.

    Raises:
        CheckpointError: If there is none in the folder.
    """
    file = folder / STATE
    _, about = load_state(file, _KIND)
    try:
        return str(about["space"]), Recipe.from_json(about["recipe"])
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        msg = f"{file} has no recipe that can be gone on with: {error}; train from the beginning"
        raise CheckpointError(msg) from error


def check_classes(space: SearchSpace, arch: Architecture) -> None:
    """Refuse a space whose networks answer something else than CIFAR-10's classes.

    Raises:
        UsageError: If outputs or inputs do not fit.
    """
    graph = space.graph(arch)
    if graph.output.shape != (len(CLASSES),) or graph.input_shape[0] != 3:
        msg = (
            f"networks of {space.name} turn {graph.input_shape} into {graph.output.shape}; "
            f"CIFAR-10 has 3 channels and {len(CLASSES)} classes: "
            "take mobilenetv3-cifar or another space that has them"
        )
        raise UsageError(msg)
