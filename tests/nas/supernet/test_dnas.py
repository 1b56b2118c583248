from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.errors import CheckpointError
from nas.supernet.data import Cifar10, load_cifar10
from nas.supernet.dnas import STATE, DifferentiableSearch, stored_search
from nas.supernet.dnas_recipe import SearchRecipe
from nas.supernet.dnas_results import write_search_results
from nas.supernet.latency_term import block_sums, network_cost
from nas.supernet.mixture import Mixture
from nas.supernet.optimiser import adam_step
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError
from search_spaces.space import ChainSpace, SearchSpace
from search_spaces.torch_build import forward

CPU = torch.device("cpu")
RECIPE = SearchRecipe(epochs=4, postponed_epochs=1, batch=16, crop_padding=0, logits_rate=0.3,
                      rate=0.05)  # fmt: skip
# What each block of the tiny space costs: a small kernel 1, a large one 3, a skip nothing.
TABLE = np.tile([1.0, 3.0, 0.0], (3, 1))


def search(space: SearchSpace, data: Cifar10, **changes: object) -> DifferentiableSearch:
    recipe = replace(RECIPE, **changes)  # type: ignore[arg-type]  # fields
    return DifferentiableSearch(space, data, TABLE, recipe, CPU)


def test_a_mixture_with_one_hot_weights_is_that_network(tiny: ChainSpace) -> None:
    """Skips that change shape and skips that do not are among them."""
    mixture = Mixture(tiny)
    tensors = mixture.init(torch.Generator().manual_seed(0))
    run = mixture.bind(tensors)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for genes in ((0, 0, 0), (1, 2, 2), (2, 1, 0), (2, 2, 2)):
        own: dict[str, torch.Tensor] = {}
        for place in range(5):
            option = genes[place - 1] if 1 <= place <= 3 else 0
            prefix = f"{place}.{option}/"
            own |= {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        weights = torch.nn.functional.one_hot(torch.tensor(genes), 3).float()

        expected = forward(
            tiny.graph(Architecture("tiny", genes)), own, x, statistics="batch"
        )  # fmt: skip

        assert run(x, weights).detach().numpy() == pytest.approx(expected.numpy(), abs=1e-5)
        weights.requires_grad_()  # then every candidate runs, with weight 0 or 1
        assert run(x, weights).detach().numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_spaces_whose_blocks_depend_on_several_choices_are_refused() -> None:
    space = SPACES.get("mobilenetv3-cifar")
    assert isinstance(space, ChainSpace)

    with pytest.raises(UsageError, match="several choices at once"):
        Mixture(space)


def test_a_tight_budget_makes_the_search_choose_cheap_blocks(
    tiny: ChainSpace, colours: Cifar10, tmp_path: Path
) -> None:
    tight = search(tiny, colours, epochs=12, budget=0.5, strength=20.0)
    tight.run(tmp_path)

    assert tight.finished
    genes = np.array([tight.architecture().genes], dtype=np.int8)
    assert network_cost(TABLE, genes)[0] <= 2.0
    assert tight.history[-1].expected_cost < tight.history[0].expected_cost - 1.0
    assert tight.history[-1].temperature == pytest.approx(RECIPE.final_temperature)
    assert tight.probabilities().sum(axis=1) == pytest.approx(np.ones(3))


def test_logits_wait_until_weights_have_learned_something(
    tiny: ChainSpace, colours: Cifar10
) -> None:
    running = search(tiny, colours, postponed_epochs=1)

    for _ in range(running.steps_per_epoch):
        running.advance()
    assert (running.probabilities() == pytest.approx(1 / 3)) is True
    for _ in range(running.steps_per_epoch):
        running.advance()
    assert np.ptp(running.probabilities()) > 0.01


def test_a_resumed_search_equals_an_uninterrupted_one(
    tiny: ChainSpace, colours: Cifar10, tmp_path: Path
) -> None:
    whole = search(tiny, colours)
    whole.run(tmp_path / "whole")
    ticks = count()
    first = search(tiny, colours)
    first.run(tmp_path / "parts", deadline=17.0, clock=lambda: float(next(ticks)))

    second = search(tiny, colours)
    second.restore(tmp_path / "parts")
    assert 0 < second.step < second.recipe.epochs * second.steps_per_epoch
    second.run(tmp_path / "parts")

    assert (second.probabilities() == whole.probabilities()).all()
    assert second.history == whole.history
    space, recipe, table = stored_search(tmp_path / "parts")
    assert (space, recipe, table.tolist()) == ("tiny", whole.recipe, TABLE.tolist())


@pytest.mark.parametrize("damage", ["cut", "table", "kind"])
def test_a_state_that_does_not_fit_is_refused(
    tiny: ChainSpace, colours: Cifar10, tmp_path: Path, damage: str
) -> None:
    begun = search(tiny, colours)
    begun.save(tmp_path)
    file = tmp_path / STATE
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "kind":
        file.write_bytes(file.read_bytes().replace(b"differentiable", b"undifferentia!"))
    other = DifferentiableSearch(
        tiny, colours, TABLE + (damage == "table"), RECIPE, CPU
    )  # fmt: skip

    with pytest.raises(CheckpointError):
        other.restore(tmp_path)


def test_wrong_tables_spaces_and_numbers_of_images_are_refused(
    tiny: ChainSpace, colours: Cifar10
) -> None:
    with pytest.raises(UsageError, match=r"\(3, 3\) finite numbers, not \(2, 3\)"):
        DifferentiableSearch(tiny, colours, TABLE[:2], RECIPE, CPU)
    with pytest.raises(UsageError, match="finite"):
        DifferentiableSearch(tiny, colours, TABLE * np.nan, RECIPE, CPU)
    with pytest.raises(UsageError, match="no chain of blocks"):
        search(SPACES.get("nasbench201"), colours)
    with pytest.raises(UsageError, match="too few"):
        search(tiny, colours.subset(4))


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"weights_share": 1.0}, {"postponed_epochs": 60}, {"budget": 0.0}]
)
def test_recipes_that_cannot_be_searched_with_are_refused(change: dict) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(change))} is"):
        SearchRecipe(**change)


