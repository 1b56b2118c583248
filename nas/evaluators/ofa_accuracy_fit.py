"""Fit the once-for-all accuracy model: `python -m nas.evaluators.ofa_accuracy_fit`.

Two steps. A Gaussian process learns from the measurements: linear and squared-exponential
kernels, one length scale per stage and kind of feature, hyper-parameters by evidence. It is
accurate and honest but costs 1,700 exponentials per network, so a small network with the same
inputs is trained to repeat its mean and spread over the whole space, at no cost in data. Hold-out
figures are always those of the small network, as shipped.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.stats import spearmanr

from nas.evaluators import ofa_accuracy as shipped
from nas.evaluators.ofa_accuracy import FloatArray, IntArray, OfaAccuracy, PackArray

CSV_NAME: Final = "ofa_mobilenetv3_w1.0_imagenet.csv"
ORIGIN: Final = "IntelLabs/DyNAS-T notebooks, Apache-2.0; published once-for-all weights"
# The fit rewrites what stands between two of these in the card.
CARD_MARK: Final = "<!-- figures of the fit -->"
HOLDOUT_SEEDS: Final = (0, 1, 2, 3)
# 90 % of a normal distribution lies within this many standard deviations.
Z90: Final = 1.6449

# Top-1 of MobileNetV2 1.0 at 128, 160, 192 and 224, each trained at its resolution: the model
# table of Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
PUBLISHED_TOP1: Final = {128: 65.3, 160: 68.8, 192: 70.7, 224: 71.8}
# The curve is another network's, and the once-for-all weights differ from it in both directions:
# they saw every resolution in training, which softens the drop, but serve all of them with one
# set of weights, which deepens it. Nothing here was measured, so a third either way is plausible.
DROP_STD_SHARE: Final = 0.3

# Columns of `stage_features` that share hyper-parameters: kernels, expansions, sums, logs.
_GROUP_WIDTHS: Final = (12, 12, 5, 3)
_GROUPS: Final = shipped.STAGES * len(_GROUP_WIDTHS)
_JITTER: Final = 1e-6
_HYPER_ROWS: Final = 700
_HYPER_STEPS: Final = 40
_NEAR_SAMPLES: Final = 40_000
_WIDE_SAMPLES: Final = 8_000
_HIDDEN: Final = (64, 48)
_PASSES: Final = 20


class Measurements(NamedTuple):
    """Distinct networks at 224: `genes` (n, 46), `top1_percent` and `macs` (n,)."""

    genes: NDArray[np.int8]
    top1_percent: FloatArray
    macs: FloatArray

    def take(self, rows: NDArray[np.bool_]) -> Measurements:
        """The networks of a mask (n,)."""
        return Measurements(self.genes[rows], self.top1_percent[rows], self.macs[rows])


class Score(NamedTuple):
    """How predictions compare with measurements."""

    spearman: float
    mae_points: float
    coverage90: float
    extrapolated_share: float


def read_measurements(path: Path) -> Measurements:
    """Read the CSV; networks that differ only in inactive slots are one, with the mean accuracy.

    Raises:
        ValueError: If a row names an option outside the space or another resolution.
    """
    genes, top1_percent, macs = [], [], []
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            columns = (("d", shipped.DEPTHS), ("ks", shipped.KERNELS), ("e", shipped.EXPANSIONS))
            options = [o.index(int(v)) for name, o in columns for v in row[name].split()]
            genes.append([shipped.RESOLUTIONS.index(int(row["resolution"])), *options])
            if genes[-1][0] != len(shipped.RESOLUTIONS) - 1:
                raise ValueError(f"{path.name}: resolution {row['resolution']}; only 224 is fitted")
            top1_percent.append(float(row["imagenet_top1_percent"]))
            macs.append(float(row["macs"]))
    table = np.array(genes, dtype=np.int8)
    codes = shipped.read_genes(table).codes
    _, first, network = np.unique(codes, axis=1, return_index=True, return_inverse=True)
    mean_percent = np.bincount(network.ravel(), top1_percent) / np.bincount(network.ravel())
    return Measurements(table[first], mean_percent, np.array(macs)[first])


class Teacher:
    """Exact Gaussian process on standardised accuracy.

    Kernel: sum_f v_f^2 x_f z_f + s^2 exp(-1/2 sum_f u_f^2 (x_f - z_f)^2), one u and one v per
    group of features. Hyper-parameters maximise the evidence of a random subset under log-normal
    priors; the posterior uses every row. Source: Rasmussen and Williams, "Gaussian Processes for
    Machine Learning", 2006, equations 2.25, 2.26, 5.9 and 5.12.
    """

    def __init__(self, data: Measurements, rng: np.random.Generator) -> None:
        """Fit to the measurements; `rng` draws the rows that set the hyper-parameters."""
        features = _features(shipped.read_genes(data.genes).codes)
        deviation = features.std(axis=0)
        # A group of many columns weighs as much as a group of few.
        width = np.sqrt(np.repeat(_GROUP_WIDTHS * shipped.STAGES, _GROUP_WIDTHS * shipped.STAGES))
        self.centre: FloatArray = features.mean(axis=0)
        self.scale: FloatArray = np.where(deviation > 1e-9, deviation, 1.0) * width
        self.offset_percent = float(data.top1_percent.mean())
        self.unit_percent = float(data.top1_percent.std())
        self._support = (features - self.centre) / self.scale
        target = (data.top1_percent - self.offset_percent) / self.unit_percent
        drawn = rng.permutation(len(target))
        chosen, rest = drawn[:_HYPER_ROWS], drawn[_HYPER_ROWS:]
        self._hyper = _maximise_evidence(self._support[chosen], target[chosen])
        # (160,) u: how fast the answer bends along each standardised feature.
        self.sensitivity: FloatArray = np.exp(self._hyper[_group_of_feature()])
        noise = float(np.exp(2 * self._hyper[-1]))
        linear, bent = _kernels(self._support, self._support, self._hyper)
        kernel = linear + bent + (noise + _JITTER) * np.eye(len(target))
        factor = cholesky(kernel, lower=True, check_finite=False)
        whitener = solve_triangular(factor, np.eye(len(target)), lower=True, check_finite=False)
        self._weights = whitener.T @ (whitener @ target)
        self._whitener = whitener.astype(np.float32)
        # Leave-one-out residuals in closed form; those of rows that did not set the
        # hyper-parameters say by how much the stated spread is too small.
        precision = (whitener**2).sum(axis=0)
        scores = (self._weights / np.sqrt(precision))[rest if len(rest) else drawn]
        left_out = np.sqrt(np.maximum(1 / precision - noise - _JITTER, 0.0))
        # Temperature; noise; and the spread from which a network counts as far [points].
        points = self.unit_percent * np.array([np.sqrt(noise), np.quantile(left_out, 0.99)])
        self.calibration = np.array([np.sqrt(np.mean(scores**2)), *points])

    def predict(self, codes: IntArray) -> tuple[FloatArray, FloatArray]:
        """Mean [%] and standard deviation without noise [points], both (n,)."""
        linear_scale = np.exp(self._hyper[_GROUPS + _group_of_feature()])
        mean, variance = np.empty(codes.shape[1]), np.empty(codes.shape[1])
        for start in range(0, codes.shape[1], 4096):
            block = slice(start, start + 4096)
            points = (_features(codes[:, block]) - self.centre) / self.scale
            kernel, bent = _kernels(points, self._support, self._hyper)
            kernel += bent
            explained = (kernel.astype(np.float32) @ self._whitener.T) ** 2
            prior = ((points * linear_scale) ** 2).sum(axis=1) + np.exp(2 * self._hyper[-2])
            mean[block] = kernel @ self._weights
            variance[block] = prior - explained.sum(axis=1)
        std = np.sqrt(np.maximum(variance, 1e-6))
        return self.offset_percent + self.unit_percent * mean, self.unit_percent * std


def fit_pack(data: Measurements, provenance: Mapping[str, object]) -> dict[str, PackArray]:
    """Fit teacher and network: the arrays of `OfaAccuracy`, the same every time.

    `provenance`, JSON values, goes into the metadata.
    """
    rng = np.random.default_rng(0)
    teacher = Teacher(data, rng)
    codes = shipped.read_genes(np.concatenate([data.genes, _lessons(data.genes, rng)])).codes
    mean_percent, std_percent = teacher.predict(codes)
    log_std = np.log(std_percent)
    top1 = _imitate(teacher, codes, mean_percent, rng)
    spread = _imitate(teacher, codes, log_std, rng)
    text = json.dumps({"schema_version": shipped.SCHEMA_VERSION, **provenance}, sort_keys=True)
    return {
        **{f"top1_{part}": values for part, values in top1.items()},
        **{f"log_std_{part}": values for part, values in spread.items()},
        "range": np.array([data.top1_percent.min(), data.top1_percent.max()]),
        "log_std_range": np.array([log_std.min(), log_std.max()]),
        "calibration": teacher.calibration,
        "drop": estimate_drop(),
        "metadata": np.frombuffer(text.encode(), dtype=np.uint8),
    }


def estimate_drop() -> FloatArray:
    """(2, 7): loss against 224 and its standard deviation, by resolution [points].

    A shape-preserving cubic through the published curve; it never rises with resolution.
    """
    known = sorted(PUBLISHED_TOP1)
    curve = PchipInterpolator(known, [PUBLISHED_TOP1[known[-1]] - PUBLISHED_TOP1[r] for r in known])
    drop_percent = np.maximum(curve(np.array(shipped.RESOLUTIONS, dtype=float)), 0.0)
    return np.stack([drop_percent, DROP_STD_SHARE * drop_percent])


def hold_out(data: Measurements, left_out: NDArray[np.bool_]) -> Score:
    """Fit without some networks, mask (n,), and score the fitted network on them."""
    truth = data.take(left_out)
    guess = OfaAccuracy(fit_pack(data.take(~left_out), {})).predict(truth.genes)
    return score(guess, truth.top1_percent)


def random_fifth(count: int, seed: int) -> NDArray[np.bool_]:
    """Mask (count,) of a random fifth."""
    return np.random.default_rng(seed).permutation(count) < count // 5


def score(guess: shipped.AccuracyPrediction, truth_percent: FloatArray) -> Score:
    """Compare predictions (n,) with measurements (n,) [%]."""
    error = guess.top1_percent - truth_percent
    return Score(
        spearman=float(spearmanr(guess.top1_percent, truth_percent).statistic),
        mae_points=float(np.abs(error).mean()),
        coverage90=float((np.abs(error) <= Z90 * guess.std_percent).mean()),
        extrapolated_share=float(guess.extrapolated.mean()),
    )


def main() -> None:
    """Hold out, report, fit on everything, write the pack and the figures of its card."""
    path = Path(os.environ["NAS_DATA"]) / CSV_NAME
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    data = read_measurements(path)
    scores: dict[str, Score] = {}

    def report(name: str, found: Score) -> None:
        scores[name] = found
        print(_row(name, found), flush=True)

    for seed in HOLDOUT_SEEDS:
        report(f"random fifth, seed {seed}", hold_out(data, random_fifth(len(data.macs), seed)))
    report("random fifth, mean", Score(*np.mean(list(scores.values()), axis=0).tolist()))
    low, high = np.quantile(data.macs, [0.1, 0.9])
    report("smallest tenth by MACs", hold_out(data, data.macs < low))
    report("largest tenth by MACs", hold_out(data, data.macs > high))
    figures = {name: found._asdict() for name, found in scores.items()}
    pack = fit_pack(data, {"origin": ORIGIN, "csv_sha256": digest, "hold_out": figures})
    fitted = OfaAccuracy(pack).predict(data.genes)
    report("none: the fit to all", score(fitted, data.top1_percent))
    target = Path(__file__).parent / "packs" / shipped.PACK_NAME
    np.savez_compressed(target, allow_pickle=False, **pack)
    card = target.with_suffix(".md")
    before, _, after = card.read_text().split(CARD_MARK)
    top1, macs = data.top1_percent, data.macs / 1e6
    facts = f"""
