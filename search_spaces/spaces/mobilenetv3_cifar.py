"""The once-for-all MobileNetV3 for CIFAR-10: 32 × 32 pixels, ten classes.

Depths, kernels and expansions are those of `mobilenetv3`. The stem keeps all pixels and three
stages halve the image, so that the last one still sees 4 × 4 places.
"""

from __future__ import annotations

from search_spaces.families.mobilenetv3 import Macro, MobileNetV3

SPACE = MobileNetV3(
    "mobilenetv3-cifar", Macro((32,), stem_stride=1, strides=(2, 1, 2, 1, 2), classes=10)
)
