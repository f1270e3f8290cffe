"""Deep generative replay: a generator of images is trained along with the classifier."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, NonNegativeInt, ValidationInfo, field_validator
from torch import Tensor

from methods.core.registry import register
from methods.core.snapshot import frozen_copy
from methods.core.task import StreamInfo, Task
from methods.memories import MemoryConfig, VaeConfig, WganGpConfig
from methods.memories.wgan_released import check_released, check_released_size
from methods.rehearsal import Labels, Rehearsal

#: Maps of the first layer of the published critic.
_RELEASED_CHANNELS = 64


def _usual_generator(options: dict[str, Any]) -> VaeConfig | WganGpConfig:
    """Return the generator of a variant, given the options that come before it."""
    if options.get("variant") == "as-released":
        return WganGpConfig(channels=_RELEASED_CHANNELS)
    return VaeConfig()


@register("dgr", paper="Shin et al. 2017, arXiv:1705.08690")
class DeepGenerativeReplay(Rehearsal):
    r"""Rehearse images drawn from a network that is trained to draw them, labelled by the solver.

    The scholar of the paper is a generator G and a solver S, the classifier. Once a task is learnt,
    the generator learns it too, mixed with what its own frozen copy draws of the past; in the next
    task its draws are rehearsed with the labels that the solver gave before the task (eq. 1):

    .. math:: r \, CE(S_t(x), y) + (1 - r) \, CE(S_t(x'), S_{t-1}(x')), \quad x' = G_{t-1}(z)

    where r is the weight that ``replay_loss`` gives the new task. The paper has the generator learn
    first; it takes nothing from the solver, so the order is the same.

    The generator of the paper and of its published code is ``wgan-gp``, that of the comparison
    literature a ``vae``.

    ``variant: as-released`` has the convolutional WGAN-GP of a public re-implementation with the
    first three of these defects. The fourth is one that no method here may have: a prediction
    depends on its image alone.

    Defects mended
    --------------
    - The critic reads the features of images in rows of another width, so that scores mix
      neighbouring images and 32 of them have 36: here each image has one score of its own.
    - The gradient penalty takes the norm of the slope at each pixel, over channels, and pulls each
      to 1: here one norm of the whole image.
    - The previous solver labels replayed images in training mode, by statistics of the batch: here
      in eval mode.
    - Solvers are tested in training mode, by statistics of the test batch, and batch norm goes on
      learning from test images: here predictions take the running statistics and leave them alone.
    """

    class Config(Rehearsal.Config):
        """Depth 0, and a trained generator."""

        has_released_variant: ClassVar[bool] = True

        memory: MemoryConfig = Field(default_factory=_usual_generator, validate_default=True)
        """The generator: ``vae``, ``cvae``, ``wgan-gp`` or ``flow``. Default: ``vae``; as released
        ``{name: wgan-gp, channels: 64}``."""
        depth: NonNegativeInt | None = Field(default=0, validate_default=True)
        """0: images."""

        @field_validator("memory")
        @classmethod
        def _released_as_convolutions(cls, memory: Any, info: ValidationInfo) -> Any:
            budget = info.data.get("budget")  # absent where it is wrong itself
            if info.data.get("variant") == "as-released" and budget is not None:
                if not isinstance(memory, WganGpConfig):
                    raise ValueError(
                        "variant as-released has a convolutional WGAN-GP: give "
                        "memory: {name: wgan-gp, channels: 64}"
                    )
                check_released(memory, budget)
            return memory

        @field_validator("replay_labels")
        @classmethod
        def _released_labels(cls, labels: Labels | None, info: ValidationInfo) -> Labels | None:
            if info.data.get("variant") == "as-released" and labels == "soft":
                raise ValueError("variant as-released has hard labels: leave replay_labels out")
            return labels

    config: Config

    @classmethod
    def check_stream(cls, config: Any, stream: StreamInfo) -> None:
        """Refuse images too small for convolutions; as released, of any size but 32x32."""
        super().check_stream(config, stream)
        if config.variant == "as-released":
            check_released_size(*stream.shape[1:])

    def before_task(self, task: Task) -> None:
        """Note the solver as it is; as released, in training mode."""
        super().before_task(task)
        if self.teacher is not None and self.config.variant == "as-released":
            self.teacher.network.train()

    def _said(self, x: Tensor) -> Tensor:
        if self.config.variant == "corrected":
            return super()._said(x)
        with self.rng.at(self.tasks_learned).of("memory").scoped("labels", self.device):
            logits: Tensor = frozen_copy(self.network).train()(x, self.depth)
            return logits