Fitted to {len(macs):,} distinct networks of {macs.min():.0f} to {macs.max():.0f} million MACs and
{top1.min():.2f} to {top1.max():.2f} % top-1. SHA-256 of the CSV:
`{digest}`.

| Held out | Spearman | MAE, points | 90 % intervals cover | Called extrapolated |
|---|---|---|---|---|
"""
    rows = "".join(f"{_row(*item)}\n" for item in scores.items())
    card.write_text(f"{before}{CARD_MARK}{facts}{rows}{CARD_MARK}{after}")


def _row(name: str, found: Score) -> str:
    figures = f"{found.spearman:.4f} | {found.mae_points:.4f} | {found.coverage90:.3f}"
    return f"| {name} | {figures} | {found.extrapolated_share:.3f} |"


def _features(codes: IntArray) -> FloatArray:
    """(n, 160) features of `codes` (5, n), stage by stage."""
    return shipped.stage_features()[codes.T].reshape(codes.shape[1], -1)


def _group_of_feature() -> IntArray:
    return np.repeat(np.arange(_GROUPS), _GROUP_WIDTHS * shipped.STAGES)


def _kernels(
    left: FloatArray, right: FloatArray, hyper: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Linear and squared-exponential parts, both (n, m); `hyper` is log (u, v, s, noise)."""
    group = _group_of_feature()
    bend, slope = np.exp(hyper[group]), np.exp(2 * hyper[_GROUPS + group])
    a, b = left * bend, right * bend
    exponent = a @ b.T
    exponent -= 0.5 * (a**2).sum(axis=1)[:, None]
    exponent -= 0.5 * (b**2).sum(axis=1)
    np.minimum(exponent, 0.0, out=exponent)
    exponent += 2 * hyper[-2]
    return (left * slope) @ right.T, np.exp(exponent, out=exponent)


