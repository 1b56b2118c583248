from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from predictors.design import least_error, most_uncertain, shortlist
from predictors.device_prior import families
from predictors.kernels import Standard, components, diagonal, weighted
from predictors.likelihood import adam, covariance_gradient, source_gradient
from predictors.public_tables import FILES, public_tables, slug
from predictors.space_features import space_features
from search_spaces import SPACES
from search_spaces.errors import UsageError
from search_spaces.moves import sample


@pytest.mark.parametrize("name", SPACES.names())
def test_the_weighted_covariance_is_the_sum_of_its_parts_and_a_covariance(name: str) -> None:
    space = SPACES.get(name)
    features = space_features(space, sample(space, 20, np.random.default_rng(0)).genes)
    rows = Standard.of(features).rows(features)
    parts = components(rows, rows)
    weights = np.random.default_rng(1).uniform(0.1, 1.0, len(parts))

    total = weighted(rows, rows, weights)

    assert total == pytest.approx(np.tensordot(weights, parts, axes=1))
    assert diagonal(rows, weights) == pytest.approx(np.diagonal(total))
    assert np.linalg.eigvalsh(total).min() > -1e-9
    assert np.mean([np.diagonal(part).mean() for part in parts[3:]]) == pytest.approx(1.0)


def negative_log_likelihood(covariance: np.ndarray, error: np.ndarray) -> float:
    return 0.5 * float(
        error @ np.linalg.solve(covariance, error) + np.linalg.slogdet(covariance)[1]
    )


def test_gradients_are_those_of_the_likelihood() -> None:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(3, 12, 4))
    parts = factors @ factors.transpose(0, 2, 1)
    targets = rng.normal(size=(12, 2))
    log_weights, log_noise = rng.normal(size=3), rng.normal(size=2)
    fixed = np.eye(12)

    def by_sources(place: np.ndarray) -> float:
        covariance = np.tensordot(np.exp(place[:3]), parts, axes=1)
        return (
            sum(
                negative_log_likelihood(covariance + np.exp(noise) * np.eye(12), targets[:, i])
                for i, noise in enumerate(place[3:])
            )
            / targets.size
        )

    def by_error(place: np.ndarray) -> float:
        covariance = np.tensordot(np.exp(place), parts, axes=1) + fixed
        return negative_log_likelihood(covariance, targets[:, 0])

    place = np.concatenate([log_weights, log_noise])
    found = np.concatenate(source_gradient(log_weights, log_noise, parts, targets))
    assert found == pytest.approx(differences(by_sources, place), rel=1e-5)
    found = covariance_gradient(np.exp(log_weights), parts, fixed, targets[:, 0])
    assert found == pytest.approx(differences(by_error, log_weights), rel=1e-5)


def differences(function: object, place: np.ndarray, step: float = 1e-5) -> np.ndarray:
    assert callable(function)
    steps = step * np.eye(len(place))
    return np.array([(function(place + s) - function(place - s)) / (2 * step) for s in steps])


def test_adam_goes_downhill_to_the_bottom() -> None:
    found = adam(np.array([3.0, -3.0]), lambda place, _: 2.0 * (place - 1.0), 400, 0.1)

    assert found == pytest.approx([1.0, 1.0], abs=0.02)


def test_devices_that_correlate_are_one_family() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 200))
    targets = np.column_stack([first, first + 0.01 * second, second, -first])

    assert families(targets).tolist() == [0, 0, 2, 3]


def test_designs_are_nested_and_prefer_what_tells_most() -> None:
    factor = np.array([[1.0, 0.0], [5.0, 0.0], [0.0, 3.0], [0.1, 0.1]])
    rng = np.random.default_rng

    assert most_uncertain(factor, 0.01, 2, rng(0)).tolist() == [1, 2]
    assert least_error(factor @ factor.T, 0.01, 2, rng(0)).tolist() == [1, 2]
    whole = least_error(factor @ factor.T, 0.01, 4, rng(0))
    assert sorted(whole.tolist()) == [0, 1, 2, 3]
    short, long = (shortlist(count, 5000, rng(0)) for count in (5, 1000))
    assert (short == long).all()


@pytest.mark.parametrize(("space", "devices"), [("fbnet", 27), ("mobilenetv3", 9)])
def test_published_tables_are_read_with_networks_of_the_space_only(
    nas_data: Path, space: str, devices: int
) -> None:
    tables = public_tables(nas_data, space)

    assert len(tables) == devices
    for table in tables[:2]:
        SPACES.get(space).check_genes(table.genes)
        assert table.kind == "imported"
        assert table.target == f"imported:{slug(table.provenance['device'])}"


def test_once_for_all_rows_are_the_networks_their_dictionaries_say(nas_data: Path) -> None:
    from search_spaces.spaces.mobilenetv3 import RESOLUTIONS, from_ofa

    with np.load(nas_data / FILES["mobilenetv3"]) as archive:
        arch, latency_ms = archive["arch"], archive["latency_ms"]
    rows = [row for row in range(200) if arch[row, 45] in RESOLUTIONS]
    table = public_tables(nas_data, "mobilenetv3")[0]

    for place, row in enumerate(rows):
        values = arch[row].tolist()
        config = {"ks": values[:20], "e": values[20:40], "d": values[40:45], "r": values[45]}
        assert tuple(table.genes[place]) == from_ofa(config).genes
        assert table.latency_ms[place] == pytest.approx(latency_ms[row, 0])


def test_a_space_without_published_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no published table of vit"):
        public_tables(tmp_path, "vit")
    with pytest.raises(UsageError, match="no published table of fbnet"):
        public_tables(tmp_path, "fbnet")


def test_a_table_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.savez(
        tmp_path / FILES["fbnet"], arch=np.zeros((3, 22), np.int8), devices=np.array(["a"]),
        latency_ms=np.ones((2, 1)),
    )  # fmt: skip

    with pytest.raises(UsageError, match="damaged"):
        public_tables(tmp_path, "fbnet")
