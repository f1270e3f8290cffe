"""The Wasserstein GAN of deep generative replay as its code was released, for audits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from methods.core.training import Budget
from methods.memories.wgan_gp import WganGp, WganGpConfig
from methods.memories.wgan_networks import ConvCritic

#: Images whose features are read in so many rows, each with a score.
_IMAGES, _SCORES = 8, 9
#: Height and width of images, to which the published code pads all.
_SIDE = 32
#: Added to slopes, not to their norm.
_EPSILON = 1e-16


def check_released_size(height: int, width: int) -> None:
    """Refuse images that the published critic was not made for.

    Raises
    ------
    ValueError
        If they are of another size than 32x32.
    """
    if (height, width) != (_SIDE, _SIDE):
        raise ValueError(
            f"as released the critic is one of images of {_SIDE}x{_SIDE}, and these are "
            f"{height}x{width}: give the stream pad_to: {_SIDE}"
        )


class ReleasedCritic(ConvCritic):
    """A critic whose scores are not of images: 36 of them for 32 images.

    Of an image of 32x32 remain ``8 · channels · 3 · 3`` values, 4608 with 64 channels. They are
    read in rows of ``8 · channels · 8``, 4096: 8 images have 9 rows, 7 of which hold parts of two
    neighbours.

    Parameters
    ----------
    channels : int
        Maps of the first layer.
    shape : tuple of int
        ``(C, 32, 32)``.

    Raises
    ------
    ValueError
        If images are of another size.
    """

    def __init__(self, channels: int, shape: tuple[int, ...]) -> None:
        check_released_size(*shape[1:])
        width = (_SIDE // 8) ** 2 * 4 * channels
        super().__init__(channels, shape, scored=width)
        self.width = width

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Score rows of the features of images, float ``[B, C, 32, 32]``: float ``[9 B / 8]``.

        Raises
        ------
        ValueError
            If B is no multiple of 8.
        """
        if len(x) % _IMAGES:
            raise ValueError(_wrong_batch(len(x)))
        rows = self.layers[:-1](x).view(-1, self.width)
        scores: Tensor = self.layers[-1](rows)
        return scores.squeeze(1)


def pixel_penalties(
    score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor
) -> Tensor:
    """Return how far slopes of a critic are from 1 at each pixel between real and drawn images.

    Mean over pixels of ``(1 − ‖∇D(εx + (1−ε)g)‖₂)²``, the norm over the channels of a pixel alone.
    Of one channel every pixel's slope is pulled to 1 or −1: the whole image's, to a norm of 32.

    Parameters
    ----------
    score : callable
        The critic: of images ``[B, C, H, W]``, float ``[S]``.
    real, fake : Tensor
        float ``[B, C, H, W]``, without gradients.
    share : Tensor
        float ``[B]``, each pair's ε.

    Returns
    -------
    Tensor
        float ``[B]``, differentiable in the critic's parameters.
    """
    between = torch.lerp(fake, real, share.view(-1, 1, 1, 1)).requires_grad_()
    (slope,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
    norm: Tensor = (slope + _EPSILON).norm(2, dim=1)
    return (1 - norm).square().flatten(1).mean(1)


class ReleasedWganGp(WganGp):
    """Scores that mix neighbours, and a penalty on each pixel."""

    def per_score(self, of_images: Tensor) -> Tensor:
        """Divide what images count, float ``[B]``, among scores: ``[9 B / 8]``, the same sum.

        Of eight images that share nine scores each counts alike: new and old ones, and those that
        are drawn, come in multiples of eight.
        """
        shared: Tensor = of_images.view(-1, _IMAGES).sum(1) / _SCORES
        return shared.repeat_interleave(_SCORES)

    def penalties(
        self, score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor
    ) -> Tensor:
        """Return the penalty of each pair, float ``[B]``."""
        return pixel_penalties(score, real, fake, share)


class ReleasedWganGpConfig(WganGpConfig):
    """The same options, for networks and losses of the published code."""

    def network(self, item: tuple[int, ...], classes: int) -> ReleasedWganGp:
        """Make the network, untrained.

        Raises
        ------
        ValueError
            If items are no images of 32x32.
        """
        made = super().network(item, classes)
        assert self.channels is not None  # check_released saw to it
        return ReleasedWganGp(
            item,
            ReleasedCritic(self.channels, item),
            made.generator,
            self.latents,
            critic_steps=self.critic_steps,
            penalty=self.penalty,
            noise_std=self.noise_std,
            least_batch=made.least_batch,
        )


def check_released(config: WganGpConfig, budget: Budget) -> None:
    """Look whether the published code's networks can be trained by a configuration.

    Parameters
    ----------
    config : WganGpConfig
    budget : Budget
        The classifier's, which is the generator's where it has none of its own.

    Raises
    ------
    ValueError
        If they cannot.
    """
    if config.channels is None:
        raise ValueError("as released the generator is convolutional: give channels, 64 there")
    for name, usual in {"conditional": False, "batch_norm": "batch", "refresh": "step"}.items():
        if getattr(config, name) != usual:
            raise ValueError(f"{name} is {usual} as released: leave it out")
    if config.iterations is None and budget.iterations is None:
        raise ValueError(
            "as released every batch is full: count in iterations, the memory's or the budget's"
        )
    for size in (config.batch_size or budget.batch_size, config.replay_batch or 0):
        if size % _IMAGES:
            raise ValueError(_wrong_batch(size))


def _wrong_batch(size: int) -> str:
    return (
        f"as released {_IMAGES} images have {_SCORES} scores together: give batches of a multiple "
        f"of {_IMAGES}, not {size}"
    )