def _maximise_evidence(points: FloatArray, target: FloatArray) -> FloatArray:
    """Log hyper-parameters (42,): u and v by group, s, noise."""
    group = _group_of_feature()
    mean = np.concatenate([np.full(_GROUPS, -0.7 - 0.5 * np.log(_GROUPS)), np.full(_GROUPS, -1.5)])
    mean = np.append(mean, [0.0, np.log(0.03)])
    deviation = np.append(np.ones(2 * _GROUPS + 1), 1.5)
    diagonal = np.diag_indices(len(target))

    def loss(hyper: FloatArray) -> tuple[float, FloatArray]:
        linear, bent = _kernels(points, points, hyper)
        noise = np.exp(2 * hyper[-1])
        kernel = linear + bent
        kernel[diagonal] += noise + _JITTER
        factor = cholesky(kernel, lower=True, check_finite=False)
        weights = cho_solve((factor, True), target)
        value = 0.5 * target @ weights + np.log(np.diag(factor)).sum()
        pull = 0.5 * (cho_solve((factor, True), np.eye(len(target))) - np.outer(weights, weights))
        by_bend = pull * bent
        scaled = points * np.exp(hyper[group])
        bend = (scaled * (by_bend @ scaled)).sum(axis=0) - by_bend.sum(axis=1) @ scaled**2
        slope = np.exp(2 * hyper[_GROUPS + group]) * (points * (pull @ points)).sum(axis=0)
        by_group = [np.bincount(group, 2 * part, minlength=_GROUPS) for part in (bend, slope)]
        gradient = np.concatenate([*by_group, [2 * by_bend.sum(), 2 * noise * np.trace(pull)]])
        surprise = (hyper - mean) / deviation
        return value + 0.5 * surprise @ surprise, gradient + surprise / deviation

    found = minimize(loss, mean, jac=True, method="L-BFGS-B", options={"maxiter": _HYPER_STEPS})
    return np.asarray(found.x)


