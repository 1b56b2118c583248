from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import SPACES
from search_spaces.architecture import Architecture, Choice, Population
from search_spaces.errors import InvalidArchitectureError

SPACE = SPACES.get("mobilenetv3")
GENES = len(SPACE.choices)


@given(st.lists(st.integers(0, 35), min_size=1, max_size=60).map(tuple))
def test_a_key_is_read_back_as_the_architecture_it_names(genes: tuple[int, ...]) -> None:
    arch = Architecture("toy-space", genes)

    assert Architecture.parse(arch.key) == arch


def test_a_key_may_stand_between_blanks() -> None:
    assert Architecture.parse(" toy:01\n") == Architecture("toy", (0, 1))


@pytest.mark.parametrize("text", ["", "toy", "toy:", ":012", "toy:01A", "toy:0 1", "toy:0-1"])
def test_what_is_no_key_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(InvalidArchitectureError, match="not an architecture key") as caught:
        Architecture.parse(text)

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("gene", "value"), [(0, 7), (1, 3), (5, -1), (6, 3), (26, 9)], ids=lambda part: str(part)
)
def test_an_invalid_gene_is_named_with_all_that_is_allowed(gene: int, value: int) -> None:
    genes = [0] * GENES
    genes[gene] = value
    choice = SPACE.choices[gene]

    with pytest.raises(InvalidArchitectureError) as caught:
        SPACE.check(Architecture(SPACE.name, tuple(genes)))

    message = str(caught.value)
    assert f"gene {gene} ({choice.name})" in message
    assert f"is {value};" in message
    assert all(f"{index}={option}" in message for index, option in enumerate(choice.options))


def test_too_few_genes_are_refused_with_both_counts() -> None:
    with pytest.raises(InvalidArchitectureError, match=f"has {GENES} genes, 3 were given"):
        SPACE.check(Architecture(SPACE.name, (0, 0, 0)))


def test_an_architecture_of_another_space_is_refused() -> None:
    with pytest.raises(InvalidArchitectureError, match="'toy', not to 'mobilenetv3'"):
        SPACE.check(Architecture("toy", (0,) * GENES))


@pytest.mark.parametrize("options", [(), tuple(range(37))], ids=len)
def test_a_choice_that_no_digit_can_spell_is_refused(options: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArchitectureError, match="1 to 36"):
        Choice("kernel", options)


@pytest.mark.parametrize("shape", [(GENES,), (2, GENES - 1)], ids=str)
def test_an_array_of_another_shape_is_no_population(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArchitectureError, match="not a population"):
        Population(SPACE, np.zeros(shape, dtype=np.int8))


def test_a_population_hands_out_its_rows_as_architectures() -> None:
    archs = [Architecture(SPACE.name, (gene, *[0] * (GENES - 1))) for gene in (2, 0, 1)]

    population = SPACE.population(archs)

    assert population.architectures() == archs
    assert len(population) == 3


def test_no_architectures_make_an_empty_population() -> None:
    assert SPACE.population([]).genes.shape == (0, GENES)
