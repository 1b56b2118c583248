"""Shift, flip and blank pictures as tensor code on their device; the room needs no torchvision."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nas.supernet.data import MEAN, STD


def normalise(pixels: Tensor) -> Tensor:
    """(n, 3, h, w) bytes to floats with the channels last; the same numbers as `data.normalise`."""
    mean = torch.tensor(MEAN, device=pixels.device)[:, None, None]
    std = torch.tensor(STD, device=pixels.device)[:, None, None]
    x = (pixels.float() / 255.0 - mean) / std
    return x.contiguous(memory_format=torch.channels_last)


def augment(pixels: Tensor, generator: torch.Generator, *, padding: int, cutout: int) -> Tensor:
    """Random crop of the padded picture, mirrored by half the time, with a blanked square.

    Args:
        pixels: (n, 3, h, w) bytes.
        generator: On the pixels' device.
        padding: Pixels of grey on each side before cropping.
        cutout: Side of the square set to the mean colour; its centre is uniform, so it may stick
            out. 0 for none.

    Returns:
        (n, 3, h, w) normalised floats.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with
    Cutout", 2017, section 3.
    """
    count, _, height, width = pixels.shape
    device = pixels.device
    x = normalise(pixels)
    mirror = torch.rand(count, generator=generator, device=device) < 0.5
    x = torch.where(mirror[:, None, None, None], x.flip(-1), x)
    if padding:
        shift = torch.randint(2 * padding + 1, (2, count), generator=generator, device=device)
        padded = functional.pad(x, (padding,) * 4)
        # (n, 3, shifts, shifts, h, w) without copying; one window of each picture is gathered.
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        x = windows[torch.arange(count, device=device), :, shift[0], shift[1]]
    if cutout:
        place = torch.rand((2, count, 1), generator=generator, device=device)
        rows = torch.arange(height, device=device) - (place[0] * height).floor()
        columns = torch.arange(width, device=device) - (place[1] * width).floor()
        low, high = -(cutout // 2), cutout - cutout // 2
        inside = ((rows >= low) & (rows < high))[:, :, None] & (
            (columns >= low) & (columns < high)
        )[:, None, :]
        x = x.masked_fill(inside[:, None], 0.0)
    return x.contiguous(memory_format=torch.channels_last)
