from __future__ import annotations

import hashlib

import pytest

from search_spaces.architecture import Architecture
from search_spaces.errors import InvalidArchitectureError
from search_spaces.spaces import mobilenetv3
from search_spaces.spaces.mobilenetv3_cifar import SPACE

LARGEST = Architecture(SPACE.name, tuple((SPACE.option_counts - 1).tolist()))


def test_the_larger_sibling_keeps_the_digests_of_stored_measurements() -> None:
    """Of all 1,274 blocks, as they were before the two spaces shared their code."""
    digests = "".join(mobilenetv3.SPACE.block_digests)

    assert hashlib.sha256(digests.encode()).hexdigest() == (
        "3afbc363899060aee0da3c74831121ad7d0fefb48d6d5c113ff48adace907b66"
    )


def test_there_is_no_gene_for_the_resolution() -> None:
    assert [choice.name for choice in SPACE.choices[:6]] == [
        "depth[0]", "depth[1]", "depth[2]", "depth[3]", "depth[4]", "kernel[0]",
    ]  # fmt: skip
    assert len(SPACE.choices) == 45


def test_the_last_stage_sees_four_by_four_places() -> None:
    graph = SPACE.graph(LARGEST)
    shapes = {op.name: op.shape for op in graph.ops}

    assert graph.input_shape == (3, 32, 32)
    assert shapes["stem.conv"] == (16, 32, 32)
    assert [shapes[f"s{stage}.b0.project"][1] for stage in range(5)] == [16, 16, 8, 8, 4]
    assert graph.output.shape == (10,)


def test_parameters_differ_from_the_larger_sibling_by_the_classifier_alone() -> None:
    sibling = mobilenetv3.SPACE.graph(Architecture("mobilenetv3", (6, *LARGEST.genes)))

    assert sibling.parameters - SPACE.graph(LARGEST).parameters == 990 * (1280 + 1)
    assert SPACE.graph(LARGEST).parameters == 6_396_570


def test_dictionaries_round_trip_with_or_without_the_resolution() -> None:
    words = SPACE.to_ofa(LARGEST)

    assert words["r"] == 32
    assert SPACE.from_ofa(words) == LARGEST
    del words["r"]
    assert SPACE.from_ofa(words) == LARGEST


def test_another_resolution_is_refused() -> None:
    with pytest.raises(InvalidArchitectureError, match=r"r\[0\] is 224; allowed: \(32,\)"):
        SPACE.from_ofa(SPACE.to_ofa(LARGEST) | {"r": 224})


def test_weights_have_the_names_and_slices_of_the_larger_sibling() -> None:
    sibling = mobilenetv3.SPACE.graph(Architecture("mobilenetv3", (0, *LARGEST.genes)))
    pairs = zip(SPACE.graph(LARGEST).ops, sibling.ops, strict=True)

    for ours, theirs in pairs:
        if ours.name != "head.classifier":
            assert getattr(ours, "weight", None) == getattr(theirs, "weight", None)
