"""What the networks that torchvision defines have in common: input and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, PositiveInt, field_validator
from torch import nn

from methods.core.config import Config
from methods.core.vision import import_torchvision
from methods.networks.backbone import Backbone
from methods.networks.preparation import Preparation
from methods.networks.weights import Weights, by_word, load_features


class VisionNetwork(Config):
    """Options of networks that were made for ImageNet.

    ``weights`` are those that training starts from; the head always starts afresh, and so does what
    torchvision's own network does not have. To use them as a fixed feature extractor, freeze blocks
    from the start (``freeze_from: start``). Where no weights can be had, the offline stand-in is to
    pretrain on the first task and to freeze then, which is what ``freeze_depth`` does by itself
    (``freeze_from: first-task``).

    Attributes
    ----------
    torchvision_name, classifier : str
        What torchvision calls the network, and the part of it that is no feature.
    published : tuple of str
        Names of torchvision's weights.
    smallest : int
        Height and width in pixels of the smallest images that something is left of.
    """

    torchvision_name: ClassVar[str]
    classifier: ClassVar[str] = "classifier"
    published: ClassVar[tuple[str, ...]] = ("IMAGENET1K_V1",)
    smallest: ClassVar[int] = 1

    image_size: PositiveInt | None = 224
    """Height and width that images are resized to; null leaves them as they are."""
    normalize: Literal["imagenet", "none"] = "imagenet"
    """Take ImageNet's mean and standard deviation out of each channel, or leave [0, 1]."""
    weights: Annotated[Weights | None, BeforeValidator(by_word)] = None
    """Where training starts: null for random weights, the path of a ``state_dict`` of torchvision's
    network, or the name of torchvision's own weights, which are downloaded."""

    @field_validator("image_size")
    @classmethod
    def _not_too_small(cls, image_size: int | None) -> int | None:
        if image_size is not None and image_size < cls.smallest:
            raise ValueError(
                f"nothing would be left of images of {image_size} × {image_size} pixels; give at "
                f"least {cls.smallest}"
            )
        return image_size

    @field_validator("weights")
    @classmethod
    def _published_ones(cls, weights: Weights | None) -> Weights | None:
        if weights and weights.published and weights.published not in cls.published:
            raise ValueError(
                f"torchvision has no weights {weights.published} of this network; give "
                f"{' or '.join(cls.published)}, or the path of a file"
            )
        return weights

    def check_images(self, shape: tuple[int, int, int]) -> None:
        """Refuse images of which nothing would be left, or of other than 1 or 3 channels."""
        channels, height, width = shape
        if channels not in (1, 3):
            raise ValueError(
                f"torchvision's networks take images of 1 or 3 channels, not {channels}"
            )
        if self.image_size is None and min(height, width) < self.smallest:
            raise ValueError(
                f"nothing would be left of images of {height} × {width} pixels in "
                f"{self.torchvision_name}; give it an image_size of at least {self.smallest}"
            )

    def _model(self) -> Any:
        """Return torchvision's model without its classifier, with the weights asked for."""
        model = self._untrained()
        if self.weights is not None:
            load_features(model, self.weights, self.torchvision_name, f"{self.classifier}.")
        return model

    def _untrained(self) -> Any:
        model = getattr(import_torchvision().models, self.torchvision_name)(num_classes=1)
        setattr(model, self.classifier, nn.Identity())
        return model

    def _backbone(self, blocks: Sequence[nn.Module], shape: tuple[int, int, int]) -> Backbone:
        """Put blocks behind the preparation of their input."""
        self.check_images(shape)
        prepare = Preparation(shape[0], self.image_size, self.normalize == "imagenet")
        return Backbone(blocks, shape, prepare)