def test_the_loss_of_the_paper_and_that_of_a_budget() -> None:
    error, cost = torch.tensor(2.0), torch.tensor(5.0)
    paper, budget = SearchRecipe(), SearchRecipe(budget=4.0, strength=3.0)

    assert paper.total_loss(error, cost).item() == pytest.approx(2 * 0.2 * np.log(5000) ** 0.6)
    assert budget.total_loss(error, cost).item() == pytest.approx(2 + 3 * np.log(5 / 4))
    assert budget.total_loss(error, torch.tensor(3.9)).item() == 2.0


@pytest.mark.slow
def test_adam_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(3, 4, generator=generator)
    theirs = ours.clone().requires_grad_()
    moments = torch.zeros(2, 3, 4)
    optimiser = torch.optim.Adam([theirs], lr=0.1, weight_decay=0.01)
    for step in range(1, 6):
        gradient = torch.randn(3, 4, generator=generator)
        theirs.grad = gradient.clone()
        optimiser.step()
        adam_step(ours, gradient, moments, count=step, rate=0.1, weight_decay=0.01)

    assert ours.numpy() == pytest.approx(theirs.detach().numpy(), abs=1e-6)


@pytest.mark.slow
def test_fbnet_is_searched_on_real_pictures(nas_data: Path, tmp_path: Path) -> None:
    space = SPACES.get("fbnet")
    assert isinstance(space, ChainSpace)
    data = load_cifar10(nas_data, subset=12)
    recipe = SearchRecipe(epochs=1, postponed_epochs=0, batch=8, weights_share=0.67, budget=30.0,
                          logits_rate=0.1)  # fmt: skip
    running = DifferentiableSearch(
        space, data, block_sums(space, space.cost_table.macs / 1e6), recipe, CPU
    )  # fmt: skip

    running.run(tmp_path)
    result = write_search_results(running, tmp_path, "M MACs")

    assert result["finished"]
    arch = Architecture.parse(result["architecture"])
    assert result["cost"] == pytest.approx(space.graph(arch).macs / 1e6)
    assert len(result["choices"]) == 22
    with np.load(tmp_path / "dnas.npz") as arrays:
        assert arrays["probabilities"].shape == (22, 9)
        # One step above the budget: skips gain on the blocks with the largest kernel everywhere.
        assert (arrays["probabilities"][:, 8] > arrays["probabilities"][:, 7]).mean() > 0.7
    assert "budget 30" in (tmp_path / "dnas.md").read_text()
