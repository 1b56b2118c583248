"""Small vision transformers for ImageNet, DeiT-Ti among them: about 10^9 networks.

Options are those around AutoFormer's smallest super-network (Chen et al., ICCV 2021, table 1), with
two sizes of patch. See `search_spaces.families.vit`.
"""

from __future__ import annotations

from search_spaces.families.vit import Macro, VisionTransformer

SPACE = VisionTransformer(
    "vit",
    Macro(
        patches=(16, 32),
        embeddings=(192, 216, 240),
        depths=(12, 13, 14),
        heads=(3, 4),
        ratios=(3.5, 4.0),
    ),
)
