"""From images as they are stored to what networks made for ImageNet expect."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Mean and standard deviation of each channel over ImageNet, as torchvision has them.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Preparation(nn.Module):
    """Resize, repeat grey to three channels, normalise: on a batch, on its device.

    Learns nothing and is no part of a network's saved state.

    Parameters
    ----------
    channels : int
        Of an image: 1 or 3.
    size : int or None
        Height and width in pixels that every image is resized to: bilinear with antialiasing, as
        torchvision's ``Resize`` does it; in floating point, where resizing stored pictures would
        round to bytes. An image that is not square is stretched. None leaves images as they are.
    normalize : bool
        Whether ImageNet's mean and standard deviation of each channel are taken out.

    Raises
    ------
    ValueError
        If the images have another number of channels.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, size: int | None, normalize: bool) -> None:
        super().__init__()
        self.size, self.normalize = size, normalize
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Prepare images, float ``[B, 1 or 3, H, W]`` in [0, 1]: float ``[B, 3, size, size]``."""
        if self.size is not None and x.shape[2:] != (self.size, self.size):
            wanted = (self.size, self.size)
            x = functional.interpolate(x, wanted, mode="bilinear", antialias=True)
        x = x.expand(-1, 3, -1, -1)  # after resizing, so that grey is resized once
        return (x - self.mean).div_(self.deviation) if self.normalize else x
