"""The layer graph: one description of a network from which everything else is derived."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from search_spaces.errors import InvalidGraphError
from search_spaces.ops import Op, Shape

INPUT = "input"
"""Name of the tensor that enters a graph."""

BYTES_FP32 = 4


@dataclass(frozen=True)
class OpGraph:
    """Operators in the order of execution; the last one is the output.

    Attributes:
        input_shape: Shape of the tensor `input`, batch left out.
        ops: Operators; each reads `input` or what an earlier one produced.

    Raises:
        InvalidGraphError: If a name is taken twice or read before it is produced.
    """

    input_shape: Shape
    ops: tuple[Op, ...]

    def __post_init__(self) -> None:
        """Check the order once, so that walks need no second pass."""
        known = {INPUT}
        for op in self.ops:
            missing = [name for name in op.inputs if name not in known]
            if missing or op.name in known:
                what = f"reads {missing[0]!r}, not yet produced" if missing else "is there twice"
                msg = f"operator {op.name!r} {what}; order operators by execution, names unique"
                raise InvalidGraphError(msg)
            known.add(op.name)
        if not self.ops:
            msg = "a layer graph needs at least one operator"
            raise InvalidGraphError(msg)

    @property
    def output(self) -> Op:
        """The operator whose tensor leaves the graph."""
        return self.ops[-1]

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(op.macs for op in self.ops)

    @cached_property
    def parameters(self) -> int:
        """Trained values."""
        return sum(op.parameters for op in self.ops)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of the weights in 32-bit floats, normalisation folded."""
        return BYTES_FP32 * sum(op.weight_elements for op in self.ops)

    @cached_property
    def activation_bytes(self) -> int:
        """Bytes that operators read and write for one sample, weights left out [B]."""
        elements = {INPUT: prod(self.input_shape)}
        moved = 0
        for op in self.ops:
            elements[op.name] = op.out_elements
            moved += op.out_elements + sum(elements[name] for name in op.inputs)
            # What lives inside an operator is written once and read once.
            moved += 2 * op.scratch_elements
        return BYTES_FP32 * moved

    @cached_property
    def peak_activation_bytes(self) -> int:
        """Most bytes of live tensors at any operator, in this order, without reuse in place [B]."""
        last_use = {name: step for step, op in enumerate(self.ops) for name in op.inputs}
        live = {INPUT: prod(self.input_shape)}
        peak = 0
        for step, op in enumerate(self.ops):
            live[op.name] = op.out_elements
            peak = max(peak, sum(live.values()) + op.scratch_elements)
            for name in set(op.inputs):
                if last_use[name] == step:
                    del live[name]
        return BYTES_FP32 * peak

    @cached_property
    def digest(self) -> str:
        """SHA-256 of structure and shapes; equal for networks that cost the same anywhere.

        Names and weights are left out, so the digest is the same in every process and on every
        machine, and two genotypes of one network share it.
        """
        order = {INPUT: 0} | {op.name: step for step, op in enumerate(self.ops, start=1)}
        rows = [[*op.signature(), [order[name] for name in op.inputs]] for op in self.ops]
        text = json.dumps([self.input_shape, rows], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def chain(input_shape: Shape, parts: Iterable[Sequence[Op]]) -> OpGraph:
    """Join parts end to end: `input` in a part means the last tensor of the part before.

    Args:
        input_shape: Shape of what enters the first part.
        parts: Operators of each part, with names unique over all parts.

    Raises:
        InvalidGraphError: If the parts do not fit together.
    """
    ops: list[Op] = []
    entry = INPUT
    for part in parts:
        for op in part:
            if INPUT in op.inputs and entry != INPUT:
                names = tuple(entry if name == INPUT else name for name in op.inputs)
                op = replace(op, inputs=names)
            ops.append(op)
        entry = ops[-1].name if ops else INPUT
    return OpGraph(input_shape, tuple(ops))
