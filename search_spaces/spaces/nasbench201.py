"""NAS-Bench-201: one cell of four nodes and six edges, repeated in a fixed skeleton for CIFAR-10.

Source: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture
Search", ICLR 2020, section 2: a convolution to 16 channels, three stages of five cells with 16, 32
and 64 channels, a residual block that halves the image between stages, and a classifier. Their
FLOPs are our MACs plus one for each class (the classifier's bias). Their parameters are ours, but
they also count operators of a cell that lead nowhere, which are no part of our graph.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from search_spaces.architecture import Architecture, Choice, GeneArray
from search_spaces.errors import InvalidArchitectureError
from search_spaces.graph import INPUT, OpGraph, chain
from search_spaces.ops import (
    Activate,
    Add,
    AveragePool,
    BatchNorm,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    Op,
    Zero,
    whole,
)
from search_spaces.space import Block, Costs, SearchSpace

OPERATORS = ("none", "skip", "conv1x1", "conv3x3", "avgpool")
NONE, SKIP, CONV1X1, CONV3X3, AVGPOOL = range(len(OPERATORS))
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
# The benchmark's own words for the operators.
PUBLISHED = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

NODES = 4
CELLS = 5
RESOLUTION = 32
WIDTHS = (16, 32, 64)
CLASSES = 10

Genes = tuple[int, ...]

# Value of each gene in the number of a genotype.
_PLACES = len(OPERATORS) ** np.arange(len(EDGES) - 1, -1, -1)


class NasBench201(SearchSpace):
    """Genes: the operator of each edge, in the order 0-1, 0-2, 1-2, 0-3, 1-3, 2-3.

    Edges on no path from input to output are left out of the graph, and a skip is no operator. A
    cell without any path hands on zeros, as the benchmark's does. Each edge and operator has
    weights of its own.
    """

    name = "nasbench201"
    choices = tuple(Choice(f"edge[{source}->{target}]", OPERATORS) for source, target in EDGES)

    def graph(self, arch: Architecture) -> OpGraph:
        """Stem, cells with residual blocks between stages, classifier."""
        return chain((3, RESOLUTION, RESOLUTION), [block.ops for block in self.blocks_of(arch)])

    def blocks_of(self, arch: Architecture) -> list[Block]:
        """Stem, cells, residual blocks and head; a cell that is only a skip is no block."""
        plan = _plan(self.check(arch))
        blocks = [_stem()]
        for stage in range(len(WIDTHS)):
            if stage:
                blocks.append(_reduction(stage))
            if plan:
                blocks += [_cell(stage, number, plan) for number in range(CELLS)]
        return [*blocks, _head()]

    def canonical(self, genes: GeneArray) -> GeneArray:
        """Of all genotypes with one layer graph the first, counted in base five."""
        return np.asarray(self._first[genes.astype(np.int64) @ _PLACES])

    def describe(self, arch: Architecture) -> dict[str, Any]:
        """Operator of each edge, and the cell as the benchmark writes it."""
        return {**super().describe(arch), "cell": to_cell(arch)}

    def _costs_of(self, arch: Architecture) -> Costs:
        plan = _plan(self.check(arch))
        parts = [self._skeleton_costs]
        # Cells of a stage cost the same: one of each is enough.
        for stage in range(len(WIDTHS) if plan else 0):
            parts += [Costs.of(_cell(stage, 0, plan).graph())] * CELLS
        return Costs.joined(parts)

    @cached_property
    def _skeleton_costs(self) -> Costs:
        blocks = [_stem(), _reduction(1), _reduction(2), _head()]
        return Costs.joined(Costs.of(block.graph()) for block in blocks)

    @cached_property
    def _first(self) -> GeneArray:
        """(15625, 6) canonical genotype of every genotype."""
        every = np.arange(self.size)[:, None] // _PLACES % len(OPERATORS)
        first: dict[tuple[object, ...], int] = {}
        rows = [
            first.setdefault(tuple(step[:2] for step in _plan(tuple(genes))), number)
            for number, genes in enumerate(every.tolist())
        ]
        return every[rows].astype(np.int8)


def to_cell(arch: Architecture) -> str:
    """The cell as the benchmark writes it.

    Example:
        >>> to_cell(Architecture("nasbench201", (3, 0, 1, 4, 2, 3)))
        '|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|'
    """
    genes = SPACE.check(arch)
    nodes = [
        "|".join(
            f"{PUBLISHED[gene]}~{source}"
            for (source, target), gene in zip(EDGES, genes, strict=True)
            if target == node
        )
        for node in range(1, NODES)
    ]
    return "+".join(f"|{node}|" for node in nodes)


def from_cell(cell: str) -> Architecture:
    """Read a cell as the benchmark writes it.

    Raises:
        InvalidArchitectureError: If an edge is missing or an operator unknown.
    """
    nodes = [node.strip("|").split("|") for node in cell.strip().split("+")]
    if [len(node) for node in nodes] != [1, 2, 3]:
        msg = f"{cell!r} is no NAS-Bench-201 cell; write |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
        raise InvalidArchitectureError(msg)
    genes = []
    for word, (source, target) in zip([w for node in nodes for w in node], EDGES, strict=True):
        operator, _, place = word.partition("~")
        if operator not in PUBLISHED or place != str(source):
            msg = (
                f"{word!r} is no operator of the edge {source}->{target}; allowed: "
                f"{', '.join(f'{name}~{source}' for name in PUBLISHED)}"
            )
            raise InvalidArchitectureError(msg)
        genes.append(PUBLISHED.index(operator))
    return Architecture(SPACE.name, tuple(genes))


# --- Cells -------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """One operator of a cell.

    Attributes:
        kind: `conv1x1`, `conv3x3`, `avgpool`, `add` or `zero`.
        reads: What it reads: 0 is the cell's input, i what step i made, counted from 1.
        edge: The edge it stands on, such as `0to1`.
    """

    kind: str
    reads: tuple[int, ...]
    edge: str


def _plan(genes: Genes) -> tuple[_Step, ...]:
    """Operators of a cell in order, the last one its output; none if it is only a skip."""
    live = _live(genes)
    if not live:
        return (_Step("zero", (0,), "none"),)
    steps: list[_Step] = []
    made = {0: 0}  # what each node holds, as in `reads`
    for source, target, gene in live:
        edge, tensor = f"{source}to{target}", made[source]
        if gene != SKIP:
            steps.append(_Step(OPERATORS[gene], (tensor,), edge))
            tensor = len(steps)
        if target in made:
            steps.append(_Step("add", (made[target], tensor), edge))
            tensor = len(steps)
        made[target] = tensor
    return tuple(steps)


def _live(genes: Genes) -> list[tuple[int, int, int]]:
    """Source, target and operator of the edges on a path from input to output."""
    edges = [(*edge, gene) for edge, gene in zip(EDGES, genes, strict=True) if gene != NONE]
    reached, leading = {0}, {NODES - 1}
    # Edges are in the order of their targets: one pass forwards and one backwards are enough.
    for source, target, _ in edges:
        if source in reached:
            reached.add(target)
    for source, target, _ in reversed(edges):
        if target in leading:
            leading.add(source)
    return [edge for edge in edges if edge[0] in reached and edge[1] in leading]


def _cell(stage: int, number: int, plan: tuple[_Step, ...]) -> Block:
    label, width = f"s{stage}.c{number}", WIDTHS[stage]
    shape = (width, RESOLUTION >> stage, RESOLUTION >> stage)
    tensors, ops = [INPUT], list[Op]()
    for step in plan:
        ops += _step(f"{label}.{step.edge}", step.kind, [tensors[i] for i in step.reads], shape)
        tensors.append(ops[-1].name)
    return Block(label, f"stage{stage}", shape, tuple(ops))


def _step(edge: str, kind: str, reads: list[str], shape: tuple[int, int, int]) -> list[Op]:
    name, inputs = f"{edge}.{kind}", tuple(reads)
    if kind == "add":
        return [Add(name=name, inputs=inputs, shape=shape)]
    if kind == "zero":
        return [Zero(name=name, inputs=inputs, shape=shape)]
    if kind == OPERATORS[AVGPOOL]:
        return [AveragePool(name=name, inputs=inputs, shape=shape, kernel=3, padding=1)]
    kernel = 1 if kind == OPERATORS[CONV1X1] else 3
    return _relu_conv(name, inputs, shape, shape[0], kernel=kernel)


# --- Skeleton ----------------------------------------------------------------------------------


def _relu_conv(
    name: str, inputs: tuple[str, ...], shape: tuple[int, int, int], before: int, *,
    kernel: int, stride: int = 1,
) -> list[Op]:  # fmt: skip
    """Activation, convolution, normalisation: the order of the benchmark."""
    entry = (before, shape[1] * stride, shape[2] * stride)
    return [
        Activate(name=f"{name}.relu", inputs=inputs, shape=entry, activation="relu"),
        Conv(
            name=name, inputs=(f"{name}.relu",), shape=shape, in_channels=before, kernel=kernel,
            stride=stride, weight=whole(name, shape[0], before, kernel, kernel),
        ),
    ]  # fmt: skip


def _stem() -> Block:
    entry, width = (3, RESOLUTION, RESOLUTION), WIDTHS[0]
    conv = Conv(
        name="stem.conv", inputs=(INPUT,), shape=(width, *entry[1:]), in_channels=3, kernel=3,
        weight=whole("stem.conv", width, 3, 3, 3),
    )  # fmt: skip
    return Block("stem", "stem", entry, (conv,))


def _reduction(stage: int) -> Block:
    """The residual block in front of a stage; its shortcut pools, then widens."""
    label, before, width = f"r{stage}", WIDTHS[stage - 1], WIDTHS[stage]
    size = RESOLUTION >> stage
    shape, entry = (width, size, size), (before, 2 * size, 2 * size)
    ops = (
        *_relu_conv(f"{label}.conv1", (INPUT,), shape, before, kernel=3, stride=2),
        *_relu_conv(f"{label}.conv2", (f"{label}.conv1",), shape, width, kernel=3),
        AveragePool(
            name=f"{label}.pool", inputs=(INPUT,), shape=(before, size, size), kernel=2, stride=2
        ),
        Conv(
            name=f"{label}.widen", inputs=(f"{label}.pool",), shape=shape, in_channels=before,
            kernel=1, normalised=False, weight=whole(f"{label}.widen", width, before, 1, 1),
        ),
        Add(name=f"{label}.add", inputs=(f"{label}.widen", f"{label}.conv2"), shape=shape),
    )  # fmt: skip
    return Block(label, "reduction", entry, ops)


def _head() -> Block:
    width, size = WIDTHS[-1], RESOLUTION >> len(WIDTHS) - 1
    shape = (width, size, size)
    ops = (
        BatchNorm(name="head.norm", inputs=(INPUT,), shape=shape, weight=whole("head.norm", width)),
        Activate(name="head.relu", inputs=("head.norm",), shape=shape, activation="relu"),
        GlobalAveragePool(name="head.pool", inputs=("head.relu",), shape=(width, 1, 1)),
        Flatten(name="head.flatten", inputs=("head.pool",), shape=(width,)),
        Linear(
            name="head.classifier", inputs=("head.flatten",), shape=(CLASSES,), in_features=width,
            weight=whole("head.classifier", CLASSES, width),
        ),
    )  # fmt: skip
    return Block("head", "head", shape, ops)


SPACE = NasBench201()
