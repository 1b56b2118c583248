"""What a runtime is given to run."""

from __future__ import annotations

import onnx
import pytest

from devices.model import encode
from devices.reference import reference_graph
from devices.runtime import RUNTIMES
from search_spaces.graph_json import graph_from_json
from search_spaces.onnx_build import build_onnx


def test_onnx_runtimes_get_a_model_with_weights_at_their_batch() -> None:
    graph = reference_graph()

    model = encode(graph, RUNTIMES.get("ort"), 2)

    assert model == build_onnx(graph, "seeded", batch=2)
    read = onnx.load_from_string(model)
    assert read.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2


@pytest.mark.parametrize("batch", [1, 32])
def test_graph_runtimes_get_the_layer_graph(batch: int) -> None:
    graph = reference_graph()

    model = encode(graph, RUNTIMES.get("cudagraph"), batch)

    assert graph_from_json(model.decode()) == graph