def _lessons(genes: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.int8]:
    """Networks to ask the teacher about, (48,000, 46)."""
    # Crossings and mutations of the measured networks, from hardly to heavily changed.
    near = genes[rng.integers(len(genes), size=_NEAR_SAMPLES)]
    mate = genes[rng.integers(len(genes), size=_NEAR_SAMPLES)]
    degree = rng.random((2, _NEAR_SAMPLES, 1))
    near = np.where(rng.random(near.shape) < 0.5 * degree[0], mate, near)
    fresh = rng.integers(0, 3, near.shape, dtype=np.int8)
    near = np.where(rng.random(near.shape) < 0.15 * degree[1], fresh, near)
    # Networks that each prefer some option, so that the corners of the space are lessons too.
    edges = rng.dirichlet([0.7, 0.7, 0.7], size=_WIDE_SAMPLES).cumsum(axis=1)[:, None, :2]
    wide = (rng.random((_WIDE_SAMPLES, shipped.GENES, 1)) > edges).sum(axis=2).astype(np.int8)
    return np.concatenate([near, wide])


def _imitate(
    teacher: Teacher, codes: IntArray, answers: FloatArray, rng: np.random.Generator
) -> dict[str, PackArray]:
    """Train two tanh layers on what least squares leaves of `answers` (n,).

    Inputs are scaled by the teacher's sensitivity: along those axes the answer bends equally fast,
    which is easiest to learn. Centring and scale then move into the first layer.
    """
    points = (_features(codes) - teacher.centre) / teacher.scale
    padded = np.column_stack([points, np.ones(len(points))])
    gram = padded.T @ padded + 1e-6 * len(points) * np.eye(padded.shape[1])
    skip = np.linalg.solve(gram, padded.T @ answers)
    rest = answers - padded @ skip
    unit = rest.std()
    scale = teacher.sensitivity / np.sqrt(((points * teacher.sensitivity) ** 2).mean())
    inputs = (points * scale).astype(np.float32)
    layers = _train(inputs, (rest / unit).astype(np.float32), rng)
    first, first_bias, second, second_bias, last, last_bias = layers
    first = first * (scale / teacher.scale)[:, None]
    skip[:-1] /= teacher.scale
    skip[-1] += unit * last_bias[0] - teacher.centre @ skip[:-1]
    return {
        "first": first.astype(np.float32),
        "first_bias": (first_bias - teacher.centre @ first).astype(np.float32),
        "second": second,
        "second_bias": second_bias,
        "last": (unit * last).astype(np.float32),
        "skip": skip,
    }


