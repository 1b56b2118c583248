from __future__ import annotations

import numpy as np
import pytest
import torch

from nas.supernet.optimiser import Layout, leaves, sgd_step
from search_spaces.architecture import Architecture
from search_spaces.space import ChainSpace
from search_spaces.tensors import shared_slots
from search_spaces.torch_build import forward, init_slots


def test_a_vector_and_its_tensors_are_one(tiny: ChainSpace) -> None:
    wanted = shared_slots(tiny)
    layout = Layout.of(wanted)
    tensors = init_slots(wanted, torch.Generator().manual_seed(0))

    flat = layout.flatten(tensors, torch.device("cpu"))

    views = layout.views(flat)
    assert set(views) == {name for name, slot in wanted.items() if slot.trained}
    assert layout.size == sum(view.numel() for view in views.values())
    assert all((views[name] == tensors[name]).all() for name in views)
    flat.zero_()
    assert not views["stem"].any()
    decayed = sum(v.numel() for name, v in views.items() if wanted[name].decayed)
    assert layout.decayed == decayed


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
def test_gradients_of_slices_add_up_where_autograd_would_put_them(tiny: ChainSpace) -> None:
    """Two networks over one vector, against torch's own slices of whole tensors."""
    wanted = shared_slots(tiny)
    layout = Layout.of(wanted)
    values = layout.flatten(init_slots(wanted, torch.Generator().manual_seed(0)),
                            torch.device("cpu"))  # fmt: skip
    gradients = torch.zeros_like(values)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    graphs = [tiny.graph(Architecture("tiny", genes)) for genes in ((0, 1, 0), (1, 0, 2))]
    whole = {k: v.detach().clone().requires_grad_() for k, v in layout.views(values).items()}

    for graph in graphs:
        own = leaves(graph, layout.views(values), layout.views(gradients))
        forward(graph, own, x, training=True, statistics="batch").square().mean().backward()
        forward(graph, whole, x, training=True, statistics="batch").square().mean().backward()

    for name, view in layout.views(gradients).items():
        expected = whole[name].grad
        if expected is None:
            assert not view.any()
        else:
            assert view.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.slow
def test_steps_are_those_of_torch(tiny: ChainSpace) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(20, generator=generator)
    velocity = torch.zeros(20)
    parts = [values[:12].clone().requires_grad_(), values[12:].clone().requires_grad_()]
    groups: list[dict] = [{"params": parts[:1], "weight_decay": 0.1}, {"params": parts[1:]}]
    theirs = torch.optim.SGD(
        groups, lr=0.5, momentum=0.9, nesterov=True,
    )  # fmt: skip

    for _ in range(4):
        gradients = torch.randn(20, generator=generator)
        parts[0].grad, parts[1].grad = gradients[:12].clone(), gradients[12:].clone()
        torch.nn.utils.clip_grad_norm_(parts, 2.0)
        theirs.step()
        sgd_step(
            values, gradients, velocity, decayed=12, rate=0.5, momentum=0.9, weight_decay=0.1,
            clip=2.0,
        )  # fmt: skip

    expected = torch.cat([part.detach() for part in parts]).numpy()
    assert np.allclose(values.numpy(), expected, atol=1e-6)
