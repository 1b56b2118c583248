"""`nas evaluate`: what an exported network gets right, by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Format, FormatOption


def evaluate(
    model: Annotated[Path, typer.Argument(help="ONNX file, such as best.onnx.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with cifar10-*.parquet [NAS_DATA].")
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Test images to classify.")] = 1000,
    output_format: FormatOption = Format.table,
) -> None:
    """Classify CIFAR-10 test images with an exported network and print its accuracy."""
    from nas.cli.output import print_json, print_rows
    from nas.errors import InvalidRequestError
    from nas.export.evaluate import evaluate_onnx
    from nas.settings import Settings
    from nas.supernet.data import load_cifar10

    folder = data or Settings.from_environment().data
    if folder is None:
        msg = "where is the data? give --data FOLDER or set NAS_DATA"
        raise InvalidRequestError(msg)
    try:
        body = model.read_bytes()
    except OSError as error:
        msg = f"cannot read {model}: {error.strerror}"
        raise InvalidRequestError(msg) from error
    part = load_cifar10(folder, subset=images).test
    row = {
        "model": str(model),
        "dataset": "CIFAR-10 test",
        "images": len(part.labels),
        "top1_percent": evaluate_onnx(body, part.pixels, part.labels),
    }
    if output_format is Format.json:
        print_json(row)
    else:
        print_rows([row], list(row), "evaluated by ONNX Runtime")
