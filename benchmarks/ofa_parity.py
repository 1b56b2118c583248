"""Our networks against the once-for-all package's own, output by output, on random weights.

    python benchmarks/ofa_parity.py --peer PYTHON [--networks 20]

PYTHON is an interpreter that has torch and the PyPI package `ofa`. It extracts random sub-networks,
folds their batch norms as docs/weights.md says, and saves weights, input and output; here the same
networks are built as ONNX with those weights and run. Without `--peer` the row says absent.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent

PEER = """
import random, sys
from unittest.mock import MagicMock
import numpy as np
import torch
# Data loading is not used, and torchvision's wheel may not fit the torch at hand.
for name in ("", ".transforms", ".transforms.functional", ".datasets", ".models", ".models.utils"):
    sys.modules.setdefault("torchvision" + name, MagicMock())
from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3

folder, count = sys.argv[1], int(sys.argv[2])
torch.manual_seed(0)
random.seed(0)
net = OFAMobileNetV3(n_classes=1000, width_mult=1.0, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6],
                     depth_list=[2, 3, 4])
for module in net.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        torch.nn.init.normal_(module.bias, 0, 0.1)
        torch.nn.init.normal_(module.running_mean, 0, 0.1)
        torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
net.eval()


def fold(out, name, conv, norm=None):
    weight = conv.weight.detach().double()
    bias = None if conv.bias is None else conv.bias.detach().double()
    if norm is not None:
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
        bias = norm.bias.double() - norm.running_mean.double() * scale
    out[name] = weight.detach().float().numpy()
    if bias is not None:
        out[name + ".bias"] = bias.detach().float().numpy()


for number in range(count):
    config = {"ks": [random.choice([3, 5, 7]) for _ in range(20)],
              "e": [random.choice([3, 4, 6]) for _ in range(20)],
              "d": [random.choice([2, 3, 4]) for _ in range(5)],
              "r": random.choice(range(128, 225, 16))}
    net.set_active_subnet(ks=config["ks"], e=config["e"], d=config["d"])
    sub = net.get_active_subnet(preserve_weight=True).eval()
    out = {}
    fold(out, "stem.conv", sub.first_conv.conv, sub.first_conv.bn)
    blocks = list(sub.blocks)
    first = blocks[0].conv if hasattr(blocks[0], "conv") else blocks[0].mobile_inverted_conv
    fold(out, "stem.depthwise", first.depth_conv.conv, first.depth_conv.bn)
    fold(out, "stem.project", first.point_linear.conv, first.point_linear.bn)
    rest = iter(blocks[1:])
    for stage, depth in enumerate(config["d"]):
        for position in range(depth):
            block = next(rest)
            conv = block.conv if hasattr(block, "conv") else block.mobile_inverted_conv
            name = f"s{stage}.b{position}"
            fold(out, name + ".expand", conv.inverted_bottleneck.conv, conv.inverted_bottleneck.bn)
            fold(out, name + ".depthwise", conv.depth_conv.conv, conv.depth_conv.bn)
            if hasattr(conv.depth_conv, "se"):
                fold(out, name + ".se.reduce", conv.depth_conv.se.fc.reduce)
                fold(out, name + ".se.expand", conv.depth_conv.se.fc.expand)
            fold(out, name + ".project", conv.point_linear.conv, conv.point_linear.bn)
    fold(out, "head.expand", sub.final_expand_layer.conv, sub.final_expand_layer.bn)
    fold(out, "head.mix", sub.feature_mix_layer.conv)
    fold(out, "head.classifier", sub.classifier.linear)
    x = torch.randn(1, 3, config["r"], config["r"])
    with torch.no_grad():
        y = sub(x)
    np.savez(f"{folder}/weights{number}.npz", **out)
    np.savez(f"{folder}/case{number}.npz", x=x.numpy(), y=y.numpy(), r=config["r"],
             ks=config["ks"], e=config["e"], d=config["d"])
"""


def largest_difference(folder: Path, count: int) -> float:
    """Largest difference of an output from the peer's, relative to the peer's largest output."""
    import onnxruntime

    from nas.export.files import read_weights
    from search_spaces.onnx_build import build_onnx
    from search_spaces.spaces.mobilenetv3 import SPACE, from_ofa

    worst = 0.0
    for number in range(count):
        with np.load(folder / f"case{number}.npz", allow_pickle=False) as case:
            config = {"r": int(case["r"]), **{k: case[k].tolist() for k in ("ks", "e", "d")}}
            x, expected = case["x"], case["y"]
        weights, _ = read_weights(folder / f"weights{number}.npz")
        model = build_onnx(SPACE.graph(from_ofa(config)), weights)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"input": x})
        worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    return worst


def main() -> int:
    """Compare and print one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--networks", type=int, default=20)
    options = parser.parse_args()
    if options.peer is None:
        print("ofa_outputs_max_relative_difference absent <=0.0001 ok")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        command = [str(options.peer), "-c", PEER, folder, str(options.networks)]
        subprocess.run(command, check=True)
        worst = largest_difference(Path(folder), options.networks)
    good = worst <= 1e-4
    print(f"ofa_outputs_max_relative_difference {worst:.3g} <=0.0001 {'ok' if good else 'short'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
