"""Export: the files that deploy a network, and those that describe a run."""

from nas.export.evaluate import evaluate_onnx
from nas.export.trained import export_trained

__all__ = ["evaluate_onnx", "export_trained"]
