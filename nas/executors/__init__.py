"""Executors: who evaluates the slots of a batch."""
