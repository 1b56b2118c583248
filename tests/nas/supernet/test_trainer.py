from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.errors import CheckpointError
from nas.supernet.data import Cifar10
from nas.supernet.recipe import Recipe
from nas.supernet.state import load_state, save_state
from nas.supernet.trainer import STATE, Trainer, pick_device, stored_recipe
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError
from search_spaces.space import ChainSpace, SearchSpace

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=12, batch=32, rate=0.2, warmup_epochs=1, pool=4, calibration_images=64,
                cutout=0, weight_decay=0.0)  # fmt: skip


def trainer(space: SearchSpace, data: Cifar10, **changes: object) -> Trainer:
    return Trainer(space, data, replace(RECIPE, **changes), CPU)  # type: ignore[arg-type]  # fields


def weights(of: Trainer) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in of.values().items()}


def same(first: Trainer, second: Trainer) -> bool:
    one, two = weights(first), weights(second)
    return all((one[name] == two[name]).all() for name in one)


@pytest.mark.slow
def test_training_teaches_all_networks(tiny: ChainSpace, colours: Cifar10, tmp_path: Path) -> None:
    training = trainer(tiny, colours, epochs=50)
    training.run(tmp_path)

    evaluation = training.evaluation()

    assert training.finished
    assert training.history[-1].loss < training.history[0].loss - 0.5
    for genes in ((0, 0, 0), (1, 1, 1), (2, 2, 2), (0, 1, 2)):
        arch = Architecture("tiny", genes)
        assert evaluation.accuracy_percent(arch, training.values(), colours.test) > 40.0


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    tiny: ChainSpace, colours: Cifar10, tmp_path: Path
) -> None:
    runs = [trainer(tiny, colours, epochs=1, seed=seed) for seed in (3, 3, 4)]
    for run in runs:
        run.run(tmp_path / "unused")

    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_resumed_training_equals_uninterrupted_training(
    tiny: ChainSpace, colours: Cifar10, tmp_path: Path, ema: float
) -> None:
    whole = trainer(tiny, colours, epochs=3, ema=ema)
    whole.run(tmp_path / "whole")
    ticks = count()

    first = trainer(tiny, colours, epochs=3, ema=ema)
    first.run(tmp_path / "parts", deadline=6.0, clock=lambda: float(next(ticks)))
    second = trainer(tiny, colours, epochs=3, ema=ema)
    second.restore(tmp_path / "parts")

    assert 0 < second.step < second.steps
    second.run(tmp_path / "parts")
    assert same(whole, second)
    assert [e.loss for e in second.history] == pytest.approx([e.loss for e in whole.history])


def test_the_state_is_saved_every_minute(
    tiny: ChainSpace, colours: Cifar10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that jumps half a minute at each look: every step or two is saved."""
    saved: list[int] = []
    training = trainer(tiny, colours, epochs=2)
    monkeypatch.setattr(training, "save", lambda folder: saved.append(training.step))
    ticks = count(step=30)

    training.run(tmp_path, clock=lambda: float(next(ticks)))

    assert len(saved) >= 3


def test_a_state_of_another_recipe_is_refused(
    tiny: ChainSpace, colours: Cifar10, tmp_path: Path
) -> None:
    trainer(tiny, colours).save(tmp_path)

    with pytest.raises(CheckpointError, match="has recipe"):
        trainer(tiny, colours, rate=0.3).restore(tmp_path)
    assert stored_recipe(tmp_path) == ("tiny", RECIPE)


@pytest.mark.parametrize("damage", ["cut", "foreign", "missing", "misfit", "kind"])
def test_a_damaged_state_is_refused(
    tiny: ChainSpace, colours: Cifar10, tmp_path: Path, damage: str
) -> None:
    training = trainer(tiny, colours)
    training.save(tmp_path)
    file = tmp_path / STATE
    data = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(data[: len(data) // 2])
        case "foreign":
            file.write_bytes(b"PK\x03\x04 no safetensors at all")
        case "missing":
            file.unlink()
        case "misfit":
            arrays, about = load_state(file, "super-network training")
            save_state(file, {**arrays, "values/stem": np.zeros(3, np.float32)}, about)
        case "kind":
            save_state(file, {}, {"kind": "architecture search"})

    with pytest.raises(CheckpointError):
        training.restore(tmp_path)


def test_a_training_that_diverges_says_so(
    tiny: ChainSpace, colours: Cifar10, tmp_path: Path
) -> None:
    training = trainer(tiny, colours, epochs=3, rate=1e30, warmup_epochs=0, clip=1e30)

    with pytest.raises(CheckpointError, match="lower rate"):
        training.run(tmp_path)


def test_networks_of_other_classes_are_refused(colours: Cifar10) -> None:
    with pytest.raises(UsageError, match=r"\(1000,\).*10 classes"):
        trainer(SPACES.get("mobilenetv3"), colours)


def test_an_unknown_device_is_refused() -> None:
    assert pick_device("cpu") == CPU
    with pytest.raises(UsageError, match="auto, cpu or cuda"):
        pick_device("tpu")
