"""The tensors behind a layer graph: their names, shapes, and which part of each a network reads.

Initialising, slicing, counting and folding all read the same list of slots, so that torch, NumPy
and checkpoints agree on names. A name is the operator's weight key, alone for a kernel or a matrix,
and with `.bias`, `.bn.weight`, `.bn.bias`, `.bn.mean`, `.bn.var` for the vectors beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture
from search_spaces.errors import InvalidGraphError
from search_spaces.graph import OpGraph
from search_spaces.ops import (
    BatchNorm,
    ClassToken,
    Conv,
    LayerNorm,
    Linear,
    Op,
    PositionEmbedding,
    Shape,
    TokenLinear,
    WeightSlice,
)
from search_spaces.space import ChainSpace, SearchSpace

NORM_EPS = 1e-5
"""Added to every variance before the root, in training and when folding."""

Role = Literal["kernel", "matrix", "embedding", "bias", "scale", "shift", "mean", "variance"]
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class TensorSlot:
    """One tensor that an operator reads, and its part in the largest network's.

    Attributes:
        name: Name of the shared tensor.
        start: First index taken along each axis.
        shape: Extent taken along each axis.
        role: What it is for; `mean` and `variance` are statistics, the rest is trained.
    """

    name: str
    start: tuple[int, ...]
    shape: Shape
    role: Role

    @property
    def trained(self) -> bool:
        """Whether gradients change it."""
        return self.role not in ("mean", "variance")

    @property
    def decayed(self) -> bool:
        """Whether weight decay is usual: kernels and matrices, no vector."""
        return self.role in ("kernel", "matrix")

    def within(self, shape: tuple[int, ...]) -> tuple[slice, ...]:
        """Where the slot lies in a tensor of that shape; all of it if it was cut before.

        Raises:
            InvalidGraphError: If the tensor is too small.
        """
        if shape == self.shape:
            return (slice(None),) * len(shape)
        stop = tuple(first + extent for first, extent in zip(self.start, self.shape, strict=True))
        if len(shape) != len(stop) or any(s > e for s, e in zip(stop, shape, strict=True)):
            msg = (
                f"tensor {self.name!r} has shape {tuple(shape)}; {self.shape} from {self.start} "
                "are needed of it"
            )
            raise InvalidGraphError(msg)
        return tuple(slice(first, last) for first, last in zip(self.start, stop, strict=True))


@lru_cache(maxsize=1 << 15)
def slots(op: Op) -> tuple[TensorSlot, ...]:
    """The tensors that one operator reads in training.

    Example:
        >>> from search_spaces.ops import Linear, WeightSlice
        >>> part = WeightSlice("head", (0, 0), (10, 64))
        >>> op = Linear(name="c", inputs=("x",), shape=(10,), in_features=64, weight=part)
        >>> [slot.name for slot in slots(op)]
        ['head', 'head.bias']
    """
    match op:
        case Conv():
            found = [_whole(op.weight, "kernel")]
            if op.bias:
                found.append(_vector(op.weight, ".bias", "bias"))
            if op.normalised:
                found += normalisation_slots(op.weight)
            return tuple(found)
        case Linear() | TokenLinear():
            matrix = _whole(op.weight, "matrix")
            return (matrix, _vector(op.weight, ".bias", "bias")) if op.bias else (matrix,)
        case BatchNorm():
            return tuple(normalisation_slots(op.weight))
        case LayerNorm():
            return (_whole(op.weight, "scale"), _vector(op.weight, ".bias", "shift"))
        case ClassToken() | PositionEmbedding():
            return (_whole(op.weight, "embedding"),)
        case _:
            return ()


def normalisation_slots(part: WeightSlice) -> list[TensorSlot]:
    """Scale, shift and statistics of the batch norm behind a weight; one value for each channel."""
    endings: tuple[tuple[str, Role], ...] = (
        (".bn.weight", "scale"),
        (".bn.bias", "shift"),
        (".bn.mean", "mean"),
        (".bn.var", "variance"),
    )
    return [_vector(part, ending, role) for ending, role in endings]


def _whole(part: WeightSlice, role: Role) -> TensorSlot:
    return TensorSlot(part.key, part.start, part.shape, role)


def _vector(part: WeightSlice, ending: str, role: Role) -> TensorSlot:
    return TensorSlot(part.key + ending, part.start[:1], part.shape[:1], role)


def graph_slots(graph: OpGraph) -> Iterator[TensorSlot]:
    """All slots of a network, in the order of execution."""
    for op in graph.ops:
        yield from slots(op)


def covering(found: Iterable[TensorSlot]) -> dict[str, TensorSlot]:
    """The smallest tensors, by name, that hold all the given slots; each starts at 0.

    Raises:
        InvalidGraphError: If one name is used with two ranks or roles.
    """
    result: dict[str, TensorSlot] = {}
    for slot in found:
        extent = tuple(a + b for a, b in zip(slot.start, slot.shape, strict=True))
        known = result.get(slot.name)
        if known is not None:
            if len(known.shape) != len(extent) or known.role != slot.role:
                msg = (
                    f"tensor {slot.name!r} is a {known.role} of shape {known.shape} for one "
                    f"operator and a {slot.role} of shape {slot.shape} for another; give it two "
                    "names"
                )
                raise InvalidGraphError(msg)
            extent = tuple(max(a, b) for a, b in zip(known.shape, extent, strict=True))
        result[slot.name] = TensorSlot(slot.name, (0,) * len(extent), extent, slot.role)
    return result


def shared_slots(space: SearchSpace) -> dict[str, TensorSlot]:
    """The tensors, by name, from which every network of a space can be cut.

    A chain is covered by its blocks. Of other spaces the first and the last genotype and all that
    differ from them in one gene are looked at: each option occurs in one of them.
    """
    if isinstance(space, ChainSpace):
        blocks = (space.block(block_id).graph() for block_id in range(space.block_count))
        return covering(slot for graph in blocks for slot in graph_slots(graph))
    return covering(slot for arch in _one_of_each(space) for slot in graph_slots(space.graph(arch)))


def _one_of_each(space: SearchSpace) -> Iterator[Architecture]:
    """Not in canonical form: that may move an operator to another place's weights."""
    for origin in (np.zeros_like(space.option_counts), space.option_counts - 1):
        for place, count in enumerate(space.option_counts):
            for option in range(int(count)):
                genes = origin.copy()
                genes[place] = option
                yield Architecture(space.name, tuple(int(gene) for gene in genes))


