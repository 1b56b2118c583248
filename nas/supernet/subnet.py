"""A sub-network out of shared weights: cut, its statistics taken anew, folded, judged on images.

Batch-norm statistics belong to the network in which they were taken; those of the largest one make
its sub-networks guess. They are taken again from a few hundred training images, as Cai et al. do
("Once-for-All", ICLR 2020) and Yu et al. explain ("Slimmable Neural Networks", ICLR 2019,
section 3.3). The same network, weights and images give the same bits in every process.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nas.supernet.inference import Float32Array, LabelArray, correct, open_session
from search_spaces.errors import InvalidGraphError
from search_spaces.graph import OpGraph
from search_spaces.onnx_build import build_onnx
from search_spaces.onnx_calibrate import calibration_onnx, normalised_ops
from search_spaces.tensors import fold, graph_slots

RECALIBRATION_IMAGES = 256
# One shape of inputs for all, whatever the number of images: runtimes choose kernels by it.
BATCH = 100


def recalibrated(
    graph: OpGraph, shared: Mapping[str, NDArray[np.float32]], images: Float32Array
) -> dict[str, Float32Array]:
    """The tensors of a sub-network as `build_onnx` takes them, normalised for its own activations.

    Args:
        graph: The sub-network.
        shared: Tensors of the super-network by name, see `search_spaces.tensors`.
        images: (n, ...) inputs from the training set; their statistics are folded in.

    Raises:
        InvalidGraphError: If a tensor is missing or too small.
    """
    own = _cut_trained(graph, shared)
    ops = normalised_ops(graph)
    if ops:
        session = open_session(calibration_onnx(graph, own, len(images)))
        names = [f"{op.name}.{part}" for op in ops for part in ("mean", "var")]
        found = dict(zip(names, session.run(names, {"input": images}), strict=True))
        for op in ops:
            for part in ("mean", "var"):
                own[f"{op.weight.key}.bn.{part}"] = found[f"{op.name}.{part}"].reshape(-1)
    return fold(graph, own)


def count_correct(
    graph: OpGraph, folded: Mapping[str, Float32Array], inputs: Float32Array, labels: LabelArray
) -> int:
    """How many inputs a folded network classifies as their labels say.

    Args:
        graph: The network.
        folded: What `recalibrated` returned.
        inputs: (n, ...) normalised images.
        labels: (n,).
    """
    return correct(open_session(build_onnx(graph, folded, batch=BATCH)), inputs, labels)


def _cut_trained(
    graph: OpGraph, shared: Mapping[str, NDArray[np.float32]]
) -> dict[str, Float32Array]:
    """A network's own tensors without statistics, which a checkpoint need not hold."""
    own: dict[str, Float32Array] = {}
    for slot in graph_slots(graph):
        if not slot.trained:
            continue
        whole = shared.get(slot.name)
        if whole is None:
            msg = f"no tensor named {slot.name!r}; {len(shared)} others are there"
            raise InvalidGraphError(msg)
        own[slot.name] = np.array(whole[slot.within(whole.shape)], dtype=np.float32, order="C")
    return own
