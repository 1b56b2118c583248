"""The reference network that every measurement is paired with.

Changing it changes the unit of all ratios: the digest is stored with each measurement, and
measurements with different references are never compared.
"""

from __future__ import annotations

from functools import cache

from search_spaces.graph import OpGraph
from search_spaces.spaces import mobilenetv3


@cache
def reference_graph() -> OpGraph:
    """A middling once-for-all MobileNetV3 at resolution 160: depth 3, kernel 5, expansion 4.

    Its 20 MB of weights leave the caches as cold for the next network as another network would.
    """
    slots = mobilenetv3.SLOTS
    config = {"r": 160, "d": [3] * mobilenetv3.STAGES, "ks": [5] * slots, "e": [4] * slots}
    return mobilenetv3.SPACE.graph(mobilenetv3.from_ofa(config))