def cut(graph: OpGraph, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
    """A network's own tensors, by name, cut from shared ones and copied.

    Raises:
        InvalidGraphError: If one is missing or too small.
    """
    result: dict[str, NDArray[np.float32]] = {}
    for slot in graph_slots(graph):
        whole = _named(arrays, slot.name)
        result[slot.name] = np.array(whole[slot.within(whole.shape)], dtype=np.float32, order="C")
    return result


def fold(graph: OpGraph, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
    """What `build_onnx` takes: a network's own tensors with stored statistics folded in.

    A convolution W x followed by (y - mean) / sqrt(var + eps) * scale + shift is the convolution
    with kernel W * scale / sqrt(var + eps) and a bias; a batch norm alone is a scale and a shift.

    Args:
        graph: The network.
        arrays: Shared tensors by name, or the network's own, statistics of this network.

    Raises:
        InvalidGraphError: If a tensor is missing or too small.
    """
    own = cut(graph, arrays)
    result: dict[str, NDArray[np.float32]] = {}
    for op in graph.ops:
        if isinstance(op, BatchNorm) or (isinstance(op, Conv) and op.normalised):
            key = op.weight.key
            factor = own[f"{key}.bn.weight"] / np.sqrt(own[f"{key}.bn.var"] + np.float32(NORM_EPS))
            bias = own.get(f"{key}.bias", np.float32(0.0)) - own[f"{key}.bn.mean"]
            result[f"{key}.bias"] = own[f"{key}.bn.bias"] + bias * factor
            if isinstance(op, Conv):
                factor = own[key] * factor[:, None, None, None]
            result[key] = factor
        else:
            result |= {slot.name: own[slot.name] for slot in slots(op)}
    return result


def _named(arrays: Arrays, name: str) -> NDArray[np.float32]:
    if name not in arrays:
        msg = f"no tensor named {name!r}; {len(arrays)} others are there"
        raise InvalidGraphError(msg)
    return arrays[name]
