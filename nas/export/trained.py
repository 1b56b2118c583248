"""A network with weights of a trained super-network: cut, recalibrated, and labelled as such."""

from __future__ import annotations

import json
from pathlib import Path

from nas.errors import InvalidRequestError
from nas.supernet.checkpoint import read_checkpoint
from nas.supernet.data import load_cifar10
from nas.supernet.subnet import RECALIBRATION_IMAGES, recalibrated
from search_spaces.architecture import Architecture
from search_spaces.onnx_build import build_onnx
from search_spaces.space import SearchSpace


def export_trained(
    space: SearchSpace, arch: Architecture, checkpoint: Path, data: Path | None
) -> tuple[str, bytes]:
    """The network as an ONNX model that classifies images.

    Its metadata say whose weights it has (`weights`, `checkpoint_sha256`, `trained_on`), what its
    outputs stand for (`classes`, JSON), how its input is to be scaled (`normalise`, JSON: mean and
    standard deviation of each channel in units of full white), and what its statistics were taken
    from (`recalibrated_on`).

    Args:
        space: Its space.
        arch: The network.
        checkpoint: Weights of the space's super-network.
        data: Folder of the images that the super-network was trained on.

    Returns:
        File name, `best.onnx`, and bytes.

    Raises:
        CheckpointError: If the checkpoint does not serve the space.
        InvalidRequestError: If no folder of images is known.
        DatasetError: If it does not hold them.
        MissingExtraError: If what decodes images is not installed.
    """
    shared = read_checkpoint(checkpoint, space)
    if data is None:
        msg = (
            f"a network of {space.name} is exported after its batch norms were recalibrated on "
            "training images; set NAS_DATA to the folder of cifar10-train.parquet"
        )
        raise InvalidRequestError(msg)
    images = load_cifar10(data, subset=RECALIBRATION_IMAGES).train
    arch = space.canonical_arch(arch)
    graph = space.graph(arch)
    folded = recalibrated(graph, shared.tensors, shared.normalised(images.pixels))
    about = {
        "architecture": arch.key,
        "space": space.name,
        "trained_on": shared.dataset,
        "weights_of": shared.weights,
        "checkpoint_sha256": shared.sha256,
        "classes": json.dumps(shared.classes),
        "normalise": json.dumps({"mean": shared.mean, "std": shared.std}),
        "recalibrated_on": f"{len(images)} training images of {shared.dataset}",
    }
    return "best.onnx", build_onnx(graph, folded, metadata=about)
