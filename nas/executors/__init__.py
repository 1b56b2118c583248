"""Executors: who evaluates the slots of a batch."""

from nas.evaluator import EXECUTORS

__all__ = ["EXECUTORS"]