def _train(
    inputs: NDArray[np.float32], target: NDArray[np.float32], rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Adam on the squared error with a cosine schedule; weights and biases of three layers."""
    sizes = (inputs.shape[1], *_HIDDEN, 1)
    state = []
    for fan_in, fan_out in pairwise(sizes):
        state += [rng.normal(size=(fan_in, fan_out)) / np.sqrt(fan_in), np.zeros(fan_out)]
    layers = [values.astype(np.float32) for values in state]
    mean, square = ([np.zeros_like(values) for values in layers] for _ in range(2))
    batches = len(inputs) // 256
    step, steps = 0, _PASSES * batches
    for _ in range(_PASSES):
        for rows in np.array_split(rng.permutation(len(inputs)), batches):
            step += 1
            x = inputs[rows]
            h1 = np.tanh(x @ layers[0] + layers[1])
            h2 = np.tanh(h1 @ layers[2] + layers[3])
            d3 = (h2 @ layers[4] + layers[5] - target[rows, None]) * np.float32(2 / len(rows))
            d2 = (d3 @ layers[4].T) * (1 - h2 * h2)
            d1 = (d2 @ layers[2].T) * (1 - h1 * h1)
            gradients = (x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0))
            rate = 0.003 * min(1.0, step / 100) * 0.5 * (1 + np.cos(np.pi * step / steps))
            rate *= np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            for values, gradient, m, v in zip(layers, gradients, mean, square, strict=True):
                m += 0.1 * (gradient - m)
                v += 0.001 * (gradient * gradient - v)
                values -= np.float32(rate) * m / (np.sqrt(v) + np.float32(1e-8))
    layers[4] = layers[4][:, 0]
    return layers


if __name__ == "__main__":
    main()
