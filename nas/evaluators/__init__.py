"""Evaluators: what a network is worth before, or instead of, training it."""
