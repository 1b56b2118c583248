"""What every search space promises; a new file in `search_spaces/spaces` is tested by existing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from search_spaces import SPACES
from search_spaces.architecture import Architecture, Population
from search_spaces.costs import COSTS, costs
from search_spaces.errors import InvalidArchitectureError
from search_spaces.graph import OpGraph, chain
from search_spaces.moves import crossover, mutate, neighbours, sample
from search_spaces.onnx_build import build_onnx
from search_spaces.space import ChainSpace, SearchSpace


@pytest.fixture(params=SPACES.names())
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES.get(request.param)


@pytest.fixture
def networks(space: SearchSpace) -> Population:
    return sample(space, 12, np.random.default_rng(0))


def test_the_space_is_called_as_its_file(space: SearchSpace) -> None:
    assert SPACES.get(space.name) is space
    assert ":" not in space.name


def test_choices_have_names_of_their_own_and_distinct_options(space: SearchSpace) -> None:
    names = [choice.name for choice in space.choices]

    assert len(set(names)) == len(names)
    assert all(len(set(choice.options)) == len(choice.options) for choice in space.choices)


def test_samples_are_canonical_networks_of_the_space(
    space: SearchSpace, networks: Population
) -> None:
    space.check_genes(networks.genes)
    assert (space.canonical(networks.genes) == networks.genes).all()


def test_the_canonical_genotype_is_the_same_network(space: SearchSpace) -> None:
    genes = np.random.default_rng(1).integers(0, space.option_counts, (12, len(space.choices)))
    for arch in Population(space, genes.astype(np.int8)).architectures():
        canonical = space.canonical_arch(arch)

        assert space.canonical_arch(canonical) == canonical
        assert space.graph(canonical).digest == space.graph(arch).digest


def test_canonical_leaves_its_argument_alone(space: SearchSpace) -> None:
    genes = np.full((1, len(space.choices)), 0, dtype=np.int8) + (space.option_counts > 1)
    genes = genes.astype(np.int8)
    before = genes.copy()

    space.canonical(genes)

    assert (genes == before).all()


def test_the_first_and_the_last_network_have_graphs(space: SearchSpace) -> None:
    for arch in extremes(space):
        graph = space.graph(arch)

        assert graph.macs > 0
        assert graph.parameters > 0
        assert graph.peak_activation_bytes > 0


def test_costs_of_a_population_equal_those_of_its_graphs(
    space: SearchSpace, networks: Population
) -> None:
    found = costs(networks)

    graphs = [space.graph(arch) for arch in networks.architectures()]
    for name in COSTS:
        assert found[name].tolist() == [getattr(graph, name) for graph in graphs], name


def test_blocks_are_numbered_without_gaps(space: SearchSpace, networks: Population) -> None:
    if not isinstance(space, ChainSpace):
        return
    ids = space.block_ids(networks.genes)

    assert ids.min() >= -1
    assert ids.max() < space.block_count
    assert len(space.block_digests) == space.block_count
    assert len(space.block_groups[1]) == space.block_count


def test_keys_are_read_back(networks: Population) -> None:
    assert [Architecture.parse(arch.key) for arch in networks.architectures()] == (
        networks.architectures()
    )


def test_a_network_describes_itself_in_json(space: SearchSpace, networks: Population) -> None:
    described = space.describe(networks[0])

    assert described
    assert json.loads(json.dumps(described)) == described


def refusal() -> AbstractContextManager[object]:
    return pytest.raises(InvalidArchitectureError)


@pytest.mark.parametrize("use", ["graph", "describe", "canonical_arch"])
@pytest.mark.parametrize("change", [(99,), (-1,)], ids=str)
def test_genes_outside_the_space_are_refused(
    space: SearchSpace, use: str, change: tuple[int, ...]
) -> None:
    wrong = Architecture(space.name, (*change, *[0] * (len(space.choices) - 1)))
    method: Callable[[Architecture], object] = getattr(space, use)

    with refusal():
        method(wrong)
    with refusal():
        method(Architecture(space.name, wrong.genes[1:]))


def test_moves_stay_inside(space: SearchSpace, networks: Population) -> None:
    rng = np.random.default_rng(0)
    for moved in (
        mutate(networks, 0.5, rng),
        crossover(networks, sample(space, len(networks), rng), rng),
        neighbours(space, networks[0]),
    ):
        space.check_genes(moved.genes)
        assert (space.canonical(moved.genes) == moved.genes).all()


def extremes(space: SearchSpace) -> list[Architecture]:
    return [
        Architecture(space.name, tuple(genes.tolist()))
        for genes in (space.option_counts * 0, space.option_counts - 1)
    ]


def run(graph: OpGraph, weights: str, batch: int = 1) -> None:
    """The model passes the checker, and runs with finite outputs of the graph's shape."""
    model = build_onnx(graph, weights, batch=batch)  # type: ignore[arg-type]  # a word
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1

    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((batch, *graph.input_shape), dtype=np.float32)
    (output,) = session.run(None, {"input": x})

    assert output.shape == (batch, *graph.output.shape)
    assert np.isfinite(output).all()


