"""Generators and critics of a Wasserstein GAN: fully connected, or convolutional for images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: Slopes of leaky ReLUs below 0.
_SLOPE, _PUBLISHED_SLOPE = 0.2, 0.01
#: Times that a convolutional generator doubles height and width.
_DOUBLINGS = 3
#: The smallest height and width of which a convolutional critic's last layer makes anything.
_LEAST_SIDE = 16
#: Deviation of the first weights in convolutional networks.
_DEVIATION = 0.02


class LeakyReLU(nn.Module):
    """``x`` where it is positive, else ``slope · x``: a factor that is a constant to autograd.

    A penalty on a critic's slope is differentiated twice. The second derivative of a leaky ReLU
    is 0; PyTorch's own carries those zeros back through the whole critic.

    Parameters
    ----------
    slope : float
    """

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to each value."""
        factor = (x.detach() > 0).to(x.dtype).mul_(1 - self.slope).add_(self.slope)
        return x * factor


class MlpGenerator(nn.Module):
    """Fully connected layers with ReLU; a sigmoid ends what draws images.

    Parameters
    ----------
    inputs : int
        Latents and, where draws are conditioned on them, classes.
    hidden : sequence of int
        Units of each hidden layer.
    shape : tuple of int
        Of an item.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        layers.append(nn.Linear(inputs, math.prod(shape)))
        if len(shape) == 3:
            layers.append(nn.Sigmoid())
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Turn latents, float ``[B, inputs]``, into items ``[B, *shape]``."""
        x: Tensor = self.layers(z)
        return x.view(len(x), *self.shape)


class MlpCritic(nn.Module):
    """Fully connected layers with leaky ReLU and one score; no batch norm, which mixes items.

    Parameters
    ----------
    inputs : int
        Values of an item and, where scores are conditioned on them, classes.
    hidden : sequence of int
        Units of each hidden layer.
    """

    def __init__(self, inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), LeakyReLU(_SLOPE)]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, 1))

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Score items, float ``[B, ...]``, of classes that are one-hot: float ``[B]``.

        Parameters
        ----------
        x : Tensor
        code : Tensor, optional
            float ``[B, classes]``.
        """
        x = x.flatten(1)
        scores: Tensor = self.layers(x if code is None else torch.cat([x, code], 1))
        return scores.squeeze(1)


class ConvGenerator(nn.Module):
    """The generator of the published code of deep generative replay, for any size of image.

    A fully connected layer to ``8 · channels`` maps of an eighth of height and width, three
    transposed convolutions that double both and halve the maps, each with batch norm and ReLU, and
    a last one to the image, with a sigmoid. What is larger than the image is cut off around it.
    With 100 latents and 64 channels it has 3,582,849 parameters for 1x32x32 images and 3,584,003
    for 3x32x32.

    Parameters
    ----------
    inputs : int
        Latents and, where draws are conditioned on them, classes.
    channels : int
        Maps before the last layer.
    shape : tuple of int
        ``(C, H, W)``.
    running : bool
        Whether batch norm keeps running statistics for draws; else it has those of the batch, in
        training or not, and keeps none.
    """

    def __init__(
        self, inputs: int, channels: int, shape: tuple[int, ...], running: bool = False
    ) -> None:
        super().__init__()
        images, *self.size = shape
        factor = 2**_DOUBLINGS
        maps = channels * factor
        self.first = (maps, *(-(-side // factor) for side in self.size))
        layers: list[nn.Module] = []
        for _ in range(_DOUBLINGS):
            layers += [nn.BatchNorm2d(maps, track_running_stats=running), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(maps, maps // 2, 4, stride=2, padding=1))
            maps //= 2
        layers += [nn.BatchNorm2d(maps, track_running_stats=running), nn.ReLU()]
        layers += [nn.ConvTranspose2d(maps, images, 3, padding=1), nn.Sigmoid()]
        self.project = nn.Linear(inputs, math.prod(self.first))
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)
        # Transposed convolutions take half the time of what they take otherwise.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor) -> Tensor:
        """Turn latents, float ``[B, inputs]``, into images ``[B, C, H, W]`` in [0, 1]."""
        x: Tensor = self.layers(self.project(z).view(len(z), *self.first))
        height, width = self.size
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        return x[:, :, top : top + height, left : left + width].contiguous()


def check_size(height: int, width: int) -> None:
    """Refuse images of which a convolutional critic would leave nothing.

    Raises
    ------
    ValueError
        If they are too small.
    """
    if min(height, width) < _LEAST_SIDE:
        raise ValueError(
            f"images of {height}x{width} are too small for a convolutional critic, which needs "
            f"{_LEAST_SIDE}x{_LEAST_SIDE}: leave out channels, for fully connected ones"
        )


class ConvCritic(nn.Module):
    """The critic of the published code of deep generative replay, with one score for each image.

    Three convolutions that halve height and width and double the maps, a fourth that only doubles
    them, each with leaky ReLU, and a fully connected layer as wide as an image needs. That of the
    published code is not: :class:`~methods.memories.wgan_released.ReleasedCritic`. It had 2,758,593
    parameters for 64 channels and 1x32x32 images; this one has 512 more.

    Parameters
    ----------
    channels : int
        Maps of the first layer.
    shape : tuple of int
        ``(C, H, W)``.
    classes : int
        Classes that scores are conditioned on, each with a constant channel beside the image's.
    scored : int, optional
        Values that the last layer makes a score of; all that remain of an image by default.

    Raises
    ------
    ValueError
        If the image is too small.
    """

    def __init__(
        self, channels: int, shape: tuple[int, ...], classes: int = 0, scored: int | None = None
    ) -> None:
        super().__init__()
        images, *size = shape
        check_size(*size)
        layers: list[nn.Module] = []
        inputs, maps = images + classes, channels
        for stride in (2, 2, 2, 1):
            layers.append(nn.Conv2d(inputs, maps, 4, stride=stride, padding=1))
            layers.append(LeakyReLU(_PUBLISHED_SLOPE))
            inputs, maps = maps, 2 * maps
        flat = inputs * math.prod(side // 8 - 1 for side in size)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(scored or flat, 1))
        self.apply(_initialise)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Score images, float ``[B, C, H, W]``, of classes that are one-hot: float ``[B]``.

        Parameters
        ----------
        x : Tensor
        code : Tensor, optional
            float ``[B, classes]``.
        """
        if code is not None:
            constant = code[:, :, None, None].expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, constant], 1)
        scores: Tensor = self.layers(x)
        return scores.squeeze(1)


def _initialise(module: nn.Module) -> None:
    """Start as the published code: weights N(0, 0.02²), biases 0; batch norm has PyTorch's 1, 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=_DEVIATION)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
