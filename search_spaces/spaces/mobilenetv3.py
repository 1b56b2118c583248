"""MobileNetV3 for ImageNet as once-for-all searches it: about 10^20 networks.

Source: Cai et al., "Once-for-All", ICLR 2020, and its public configuration: resolutions 128 to 224
in steps of 16. See `search_spaces.families.mobilenetv3`.
"""

from __future__ import annotations

from search_spaces.families.mobilenetv3 import (
    DEPTHS,
    EXPANSIONS,
    KERNELS,
    SLOTS,
    STAGES,
    Macro,
    MobileNetV3,
)

__all__ = [
    "DEPTHS",
    "EXPANSIONS",
    "KERNELS",
    "RESOLUTIONS",
    "SLOTS",
    "SPACE",
    "STAGES",
    "from_ofa",
    "to_ofa",
]

RESOLUTIONS = (128, 144, 160, 176, 192, 208, 224)

SPACE = MobileNetV3(
    "mobilenetv3", Macro(RESOLUTIONS, stem_stride=2, strides=(2, 2, 2, 1, 2), classes=1000)
)
from_ofa = SPACE.from_ofa
to_ofa = SPACE.to_ofa
