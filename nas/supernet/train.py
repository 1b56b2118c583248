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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.supernet.data import load_cifar10
from nas.supernet.extras import require
from nas.supernet.recipe import Recipe
from search_spaces import SPACES
from search_spaces.errors import NasError

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
    elif (out / STATE).exists():
        msg = f"{out} holds the state of a training; go on with --resume, or name another --out"
        raise NasError(msg)
    network_space = SPACES.get(space)
    images = load_cifar10(data, cache, subset=subset)
    trainer = Trainer(network_space, images, recipe or Recipe(), place, captured=captured)
    if resume:
        trainer.restore(out)
    logger.info("%s on %s: step %d of %d", space, place, trainer.step, trainer.steps)
    trainer.run(out, None if minutes is None else begin + 60.0 * minutes)
    return write_results(trainer, out, scored if trainer.finished else _SCORED_EARLY)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, train, print; returns the exit code."""
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    run: Callable[[argparse.Namespace, float], dict[str, Any]] = options.run
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nas.supernet.train", description=__doc__)
    commands = parser.add_subparsers(required=True)
    supernet = commands.add_parser("supernet", help="train the shared weights of a space")
    _common(supernet)
    supernet.add_argument("--space", default="mobilenetv3-cifar")
    supernet.add_argument("--scored", type=int, default=_SCORED, help="random sub-networks")
    supernet.add_argument("--no-graphs", action="store_true", help="launch every kernel by itself")
    ours = Recipe()
    for name in _RECIPE_OPTIONS:
        default = getattr(ours, name)
        supernet.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), help=f"recipe [{default}]"
        )
    supernet.set_defaults(run=_supernet)
    return parser


_RECIPE_OPTIONS = (
    "epochs", "batch", "rate", "warmup_epochs", "weight_decay", "label_smoothing",
    "random_networks", "pool", "refreshed", "ema", "cutout", "seed",
)  # fmt: skip


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of state and results")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("NAS_DATA"),
        help="CIFAR-10 [NAS_DATA]",
    )
    parser.add_argument("--cache", type=Path, help="npz file or folder of decoded images")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--minutes", type=float, help="stop and save after so long")
    parser.add_argument("--resume", action="store_true", help="go on with the state in --out")
    parser.add_argument("--subset", type=int, help="images of each part, for trials")


def _supernet(options: argparse.Namespace, started: float) -> dict[str, Any]:
    chosen = {name: getattr(options, name) for name in _RECIPE_OPTIONS}
    recipe = replace(Recipe(), **{name: v for name, v in chosen.items() if v is not None})
    return train_supernet(
        options.out, space=options.space, data=options.data, cache=options.cache, recipe=recipe,
        device=options.device, minutes=options.minutes, resume=options.resume,
        subset=options.subset, scored=options.scored, captured=not options.no_graphs,
        started=started,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
