"""The packaged once-for-all accuracy model, alone and against the real measurements."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from nas.evaluators.ofa_accuracy import PACK_NAME, OfaAccuracy, read_genes, stage_features
from search_spaces.errors import InvalidArchitectureError

PACK = Path(str(files("nas.evaluators"))) / "packs" / PACK_NAME
MODEL = OfaAccuracy.load()
AT_224 = 6

Genes = NDArray[np.int8]


@pytest.fixture(scope="module")
def csv_path() -> Path:
    folder = os.environ.get("NAS_DATA", "")
    path = Path(folder) / "ofa_mobilenetv3_w1.0_imagenet.csv"
    if folder and path.is_file():
        return path
    reason = "NAS_DATA does not name a folder with the once-for-all measurements"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def random_genes(count: int, seed: int = 0) -> Genes:
    rng = np.random.default_rng(seed)
    genes = rng.integers(0, 3, (count, 46), dtype=np.int8)
    genes[:, 0] = rng.integers(0, 7, count)
    return genes


def active_slots(genes: Genes) -> NDArray[np.bool_]:
    """Written slot by slot, unlike the model."""
    return np.array(
        [[slot % 4 < 2 + row[1 + slot // 4] for slot in range(20)] for row in genes.tolist()]
    )


def test_pack_is_small_and_holds_no_pickle() -> None:
    assert PACK.stat().st_size <= 200_000
    with np.load(PACK, allow_pickle=False) as pack:
        assert all(pack[name].dtype.kind in "fu" for name in pack.files)
    with ZipFile(PACK) as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())


def test_metadata_tells_origin_and_hold_out_figures() -> None:
    assert "Apache-2.0" in str(MODEL.metadata["origin"])
    figures = MODEL.metadata["hold_out"]
    assert isinstance(figures, dict)
    mean = figures["random fifth, mean"]
    assert mean["spearman"] >= 0.997
    assert mean["mae_points"] <= 0.05
    assert 0.88 <= mean["coverage90"] <= 0.94


def test_pack_of_another_schema_is_refused() -> None:
    with np.load(PACK, allow_pickle=False) as pack:
        old = {name: pack[name] for name in pack.files}
    old["metadata"] = np.frombuffer(b'{"schema_version": 0}', dtype=np.uint8)

    with pytest.raises(ValueError, match="schema 0; this version reads 1"):
        OfaAccuracy(old)


def test_prediction_needs_numpy_only() -> None:
    script = (
        "import sys, numpy as np\n"
        "from nas.evaluators.ofa_accuracy import OfaAccuracy\n"
        "OfaAccuracy.load().predict(np.zeros((1, 46), np.int8))\n"
        "sys.exit(bool({'scipy', 'sklearn', 'torch', 'onnxruntime'} & set(sys.modules)))\n"
    )
    root = Path(__file__).parents[3]

    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0


@settings(max_examples=50, deadline=None)
@given(
    genes=arrays(np.int8, (4, 46), elements=st.integers(0, 2)),
    noise=arrays(np.int8, (4, 40), elements=st.integers(0, 2)),
)
def test_inactive_slots_do_not_influence_the_prediction(genes: Genes, noise: Genes) -> None:
    active = np.tile(active_slots(genes), 2)
    changed, canonical = genes.copy(), genes.copy()
    changed[:, 6:] = np.where(active, genes[:, 6:], noise)
    canonical[:, 6:] = np.where(active, genes[:, 6:], 0)

    expected = MODEL.predict(genes)

    for same in (changed, canonical):
        guess = MODEL.predict(same)
        assert np.array_equal(guess.top1_percent, expected.top1_percent)
        assert np.array_equal(guess.std_percent, expected.std_percent)


def test_every_active_slot_has_a_say() -> None:
    genes = np.full((1, 46), 2, dtype=np.int8)
    variants = np.repeat(genes, 45, axis=0)
    variants[np.arange(45), np.arange(1, 46)] = 0

    assert np.all(MODEL.mean(variants) != MODEL.mean(genes))


def test_codes_number_the_configurations_of_a_stage() -> None:
    genes = random_genes(3_000)
    active = active_slots(genes)
    codes, _ = read_genes(genes)
    kernels = np.where(active, np.array([3, 5, 7])[genes[:, 6:26]], 0).reshape(-1, 5, 4)
    expansions = np.where(active, np.array([3, 4, 6])[genes[:, 26:]], 0).reshape(-1, 5, 4)

    # Columns 24 to 28: depth, sum k, sum e, sum k*e, sum k^2*e.
    sums = stage_features()[codes.T, 24:29]

    assert np.array_equal(sums[:, :, 0], active.reshape(-1, 5, 4).sum(axis=2))
    assert np.array_equal(sums[:, :, 1], kernels.sum(axis=2))
    assert np.array_equal(sums[:, :, 2], expansions.sum(axis=2))
    assert np.array_equal(sums[:, :, 3], (kernels * expansions).sum(axis=2))
    assert np.array_equal(sums[:, :, 4], (kernels**2 * expansions).sum(axis=2))


def test_tables_agree_with_plain_matrix_products() -> None:
    genes = random_genes(50)
    genes[:, 0] = AT_224
    features = stage_features()[read_genes(genes).codes.T].reshape(50, 160)
    with np.load(PACK, allow_pickle=False) as pack:
        part = {name[5:]: pack[name].astype(float) for name in pack.files if name[:5] == "top1_"}
    hidden = np.tanh(features @ part["first"] + part["first_bias"])
    hidden = np.tanh(hidden @ part["second"] + part["second_bias"])
    expected = features @ part["skip"][:-1] + part["skip"][-1] + hidden @ part["last"]

    assert MODEL.mean(genes) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("count", [0, 1, 4_096, 9_001])
def test_fast_path_equals_the_full_prediction(count: int) -> None:
    genes = random_genes(count)
    guess = MODEL.predict(genes)

    assert np.array_equal(MODEL.mean(genes), guess.top1_percent)
    assert guess.top1_percent.shape == guess.std_percent.shape == (count,)
    assert guess.top1_percent.dtype == np.float64


def test_a_network_is_answered_alike_in_any_batch_and_integer_type() -> None:
    genes = random_genes(5_000)
    together = MODEL.mean(genes)

    assert MODEL.mean(genes[4_990:]) == pytest.approx(together[4_990:], abs=1e-4)
    assert np.array_equal(MODEL.mean(genes.astype(np.int64)), together)


def test_at_224_nothing_is_estimated() -> None:
    genes = random_genes(100)
    genes[:, 0] = AT_224
    guess = MODEL.predict(genes)

    assert not guess.estimated.any()
    assert not guess.drop_percent.any()
    assert not guess.drop_std_percent.any()


def test_drop_is_apart_from_the_value_and_falls_with_resolution() -> None:
    genes = np.repeat(random_genes(1), 7, axis=0)
    genes[:, 0] = np.arange(7)
    guess = MODEL.predict(genes)

    assert np.all(np.diff(guess.drop_percent) < 0)
    assert np.all(np.diff(guess.drop_std_percent) < 0)
    assert np.all(np.diff(guess.std_percent) < 0)
    assert guess.estimated.tolist() == [True] * 6 + [False]
    assert guess.top1_percent + guess.drop_percent == pytest.approx(guess.top1_percent[-1])


def test_drop_is_the_published_curve() -> None:
    genes = np.repeat(random_genes(1), 3, axis=0)
    genes[:, 0] = [0, 2, 4]  # 128, 160, 192

    assert MODEL.predict(genes).drop_percent == pytest.approx([71.8 - 65.3, 71.8 - 68.8, 1.1])


@pytest.mark.parametrize(
    ("gene", "value", "message"),
    [
        (0, 7, r"network 2: gene 0 \(resolution\) is 7; .* 0 \(128\), .* 6 \(224\)"),
        (3, 3, r"gene 3 \(depth of stage 2\) is 3; .* 0 \(2\), 1 \(3\), 2 \(4\)"),
        (11, -1, r"gene 11 \(kernel of stage 1, position 1\) is -1; .* 2 \(7\)"),
        (45, 5, r"gene 45 \(expansion of stage 4, position 3\) is 5; .* 2 \(6\)"),
    ],
)
def test_wrong_gene_is_named_with_its_options(gene: int, value: int, message: str) -> None:
    genes = random_genes(4)
    genes[2, gene] = value

    with pytest.raises(InvalidArchitectureError, match=message):
        MODEL.mean(genes)
    with pytest.raises(InvalidArchitectureError, match=message):
        MODEL.predict(genes)


@pytest.mark.parametrize("genes", [np.zeros(46, np.int8), np.zeros((2, 45), int), np.ones((2, 46))])
def test_wrong_shape_or_type_is_refused(genes: NDArray) -> None:
    with pytest.raises(InvalidArchitectureError, match=r"integer, \(n, 46\)"):
        MODEL.mean(genes)


def test_packaged_model_repeats_the_measurements(csv_path: Path) -> None:
    pytest.importorskip("scipy")
    from nas.evaluators.ofa_accuracy_fit import read_measurements, score

    data = read_measurements(csv_path)
    found = score(MODEL.predict(data.genes), data.top1_percent)

    assert len(data.genes) == 1_732
    assert found.mae_points <= 0.06
    assert found.spearman >= 0.997


def test_spread_grows_away_from_the_measured_networks(csv_path: Path) -> None:
    pytest.importorskip("scipy")
    from nas.evaluators.ofa_accuracy_fit import read_measurements

    measured = MODEL.predict(read_measurements(csv_path).genes)
    corners = random_genes(500)
    corners[:, 0] = AT_224
    # Wide in the first stages and narrow in the last ones: no search went there.
    corners[:, 26:38] = 2
    corners[:, 38:] = 0
    far = MODEL.predict(corners)

    assert np.median(far.std_percent) > 1.5 * np.median(measured.std_percent)
    assert far.extrapolated.mean() > 0.5
    assert measured.extrapolated.mean() < 0.02


@pytest.mark.slow
def test_refit_holds_out(csv_path: Path) -> None:
    pytest.importorskip("scipy")
    from nas.evaluators.ofa_accuracy_fit import hold_out, random_fifth, read_measurements

    data = read_measurements(csv_path)
    found = hold_out(data, random_fifth(len(data.genes), seed=11))

    assert found.spearman >= 0.997
    assert found.mae_points <= 0.05
    assert 0.85 <= found.coverage90 <= 0.97
