"""FBNet for CIFAR-10: 32 × 32 pixels, ten classes, about 10^21 networks.

Strides and head are those on which HW-NAS-Bench (Li et al., ICLR 2021) measured devices, there with
a hundred classes. See `search_spaces.families.fbnet`.
"""

from __future__ import annotations

from search_spaces.families.fbnet import FBNet, Macro

SPACE = FBNet(
    "fbnet",
    Macro(resolution=32, stem_stride=1, strides=(1, 1, 2, 2, 1, 2, 1), head_width=1504, classes=10),
)
