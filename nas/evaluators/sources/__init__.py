"""Accuracy sources, one file for each space that has one, named like the space."""
