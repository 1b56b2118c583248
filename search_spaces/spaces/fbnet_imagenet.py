"""FBNet for ImageNet: 224 × 224 pixels, a thousand classes, about 10^21 networks.

Source: Wu et al., "FBNet", CVPR 2019, table 1. See `search_spaces.families.fbnet`.
"""

from __future__ import annotations

from search_spaces.families.fbnet import FBNet, Macro

SPACE = FBNet(
    "fbnet-imagenet",
    Macro(
        resolution=224, stem_stride=2, strides=(1, 2, 2, 2, 1, 2, 1), head_width=1984, classes=1000
    ),
)
