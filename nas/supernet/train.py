"""Train on a bare machine: `python -m nas.supernet.train supernet --out FOLDER --data FOLDER`.

Needs torch, NumPy and safetensors; pyarrow and pillow only to decode the images the first time.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.supernet.data import load_cifar10
from nas.supernet.dnas_recipe import SearchRecipe
from nas.supernet.extras import require
from nas.supernet.latency_term import block_sums
from nas.supernet.recipe import Recipe
from search_spaces import SPACES
from search_spaces.architecture import FloatArray
from search_spaces.errors import NasError, UsageError
from search_spaces.space import ChainSpace, SearchSpace

logger = logging.getLogger(__name__)

# Random sub-networks scored at the end, and of a training that was stopped.
_SCORED, _SCORED_EARLY = 200, 0


def train_supernet(
    out: Path, *, space: str = "mobilenetv3-cifar", data: Path | None = None,
    cache: Path | None = None, recipe: Recipe | None = None, device: str = "auto",
    minutes: float | None = None, resume: bool = False, subset: int | None = None,
    scored: int = _SCORED, captured: bool = True, started: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train a super-network or go on with one, and write what it reached.

    Args:
        out: Folder of the state and the results.
        space: Name of the space; its networks must have ten classes.
        data: Folder of CIFAR-10's Parquet files.
        cache: File or folder of decoded images.
        recipe: How; a resumed training keeps its own.
        device: `auto`, `cpu` or `cuda`.
        minutes: Stop after so long, counted from `started`, and save; resume goes on.
        resume: Go on with the state in `out`.
        subset: Only that many images of each part, for trials.
        scored: Random sub-networks to evaluate when the training is finished.
        captured: Replay CUDA graphs where the device can.
        started: `time.monotonic()` at which the minutes began; now if not given.

    Returns:
        The content of `metrics.json`.

    Raises:
        NasError: If torch, data or state are missing or wrong; the message says what to do.
    """
    begin = time.monotonic() if started is None else started
    require("torch", "train")
    from nas.supernet.results import write_results
    from nas.supernet.trainer import STATE, Trainer, pick_device, stored_recipe

    place = pick_device(device)
    if resume:
        space, recipe = stored_recipe(out)
    else:
        _refuse_begun(out, STATE)
    network_space = SPACES.get(space)
    images = load_cifar10(data, cache, subset=subset)
    trainer = Trainer(network_space, images, recipe or Recipe(), place, captured=captured)
    if resume:
        trainer.restore(out)
    logger.info("%s on %s: step %d of %d", space, place, trainer.step, trainer.steps)
    trainer.run(out, None if minutes is None else begin + 60.0 * minutes)
    return write_results(trainer, out, scored if trainer.finished else _SCORED_EARLY)


