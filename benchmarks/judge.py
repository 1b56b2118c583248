"""python benchmarks/judge.py MODEL.onnx ...: an independent judge of unloaded latencies.
Runs each model between runs of a network of its own, in turns, so that all see the same minutes:
one thread, CPU time, upper quartile, while CPU pressure is below 5 %. Nothing of ours is imported.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort


def field(number, value):  # one protobuf field: an integer, or bytes behind their length
    def varint(n):
        return bytes([n]) if n < 128 else bytes([n % 128 + 128]) + varint(n >> 7)

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def own_network(blocks=8, width=96, size=22):  # ONNX by hand: expand, depthwise 3x3, project
    rng, nodes, tensors, wide = np.random.default_rng(7), b"", b"", 6 * width
    shapes = [(wide, width, 1, 1), (wide, 1, 3, 3), (width, wide, 1, 1)] * blocks
    for n, shape in enumerate(shapes):
        raw = rng.standard_normal(shape, dtype=np.float32) / np.float32(np.prod(shape[1:]) ** 0.5)
        dims = b"".join(field(1, extent) for extent in shape)
        tensors += field(5, dims + field(2, 1) + field(8, f"w{n}") + field(9, raw.tobytes()))
        group = field(1, "group") + field(3, wide if shape[1] == 1 else 1) + field(20, 2)
        conv = field(1, f"t{n}") + field(1, f"w{n}") + field(2, f"t{n + 1}") + field(4, "Conv")
        nodes += field(1, conv + field(5, group))
    for number, name, extent in ((11, "t0", size), (12, f"t{n + 1}", size - 2 * blocks)):
        dims = b"".join(field(1, field(1, d)) for d in (1, width, extent, extent))
        tensors += field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, dims))))
    return field(1, 9) + field(7, nodes + field(2, "own") + tensors) + field(8, field(2, 17))


def timed(model):  # a function that runs the model once and returns its CPU time [ms]
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal(session.get_inputs()[0].shape, dtype=np.float32)
    feeds, now = {session.get_inputs()[0].name: x}, time.process_time_ns
    return lambda: (now() - (session.run(None, feeds), now())[1]) / -1e6


networks, own = [timed(model) for model in sys.argv[1:]], timed(own_network())
samples = [[] for _ in networks]
for turn in range(max(100 * len(networks), 400)):  # ten runs of one, then of the next, and around
    while float(Path("/proc/pressure/cpu").read_text().split("avg10=")[1].split()[0]) >= 5:
        time.sleep(1)
    for run in range(11):
        own()
        sample = networks[turn % len(networks)]()
        samples[turn % len(networks)] += [sample] * (run > 0)  # the first one warms up
for model, runs in zip(sys.argv[1:], samples, strict=True):
    print(json.dumps({"model": model, "latency_ms": float(np.percentile(runs, 75))}))
