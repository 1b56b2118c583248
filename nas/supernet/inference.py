"""Running a model on images with ONNX Runtime: one thread, so that sums are added in one order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import UsageError

Float32Array = NDArray[np.float32]
LabelArray = NDArray[np.int64]


def open_session(model: bytes) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU, with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def correct(session: Any, inputs: Float32Array, labels: LabelArray) -> int:
    """How many of the inputs are classified as their labels say.

    Args:
        session: Of a model with one input and one output (batch, classes).
        inputs: (n, ...) float32; the last batch is filled up with zeros.
        labels: (n,).

    Raises:
        UsageError: If the model takes inputs of another shape.
    """
    entry = session.get_inputs()[0]
    batch, *shape = entry.shape
    if list(inputs.shape[1:]) != shape or len(inputs) != len(labels):
        msg = (
            f"the model takes inputs (n, {', '.join(map(str, shape))}) and n labels; given were "
            f"{inputs.shape} and {labels.shape}"
        )
        raise UsageError(msg)
    right = 0
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        missing = batch - len(part)
        if missing:
            part = np.concatenate([part, np.zeros((missing, *shape), dtype=np.float32)])
        scores = session.run(None, {entry.name: part})[0][: batch - missing]
        right += int((scores.argmax(axis=1) == labels[start : start + batch]).sum())
    return right
