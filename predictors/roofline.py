"""From a data sheet to seconds: the roofline model of a machine, operator by operator.

An operator takes the longer of its arithmetic and its memory traffic, and starting it takes a
while. Published peaks are never reached; by how much they are missed was measured on published
latency tables of machines with published figures; what remains unexplained, and that another
runtime may differ from those, is the width of the interval.

Source: Williams, Waterman and Patterson, "Roofline", Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devices.device import Target
from predictors.op_costs import CLASSES, OpTable
from search_spaces.architecture import FloatArray
from search_spaces.errors import UsageError

_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0}
# Share of the peak that kernels of each class reach. GPU: set on tables of four cards in three
# spaces at batch 1 to 256 (published figures, eager PyTorch), over whose devices log errors then
# have a standard deviation of 0.25. CPU: Raspberry Pi 4 (published) and ONNX Runtime (our own).
_EFFICIENCY = {
    "gpu": {"dense": 0.5, "pointwise": 0.5, "depthwise": 0.03, "grouped": 0.03, "matmul": 0.5},
    "cpu": {"dense": 0.35, "pointwise": 0.35, "depthwise": 0.1, "grouped": 0.1, "matmul": 0.35},
}
_BANDWIDTH_SHARE = {"gpu": 0.5, "cpu": 0.5}
# Starting a kernel: in a captured graph, or from Python as imported tables were measured.
_GRAPH_LAUNCH_US, _EAGER_LAUNCH_US, _CPU_LAUNCH_US = 4.0, 100.0, 3.0
# One core of several cannot fill the memory bus.
_ONE_CORE_SHARE = 0.5
# Arithmetic for each byte of bandwidth where one of both is unknown [FLOP/B].
_BALANCE = 20.0


@dataclass(frozen=True)
class Machine:
    """What the roofline needs to know.

    Attributes:
        kind: `cpu` or `gpu`.
        macs_per_s: Peak rate of multiply-accumulates [1/s].
        bytes_per_s: Peak memory bandwidth [B/s].
        launch_s: Time to start a kernel [s].
        element_bytes: Bytes of a value.
        batch: Samples at once.
        assumed: What the facts did not say, in words.
    """

    kind: str
    macs_per_s: float
    bytes_per_s: float
    launch_s: float
    element_bytes: float
    batch: int
    assumed: tuple[str, ...]

    @classmethod
    def of(cls, target_key: str, facts: Mapping[str, Any]) -> Machine | None:
        """The machine behind a target, by its data sheet; None if the facts say too little.

        Args:
            target_key: Runtime, precision, threads and batch are read from it if it names them.
            facts: `peak_gflops_fp32`, `peak_gflops_fp16`, `gpu_cuda_cores` and `gpu_clock_ghz`,
                `cpu_cores`, `cpu_clock_ghz` and `cpu_fp32_flops_per_cycle`,
                `memory_bandwidth_gb_s`, `kernel_overhead_us`; any of them may be absent.
        """
        target, assumed = _target(target_key)
        kind, gflops = _peak(target, facts, assumed)
        bandwidth = _number(facts, "memory_bandwidth_gb_s")
        if gflops is None and bandwidth is None:
            return None
        if bandwidth is None:
            assert gflops is not None  # one of both is known
            bandwidth = gflops / _BALANCE
            assumed.append(f"memory bandwidth {bandwidth:.3g} GB/s, from the peak rate")
        if gflops is None:
            gflops = bandwidth * _BALANCE
            assumed.append(f"peak rate {gflops:.3g} GFLOP/s, from the memory bandwidth")
        if kind == "cpu" and target.threads == 1:
            bandwidth *= _ONE_CORE_SHARE
        overhead = _number(facts, "kernel_overhead_us")
        return cls(
            kind=kind, macs_per_s=gflops * 1e9 / 2.0, bytes_per_s=bandwidth * 1e9,
            launch_s=1e-6 * (_launch_us(kind, target.runtime) if overhead is None else overhead),
            element_bytes=_BYTES.get(target.precision, 4.0), batch=target.batch,
            assumed=tuple(assumed),
        )  # fmt: skip

    @classmethod
    def nominal(cls, target_key: str) -> Machine:
        """A machine of which nothing is known, for shapes of latency without their scale."""
        target, assumed = _target(target_key)
        return cls(
            "cpu", 1e10, 1e10, 1e-5, _BYTES.get(target.precision, 4.0), target.batch,
            (*assumed, "everything; no facts of the device are known"),
        )  # fmt: skip

    def operator_s(self, table: OpTable) -> tuple[FloatArray, FloatArray]:
        """(ops,) time of the work of each operator, and of starting it [s]."""
        share = np.array([_EFFICIENCY[self.kind].get(name, 1.0) for name in CLASSES])
        compute = self.batch * table.macs / (self.macs_per_s * share[table.kind])
        moved = self.element_bytes * (self.batch * table.activations + table.weights)
        memory = moved / (self.bytes_per_s * _BANDWIDTH_SHARE[self.kind])
        return np.maximum(compute, memory), self.launch_s * table.launches


def _target(key: str) -> tuple[Target, list[str]]:
    try:
        return Target.parse(key), []
    except UsageError:
        # Imported tables do not say how they were measured.
        return Target(key, "unknown"), ["precision fp32, batch 1; the target does not say"]


def _launch_us(kind: str, runtime: str) -> float:
    if kind == "cpu":
        return _CPU_LAUNCH_US
    return _GRAPH_LAUNCH_US if runtime == "cudagraph" else _EAGER_LAUNCH_US


def _number(facts: Mapping[str, Any], name: str) -> float | None:
    value = facts.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        return None
    return float(value)


def _product(facts: Mapping[str, Any], *names: str) -> float | None:
    values = [_number(facts, name) for name in names]
    known = [value for value in values if value is not None]
    return float(np.prod(known)) if len(known) == len(names) else None


def _peak(target: Target, facts: Mapping[str, Any], assumed: list[str]) -> tuple[str, float | None]:
    """Kind of the processor that the runtime uses, and its peak [GFLOP/s]."""
    core = _product(facts, "cpu_clock_ghz", "cpu_fp32_flops_per_cycle")
    cores = _number(facts, "cpu_cores")
    graphics = _product(facts, "gpu_cuda_cores", "gpu_clock_ghz")
    fp32 = _number(facts, "peak_gflops_fp32") or (2.0 * graphics if graphics else None)
    fp16 = _number(facts, "peak_gflops_fp16")
    has_gpu = fp32 is not None or fp16 is not None
    if target.runtime == "ort" or (core is not None and not has_gpu):
        if core is not None:
            threads = min(float(target.threads), cores or float(target.threads))
            return "cpu", core * threads
        if not has_gpu:
            return "cpu", None
        assumed.append("peak rate of the whole device; its processor's is not known")
        return "cpu", fp32 or fp16
    if target.precision != "fp32" and fp16 is not None:
        return "gpu", fp16
    if target.precision != "fp32" and fp32 is not None:
        assumed.append(f"peak rate in fp32; that in {target.precision} is not known")
    return "gpu", fp32 or fp16