def search_differentiably(
    out: Path, *, space: str = "fbnet", table: FloatArray | None = None, unit: str = "M MACs",
    data: Path | None = None, cache: Path | None = None, recipe: SearchRecipe | None = None,
    device: str = "auto", minutes: float | None = None, resume: bool = False,
    subset: int | None = None, started: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Search for an architecture by gradients, or go on with a search, and write what it found.

    Args:
        out: Folder of the state and the results.
        space: Name of a chain space in which each choice decides one block.
        table: (layers, options) cost of each candidate; millions of MACs if not given.
        unit: Of the table, for the report.
        data: Folder of CIFAR-10's Parquet files.
        cache: File or folder of decoded images.
        recipe: How; its budget is in the table's unit. A resumed search keeps its own.
        device: `auto`, `cpu` or `cuda`: where the search runs.
        minutes: Stop after so long, counted from `started`, and save; resume goes on.
        resume: Go on with the state in `out`.
        subset: Only that many images of each part, for trials.
        started: `time.monotonic()` at which the minutes began; now if not given.

    Returns:
        The content of `dnas.json`.

    Raises:
        NasError: If torch, data, table or state are missing or wrong; the message says what to do.
    """
    begin = time.monotonic() if started is None else started
    require("torch", "train")
    from nas.supernet.dnas import STATE, DifferentiableSearch, stored_search
    from nas.supernet.dnas_results import write_search_results
    from nas.supernet.trainer import pick_device

    place = pick_device(device)
    if resume:
        space, recipe, table = stored_search(out)
    else:
        _refuse_begun(out, STATE)
    chain = SPACES.get(space)
    costs = macs_table(chain) if table is None else table
    images = load_cifar10(data, cache, subset=subset)
    search = DifferentiableSearch(chain, images, costs, recipe or SearchRecipe(), place)
    if resume:
        search.restore(out)
    logger.info("search in %s on %s, costs in %s", space, place, unit)
    search.run(out, None if minutes is None else begin + 60.0 * minutes)
    return write_search_results(search, out, unit)


def macs_table(space: SearchSpace) -> FloatArray:
    """(layers, options) millions of MACs: what is searched with where no latency is known.

    Raises:
        UsageError: If the space is no chain of blocks.
    """
    if not isinstance(space, ChainSpace):
        msg = f"{space.name} is no chain of blocks; a differentiable search needs one: fbnet"
        raise UsageError(msg)
    return block_sums(space, space.cost_table.macs / 1e6)


def _refuse_begun(out: Path, state: str) -> None:
    if (out / state).exists():
        msg = f"{out} holds the state of a training; go on with --resume, or name another --out"
        raise NasError(msg)


def read_table(file: Path) -> FloatArray:
    """The array `latency_ms` (layers, options) of an npz file [ms].

    Raises:
        UsageError: If the file is missing or has no such array.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            return np.asarray(archive["latency_ms"], dtype=np.float64)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"cannot read a latency table from {file}: {error}; an npz with latency_ms is needed"
        raise UsageError(msg) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, train, print; returns the exit code."""
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    run: Callable[[argparse.Namespace, float], dict[str, Any]] = options.go
    try:
        result = run(options, started)
    except NasError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped; go on with --resume --out {options.out}\n")
        return 130
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


_RECIPE_OPTIONS = (
    "epochs", "batch", "rate", "warmup_epochs", "weight_decay", "label_smoothing",
    "random_networks", "pool", "refreshed", "ema", "cutout", "seed",
)  # fmt: skip
_SEARCH_OPTIONS = (
    "epochs", "postponed_epochs", "batch", "rate", "weight_decay", "logits_rate", "temperature",
    "final_temperature", "strength", "alpha", "beta", "cutout", "seed",
)  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nas.supernet.train", description=__doc__)
    commands = parser.add_subparsers(required=True)
    supernet = commands.add_parser("supernet", help="train the shared weights of a space")
    _common(supernet, Recipe(), _RECIPE_OPTIONS)
    supernet.add_argument("--space", default="mobilenetv3-cifar")
    supernet.add_argument("--scored", type=int, default=_SCORED, help="random sub-networks")
    supernet.add_argument("--no-graphs", action="store_true", help="launch every kernel by itself")
    supernet.set_defaults(go=_supernet)
    dnas = commands.add_parser("dnas", help="search for an architecture by gradients")
    _common(dnas, SearchRecipe(), _SEARCH_OPTIONS)
    dnas.add_argument("--space", default="fbnet")
    dnas.add_argument("--table", type=Path, help="npz with latency_ms (layers, options) [MACs]")
    dnas.add_argument("--budget", type=float, help="in ms, or in millions of MACs without --table")
    dnas.set_defaults(go=_dnas)
    return parser


def _common(
    parser: argparse.ArgumentParser, ours: Recipe | SearchRecipe, names: Sequence[str]
) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of state and results")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("NAS_DATA"), help="CIFAR-10 [NAS_DATA]"
    )
    parser.add_argument("--cache", type=Path, help="npz file or folder of decoded images")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--minutes", type=float, help="stop and save after so long")
    parser.add_argument("--resume", action="store_true", help="go on with the state in --out")
    parser.add_argument("--subset", type=int, help="images of each part, for trials")
    for name in names:
        default = getattr(ours, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), help=f"recipe [{default}]"
        )


def _chosen(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    chosen = {name: getattr(options, name) for name in names}
    return {name: value for name, value in chosen.items() if value is not None}


def _dnas(options: argparse.Namespace, started: float) -> dict[str, Any]:
    recipe = SearchRecipe(**_chosen(options, _SEARCH_OPTIONS), budget=options.budget)
    table = None if options.table is None else read_table(options.table)
    return search_differentiably(
        options.out, space=options.space, table=table,
        unit="M MACs" if table is None else f"ms by {options.table.name}", data=options.data,
        cache=options.cache, recipe=recipe, device=options.device, minutes=options.minutes,
        resume=options.resume, subset=options.subset, started=started,
    )  # fmt: skip


def _supernet(options: argparse.Namespace, started: float) -> dict[str, Any]:
    recipe = Recipe(**_chosen(options, _RECIPE_OPTIONS))
    return train_supernet(
        options.out, space=options.space, data=options.data, cache=options.cache, recipe=recipe,
        device=options.device, minutes=options.minutes, resume=options.resume,
        subset=options.subset, scored=options.scored, captured=not options.no_graphs,
        started=started,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
