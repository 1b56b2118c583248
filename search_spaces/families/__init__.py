"""Macro architectures that several spaces share; a space is a family with its sizes filled in."""
