"""One shared autoencoder, and an autoencoder and a head for each task."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.core.task import StreamInfo
from methods.shared_private.autoencoder import Activation, Autoencoder, convolutions, flat_size
from methods.shared_private.sizes import Sizes, sizes_of

#: Mean and deviation of MNIST's pixels, which the published code takes out of all its data sets.
_MEAN, _DEVIATION = 0.1307, 0.3081


class SharedPrivateNetwork(nn.Module):
    """What is common to all tasks is reconstructed by one autoencoder, what is particular by T.

    A task's head classifies the two reconstructions of an image, channels over channels. All are
    made beforehand; whose task has not come is not trained.

    ``classes_of`` (bool ``[tasks, classes]``) travels with the network so that masks lie on its
    device; it is no part of its state.

    Parameters
    ----------
    stream : StreamInfo
    activation : {"none", "relu"}
    noise_rows : int, optional
        Images of a batch whose noise is drawn once and for all, as published; 0: it is not.

    Raises
    ------
    ValueError
        If there are no sizes for images of the stream's shape.
    """

    classes_of: Tensor
    eps: Tensor

    def __init__(
        self, stream: StreamInfo, activation: Activation = "none", noise_rows: int = 0
    ) -> None:
        super().__init__()
        shape, classes = stream.shape, stream.classes
        sizes = sizes_of(shape, classes)

        def autoencoder() -> Autoencoder:
            return Autoencoder(shape, classes, sizes, activation)

        self.classes = classes
        self.shared = autoencoder()
        self.private = nn.ModuleList(autoencoder() for _ in range(stream.tasks))
        self.heads = nn.ModuleList(
            _head(shape, classes, sizes, activation) for _ in range(stream.tasks)
        )
        self.register_buffer("classes_of", stream.eligible_by_task(), persistent=False)
        if noise_rows:
            self.register_buffer("eps", torch.randn(noise_rows, self.shared.dim))

    def private_of(self, task: int) -> Autoencoder:
        """Return the autoencoder of a task."""
        module = self.private[task]
        assert isinstance(module, Autoencoder)
        return module

    def learn_only(self, task: int) -> None:
        """Let what is shared and what is the task's own learn, and nothing else."""
        for part in (self.private, self.heads):
            for index, module in enumerate(part):
                module.requires_grad_(index == task)

    # Units ---------------------------------------------------------------------------------------

    @staticmethod
    def enter(x: Tensor) -> Tensor:
        """Return stored images, uint8, as the autoencoders see them: float."""
        return x.float().div_(255).sub_(_MEAN).div_(_DEVIATION)

    @staticmethod
    def leave(x: Tensor) -> Tensor:
        """Return what a decoder gives as images: uint8."""
        return (x * _DEVIATION).add_(_MEAN).clamp_(0, 1).mul_(255).round_().to(torch.uint8)

    # Passes --------------------------------------------------------------------------------------

    def condition(self, y: Tensor) -> Tensor:
        """Return classes, int64 ``[B]``, one-hot: float ``[B, classes]``."""
        return functional.one_hot(y, self.classes).float()

    def null(self, n: int) -> Tensor:
        """Return ``n`` conditions that say nothing: zeros ``[n, classes]``."""
        return torch.zeros(n, self.classes, device=self.classes_of.device)

    def noise(self, n: int) -> Tensor:
        """Return the noise that is drawn once for all batches, repeated: ``[n, dim]``."""
        return self.eps[torch.arange(n, device=self.eps.device) % len(self.eps)]

    def of_task(self, logits: Tensor, task: int) -> Tensor:
        """Return logits with -inf for classes that are not a task's."""
        return logits.masked_fill(~self.classes_of[task], -torch.inf)

    def classify(self, shared: Tensor, private: Tensor, task: int) -> Tensor:
        """Return a head's logits ``[B, classes]`` of reconstructions, each ``[B, C, H, W]``."""
        logits: Tensor = self.heads[task](torch.cat([shared, private], 1))
        return logits

    def forward(
        self,
        x: Tensor,
        task: int,
        condition: Tensor | None = None,
        eps: Tensor | None = None,
    ) -> Tensor:
        """Return logits, float ``[B, classes]``, of stored images as images of a task.

        Parameters
        ----------
        x : Tensor
            uint8 ``[B, C, H, W]``.
        task : int
        condition : Tensor, optional
            What both decoders are told; nothing by default.
        eps : Tensor, optional
            Noise of both codes; none by default.
        """
        entered = self.enter(x)
        condition = self.null(len(x)) if condition is None else condition
        parts = (self.shared, self.private_of(task))
        shared, private = (part.decode(part.encode(entered, eps).z, condition) for part in parts)
        return self.classify(shared, private, task)


def _head(
    shape: tuple[int, int, int], classes: int, sizes: Sizes, activation: Activation
) -> nn.Sequential:
    channels, height, width = shape
    reader = nn.Sequential(*convolutions(2 * channels, sizes.head, activation), nn.Flatten())
    inputs = flat_size(reader, (2 * channels, height, width))
    layers: list[nn.Module] = []
    for out in sizes.hidden:
        layers += [nn.Linear(inputs, out), nn.ReLU() if activation == "relu" else nn.Identity()]
        inputs = out
    return nn.Sequential(*reader, *layers, nn.Linear(inputs, classes))
