"""Search spaces: what is a network? Layer graphs, genotypes, moves, costs, ONNX.

Names are loaded when first used: `nas --help` needs the errors of this room, not NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search_spaces.architecture import Architecture, Choice, Population
    from search_spaces.catalog import Catalog
    from search_spaces.errors import NasError
    from search_spaces.graph import OpGraph
    from search_spaces.space import SPACES, Block, ChainSpace, SearchSpace

__all__ = [
    "SPACES",
    "Architecture",
    "Block",
    "Catalog",
    "ChainSpace",
    "Choice",
    "NasError",
    "OpGraph",
    "Population",
    "SearchSpace",
]

_HOMES = {
    "SPACES": "space", "Architecture": "architecture", "Block": "space", "Catalog": "catalog",
    "ChainSpace": "space", "Choice": "architecture", "NasError": "errors", "OpGraph": "graph",
    "Population": "architecture", "SearchSpace": "space",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