@pytest.mark.parametrize("weights", ["none", "seeded"])
def test_networks_run_as_onnx_models(
    networks: Population, space: SearchSpace, weights: str
) -> None:
    run(space.graph(networks[0]), weights)


def test_the_first_and_the_last_network_run_as_onnx_models(space: SearchSpace) -> None:
    for arch in extremes(space):
        run(space.graph(arch), "none")


def test_a_batch_runs_as_one_onnx_model(space: SearchSpace, networks: Population) -> None:
    run(space.graph(networks[1]), "none", batch=2)


def test_different_canonical_genotypes_are_different_networks(space: SearchSpace) -> None:
    archs = sample(space, 40, np.random.default_rng(2)).architectures()

    assert len({space.graph(arch).digest for arch in archs}) == len(set(archs))


def test_costs_do_not_depend_on_who_else_is_in_the_population(
    space: SearchSpace, networks: Population
) -> None:
    whole = costs(networks)

    alone = costs(Population(space, networks.genes[3:4]))

    assert {name: values[3] for name, values in whole.items()} == {
        name: values[0] for name, values in alone.items()
    }


def test_genotypes_need_not_be_canonical_to_be_costed(space: SearchSpace) -> None:
    genes = np.random.default_rng(3).integers(0, space.option_counts, (8, len(space.choices)))
    raw = genes.astype(np.int8)

    found, expected = costs(Population(space, raw)), costs(Population(space, space.canonical(raw)))

    assert all((found[name] == expected[name]).all() for name in COSTS)


def test_the_blocks_of_a_network_make_up_its_graph(
    space: SearchSpace, networks: Population
) -> None:
    for arch in (*extremes(space), networks[0]):
        blocks = space.blocks_of(arch)

        joined = chain(blocks[0].input_shape, [block.ops for block in blocks])

        assert joined.digest == space.graph(arch).digest
        assert all(block.graph().output.shape for block in blocks)
        assert all(block.label and block.group for block in blocks)


def test_weights_of_one_name_have_one_rank_and_fit_their_operators(
    space: SearchSpace, networks: Population
) -> None:
    """Slices of one tensor; the shapes themselves are the business of the builders."""
    ranks: dict[str, int] = {}
    for arch in (*extremes(space), *networks.architectures()):
        for op in space.graph(arch).ops:
            part = getattr(op, "weight", None)
            if part is None:
                continue
            assert ranks.setdefault(part.key, len(part.shape)) == len(part.shape), part.key
            assert len(part.start) == len(part.shape), part.key
            assert op.weight_elements >= np.prod(part.shape), part.key


@pytest.mark.slow
def test_a_weightless_network_is_run_with_the_same_operators_as_the_full_one(
    space: SearchSpace, networks: Population, tmp_path: Path
) -> None:
    """A runtime may fold its weights, but must not find layers equal that are not."""
    for arch in (*extremes(space), networks[2]):
        graph = space.graph(arch)

        kinds = [optimised(build_onnx(graph, weights), tmp_path) for weights in ("none", "seeded")]

        assert kinds[0] == kinds[1], arch.key


def optimised(model: bytes, folder: Path) -> Counter[str]:
    """Kinds of the operators that ONNX Runtime runs after its own optimisation."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # a saved model fits this processor only: we know
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    return Counter(node.op_type for node in nodes)
