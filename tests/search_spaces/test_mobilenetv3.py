from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.architecture import Architecture, Population
from search_spaces.costs import costs
from search_spaces.errors import InvalidArchitectureError
from search_spaces.families.mobilenetv3 import make_divisible
from search_spaces.ops import Conv, Linear, Op, WeightSlice
from search_spaces.spaces.mobilenetv3 import SPACE, from_ofa, to_ofa

GENOTYPES = st.tuples(*[st.integers(0, len(choice.options) - 1) for choice in SPACE.choices])
LARGEST = Architecture(SPACE.name, tuple(len(choice.options) - 1 for choice in SPACE.choices))


def config(**changes: Any) -> dict[str, Any]:
    return {"ks": [3] * 20, "e": [4] * 20, "d": [2] * 5, "r": 160} | changes


def test_parameters_and_macs_equal_the_published_ones(nas_data: Path) -> None:
    """Their convention: MACs of convolutions, squeeze-and-excite included, and the classifier."""
    with (nas_data / "ofa_mobilenetv3_w1.0_imagenet.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    numbers = [
        {key: [int(v) for v in row[key].split()] for key in ("ks", "e", "d")}
        | {"r": [int(row["resolution"])]}
        for row in table
    ]
    population = SPACE.population([from_ofa(row) for row in numbers])

    found = costs(population, ("parameters", "macs"))

    assert len(table) == 1888
    assert found["parameters"].tolist() == [int(row["params"]) for row in table]
    assert found["macs"].tolist() == [int(row["macs"]) for row in table]


def test_the_largest_network_has_the_blocks_and_widths_of_the_paper() -> None:
    blocks = SPACE.blocks_of(LARGEST)

    assert [block.label for block in blocks[:3]] == ["stem", "s0.b0", "s0.b1"]
    assert len(blocks) == 1 + 20 + 1
    assert SPACE.graph(LARGEST).output.shape == (1000,)


@settings(max_examples=30)
@given(GENOTYPES)
def test_the_canonical_genotype_is_a_fixed_point_and_the_same_network(
    genes: tuple[int, ...],
) -> None:
    arch = Architecture(SPACE.name, genes)
    canonical = SPACE.canonical_arch(arch)

    assert SPACE.canonical_arch(canonical) == canonical
    assert SPACE.graph(canonical).digest == SPACE.graph(arch).digest


def test_canonical_leaves_its_argument_alone() -> None:
    genes = np.full((1, len(SPACE.choices)), 2, dtype=np.int8)
    genes[0, 1] = 0
    before = genes.copy()

    canonical = SPACE.canonical(genes)

    assert (genes == before).all()
    assert (canonical != before).any()


def test_different_canonical_genotypes_are_different_networks(world: Any) -> None:
    archs = world.networks(50).architectures()

    assert len({SPACE.graph(arch).digest for arch in archs}) == len({arch.key for arch in archs})


@settings(max_examples=30)
@given(GENOTYPES)
def test_once_for_all_dictionaries_round_trip(genes: tuple[int, ...]) -> None:
    arch = SPACE.canonical_arch(Architecture(SPACE.name, genes))

    assert from_ofa(to_ofa(arch)) == arch


@pytest.mark.parametrize("resolution", [160, [160], (160,)], ids=str)
def test_a_resolution_may_be_a_number_or_a_list_of_one(resolution: object) -> None:
    assert to_ofa(from_ofa(config(r=resolution)))["r"] == 160


def test_a_dictionary_without_a_resolution_means_224() -> None:
    without = config()
    del without["r"]

    assert to_ofa(from_ofa(without))["r"] == 224


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ks": [3] * 19}, "'ks' must be a list of 20"),
        ({"e": [4] * 21}, "'e' must be a list of 20"),
        ({"d": None}, "'d' must be a list of 5"),
        ({"d": 2}, "'d' must be a list of 5"),
        ({"d": [2, 2, 5, 2, 2]}, r"d\[2\] is 5; allowed: \(2, 3, 4\)"),
        ({"ks": [3] * 19 + [4]}, r"ks\[19\] is 4; allowed: \(3, 5, 7\)"),
        ({"r": 200}, r"r\[0\] is 200; allowed: \(128, "),
        ({"r": [160, 176]}, "'r' must be a list of 1"),
    ],
)
def test_a_wrong_dictionary_is_refused_by_entry(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=says):
        from_ofa(config(**changes))


@pytest.mark.parametrize(
    ("value", "expected"),
    # Widths of squeeze layers of the published MobileNetV3: a quarter, to multiples of eight.
    [(16, 16), (72 / 4, 24), (120 / 4, 32), (3, 8), (96, 96), (240 / 4, 64), (672 / 4, 168)],
)
def test_widths_are_rounded_as_the_reference_code_does(value: float, expected: int) -> None:
    assert make_divisible(value) == expected


def test_every_weight_of_every_block_lies_within_the_largest_networks() -> None:
    whole = {op.weight.key: extent(op.weight) for op in weighted(LARGEST)}

    for number in range(SPACE.block_count):
        for op in SPACE.block(number).ops:
            if isinstance(op, Conv | Linear):
                assert op.weight.shape == kernel_shape(op)
                assert all(
                    used <= there
                    for used, there in zip(extent(op.weight), whole[op.weight.key], strict=True)
                ), op.name


def weighted(arch: Architecture) -> list[Conv | Linear]:
    return [op for op in SPACE.graph(arch).ops if isinstance(op, Conv | Linear)]


def extent(part: WeightSlice) -> tuple[int, ...]:
    return tuple(start + size for start, size in zip(part.start, part.shape, strict=True))


def kernel_shape(op: Op) -> tuple[int, ...]:
    if isinstance(op, Conv):
        return (op.shape[0], op.in_channels // op.groups, op.kernel, op.kernel)
    assert isinstance(op, Linear)
    return (op.shape[0], op.in_features)


def test_only_depth_hides_genes() -> None:
    """Networks of full depth in every stage are canonical as they are."""
    genes = np.random.default_rng(0).integers(0, 3, size=(20, len(SPACE.choices))).astype(np.int8)
    genes[:, 1:6] = 2

    assert (SPACE.canonical(genes) == genes).all()
    assert len(Population(SPACE, genes)) == 20
