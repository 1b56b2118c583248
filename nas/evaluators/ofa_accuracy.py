"""ImageNet accuracy of once-for-all MobileNetV3 sub-networks, without running them.

A search visits millions of networks; one ImageNet evaluation takes minutes. This model answers in
microseconds from 1,888 published evaluations. It is a small network that imitates a Gaussian
process fitted to them (`nas.evaluators.ofa_accuracy_fit`), and it needs NumPy only.

Every feature belongs to one stage, and a stage has only 7,371 distinct configurations. The first
layer is therefore five table look-ups, and inactive slots cannot influence the answer: they are
not part of the configuration's number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import InvalidArchitectureError

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.intp]
PackArray: TypeAlias = NDArray[np.float32] | NDArray[np.float64] | NDArray[np.uint8]

SCHEMA_VERSION: Final = 1
PACK_NAME: Final = "mobilenetv3_imagenet.npz"
RESOLUTIONS: Final = (128, 144, 160, 176, 192, 208, 224)
DEPTHS: Final = (2, 3, 4)
KERNELS: Final = (3, 5, 7)
EXPANSIONS: Final = (3, 4, 6)
STAGES: Final = 5
SLOTS_PER_STAGE: Final = 4
GENES: Final = 1 + STAGES + 2 * STAGES * SLOTS_PER_STAGE
STAGE_FEATURES: Final = 32

_KERNEL_GENE: Final = 1 + STAGES
_EXPANSION_GENE: Final = _KERNEL_GENE + STAGES * SLOTS_PER_STAGE
_CHOICES: Final = len(KERNELS) * len(EXPANSIONS)
# First number of the configurations of depth 2, 3 and 4.
_DEPTH_OFFSETS: Final = (0, _CHOICES**2, _CHOICES**2 + _CHOICES**3)
# The model bends too little outside the accuracies it was fitted to: without the networks of the
# fewest MACs, its errors there were about 0.7 of the distance to the nearest accuracy it knew.
_BEYOND_STD_SHARE: Final = 0.7
# Rows handled at once: the activations of a block stay in the second-level cache.
_BLOCK: Final = 4096


class Networks(NamedTuple):
    """Networks in the form the model reads: `codes` (5, n) and `resolution` (n,), both indices."""

    codes: IntArray
    resolution: IntArray


@dataclass(frozen=True, slots=True)
class AccuracyPrediction:
    """Predicted ImageNet top-1 of n networks, every field (n,).

    Attributes:
        top1_percent: Top-1 at the network's own resolution: the model's value at 224 less
            `drop_percent` [%].
        std_percent: One standard deviation of `top1_percent` as a measurement would scatter
            around it: model, evaluation noise and drop together [points].
        drop_percent: Estimated loss from 224 to this resolution, zero at 224 [points].
        drop_std_percent: One standard deviation of `drop_percent` [points].
        estimated: True below 224, where the drop is an estimate and nothing was measured.
        extrapolated: True where the network is far from those the model was fitted to, or its
            accuracy at 224 would be outside theirs.
    """

    top1_percent: FloatArray
    std_percent: FloatArray
    drop_percent: FloatArray
    drop_std_percent: FloatArray
    estimated: NDArray[np.bool_]
    extrapolated: NDArray[np.bool_]


class OfaAccuracy:
    """Accuracy model of the space `mobilenetv3` (width 1.0).

    Example:
        >>> model = OfaAccuracy.load()
        >>> largest = np.full((1, 46), 2, dtype=np.int8)
        >>> largest[0, 0] = 6
        >>> bool(77.0 < model.mean(largest)[0] < 78.0)
        True
    """

    def __init__(self, pack: Mapping[str, PackArray]) -> None:
        """Build the look-up tables of a pack.

        Args:
            pack: The arrays of `nas.evaluators.ofa_accuracy_fit`, by name.

        Raises:
            ValueError: If the pack has another schema version.
        """
        metadata: dict[str, object] = json.loads(pack["metadata"].tobytes().decode())
        if metadata.get("schema_version") != SCHEMA_VERSION:
            message = f"accuracy pack of schema {metadata.get('schema_version')}"
            raise ValueError(f"{message}; this version reads {SCHEMA_VERSION}: run fit-accuracy")
        self._metadata = MappingProxyType(metadata)
        self._top1_percent = _TabledNetwork(pack, "top1")
        self._log_std = _TabledNetwork(pack, "log_std")
        self._range_percent = pack["range"].tolist()
        self._log_std_range = pack["log_std_range"].tolist()
        self._temperature, self._noise_percent, self._far_percent = pack["calibration"].tolist()
        self._drop_percent, self._drop_std_percent = pack["drop"].astype(np.float64)

    @classmethod
    def load(cls, path: Path | None = None) -> OfaAccuracy:
        """Read a pack, the one shipped with the library by default.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is a pickle or of another schema version.
        """
        source = path or files("nas.evaluators").joinpath("packs", PACK_NAME)
        with source.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return cls({name: arrays[name] for name in arrays.files})

    @property
    def metadata(self) -> Mapping[str, object]:
        """Where the numbers come from and how well they held out; JSON values."""
        return self._metadata

    def mean(self, genes: NDArray[np.integer]) -> FloatArray:
        """`predict(genes).top1_percent` alone, for inner search loops.

        Args:
            genes: (n, 46) option indices.

        Returns:
            (n,) top-1 [%].

        Raises:
            InvalidArchitectureError: If a gene is outside its options or the shape is wrong.
        """
        codes, resolution = read_genes(genes)
        top1_percent: FloatArray = self._top1_percent(codes) - self._drop_percent[resolution]
        return top1_percent

    def predict(self, genes: NDArray[np.integer]) -> AccuracyPrediction:
        """Accuracy with its uncertainty.

        Args:
            genes: (n, 46) option indices.

        Raises:
            InvalidArchitectureError: If a gene is outside its options or the shape is wrong.
        """
        codes, resolution = read_genes(genes)
        at_224_percent = self._top1_percent(codes)
        drop_percent = self._drop_percent[resolution]
        drop_std_percent = self._drop_std_percent[resolution]
        model_std_percent = np.exp(np.clip(self._log_std(codes), *self._log_std_range))
        known_std_percent = self._temperature * np.hypot(model_std_percent, self._noise_percent)
        beyond_percent = np.abs(at_224_percent - np.clip(at_224_percent, *self._range_percent))
        unknown_std_percent = np.hypot(_BEYOND_STD_SHARE * beyond_percent, drop_std_percent)
        return AccuracyPrediction(
            top1_percent=at_224_percent - drop_percent,
            std_percent=np.hypot(known_std_percent, unknown_std_percent),
            drop_percent=drop_percent,
            drop_std_percent=drop_std_percent,
            estimated=resolution < len(RESOLUTIONS) - 1,
            extrapolated=(model_std_percent > self._far_percent) | (beyond_percent > 0),
        )


def read_genes(genes: NDArray[np.integer]) -> Networks:
    """Number each stage's configuration, leaving out what inactive slots say.

    A configuration is the digits `3 * expansion + kernel` of its active slots in base 9, after
    the configurations of smaller depth: equal networks get equal codes.

    Args:
        genes: (n, 46) option indices: resolution, 5 depths, 20 kernels, 20 expansions.

    Raises:
        InvalidArchitectureError: If a gene is outside its options or the shape is wrong.
    """
    if genes.ndim != 2 or genes.shape[1] != GENES or genes.dtype.kind not in "iu":
        found = f"{genes.dtype} array of shape {genes.shape}"
        raise InvalidArchitectureError(f"{found}; a mobilenetv3 batch is integer, (n, {GENES})")
    columns = np.ascontiguousarray(genes.T)
    if len(genes):
        _check_options(columns)
    digits = columns.astype(np.int16, copy=False)
    codes = np.empty((STAGES, len(genes)), dtype=np.intp)
    for stage in range(STAGES):
        slots = slice(SLOTS_PER_STAGE * stage, SLOTS_PER_STAGE * (stage + 1))
        slot = digits[_EXPANSION_GENE:][slots] * np.int16(len(KERNELS))
        slot += digits[_KERNEL_GENE:][slots]
        two = slot[0] + np.int16(_CHOICES) * slot[1]
        three = two + np.int16(_CHOICES**2) * slot[2]
        four = three + np.int16(_CHOICES**3) * slot[3]
        depth = digits[1 + stage]
        deeper = np.where(depth == 1, three + _DEPTH_OFFSETS[1], four + _DEPTH_OFFSETS[2])
        codes[stage] = np.where(depth == 0, two, deeper)
    return Networks(codes, columns[0].astype(np.intp))


def stage_features() -> FloatArray:
    """Features of every configuration of a stage, (7371, 32), in the order of the codes.

    Columns: 12 kernel and 12 expansion one-hots (position by position, zero where inactive);
    depth, sum k, sum e, sum k*e, sum k^2*e; and log sum e, log sum k*e, log sum k^2*e. The sums
    stand for capacity, the logs for its diminishing returns.
    """
    blocks = []
    for depth in DEPTHS:
        code = np.arange(_CHOICES**depth)
        digit = code[:, None] // _CHOICES ** np.arange(depth) % _CHOICES
        kernel, expansion = digit % len(KERNELS), digit // len(KERNELS)
        one_hots = np.zeros((len(code), 2, SLOTS_PER_STAGE, 3))
        one_hots[:, 0, :depth] = kernel[:, :, None] == np.arange(3)
        one_hots[:, 1, :depth] = expansion[:, :, None] == np.arange(3)
        k, e = np.array(KERNELS)[kernel], np.array(EXPANSIONS)[expansion]
        sums = np.stack([k.sum(1), e.sum(1), (k * e).sum(1), (k**2 * e).sum(1)], axis=1)
        depths = np.full((len(code), 1), depth)
        parts = [one_hots.reshape(len(code), -1), depths, sums, np.log(sums[:, 1:])]
        blocks.append(np.concatenate(parts, axis=1))
    return np.concatenate(blocks)


class _TabledNetwork:
    """Two tanh layers and a linear skip; all that is linear in the features becomes a table."""

    def __init__(self, pack: Mapping[str, PackArray], name: str) -> None:
        first, self._first_bias, self._second, self._second_bias, self._last = (
            pack[f"{name}_{part}"].astype(np.float32)
            for part in ("first", "first_bias", "second", "second_bias", "last")
        )
        skip = pack[f"{name}_skip"].astype(np.float64)
        features = stage_features()
        # (5, 7371, hidden) and (5, 7371); the first stage's table carries the bias.
        self._tables = np.stack(
            [(features @ part).astype(np.float32) for part in np.split(first, STAGES)]
        )
        self._tables[0] += self._first_bias
        self._skip_tables = np.stack([features @ part for part in np.split(skip[:-1], STAGES)])
        self._offset = float(skip[-1])

    def __call__(self, codes: IntArray) -> FloatArray:
        """Answer (n,) for `codes` (5, n)."""
        count = codes.shape[1]
        answer = np.full(count, self._offset)
        hidden = np.empty((min(count, _BLOCK), self._tables.shape[2]), dtype=np.float32)
        looked_up = np.empty_like(hidden)
        for start in range(0, count, _BLOCK):
            block = codes[:, start : start + _BLOCK]
            width = block.shape[1]
            h, t = hidden[:width], looked_up[:width]
            out = answer[start : start + width]
            # The codes are in range, and mode="clip" spares the copy that "raise" makes.
            np.take(self._tables[0], block[0], axis=0, out=h, mode="clip")
            out += self._skip_tables[0].take(block[0])
            for stage in range(1, STAGES):
                np.take(self._tables[stage], block[stage], axis=0, out=t, mode="clip")
                h += t
                out += self._skip_tables[stage].take(block[stage])
            np.tanh(h, out=h)
            second = h @ self._second
            second += self._second_bias
            np.tanh(second, out=second)
            out += second @ self._last
        return answer


def _check_options(columns: NDArray[np.integer]) -> None:
    """Raise for the first gene of (46, n) `columns` that is outside its options."""
    limits = np.full(GENES, 2)
    limits[0] = len(RESOLUTIONS) - 1
    wrong = np.flatnonzero((columns.max(axis=1) > limits) | (columns.min(axis=1) < 0))
    if not len(wrong):
        return
    gene = int(wrong[0])
    row = int(np.flatnonzero((columns[gene] > limits[gene]) | (columns[gene] < 0))[0])
    name, options = _describe(gene)
    allowed = ", ".join(f"{index} ({value})" for index, value in enumerate(options))
    found = f"network {row}: gene {gene} ({name}) is {columns[gene, row]}"
    raise InvalidArchitectureError(f"{found}; allowed option indices are {allowed}")


def _describe(gene: int) -> tuple[str, tuple[int, ...]]:
    if gene == 0:
        return "resolution", RESOLUTIONS
    if gene < _KERNEL_GENE:
        return f"depth of stage {gene - 1}", DEPTHS
    kind, first, options = (
        ("kernel", _KERNEL_GENE, KERNELS)
        if gene < _EXPANSION_GENE
        else ("expansion", _EXPANSION_GENE, EXPANSIONS)
    )
    stage, position = divmod(gene - first, SLOTS_PER_STAGE)
    return f"{kind} of stage {stage}, position {position}", options
