"""A Wasserstein GAN with gradient penalty that learns to draw items."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)
from torch import Tensor, nn
from torch.nn import functional

from methods.core.training import Adam, OptimizerConfig
from methods.memories.generator_network import GeneratorNetwork, Labelled, normal
from methods.memories.memory import Memory, Setting
from methods.memories.neural import NeuralConfig
from methods.memories.wgan_networks import (
    ConvCritic,
    ConvGenerator,
    MlpCritic,
    MlpGenerator,
    check_size,
)

_HIDDEN = (400, 400)
#: Added to a squared norm, of which the root has no slope at 0.
_TINY = 1e-12
#: Fewest items that batch norm takes the statistics of; what is drawn beyond need is dropped.
_LEAST_BATCH = 32


def gradient_penalties(
    score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor
) -> Tensor:
    """Return how far the slope of a critic is from 1 between a real and a drawn item.

    ``(‖∇D(εx + (1−ε)g)‖₂ − 1)²``, the norm over all values of an item, for each pair of items x
    and g with an ε of its own (Gulrajani et al. 2017, arXiv:1704.00028, equation 3).

    Parameters
    ----------
    score : callable
        The critic: of items ``[B, ...]``, float ``[B]``, each from its own item alone.
    real, fake : Tensor
        float ``[B, ...]``, without gradients.
    share : Tensor
        float ``[B]``, each pair's ε.

    Returns
    -------
    Tensor
        float ``[B]``, differentiable in the critic's parameters.
    """
    between = torch.lerp(fake, real, share.view(-1, *[1] * (real.dim() - 1))).requires_grad_()
    (slope,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
    norm = slope.flatten(1).square().sum(1).add(_TINY).sqrt()
    return (norm - 1).square()


class WganGp(GeneratorNetwork):
    """A generator, and a critic that tells its draws from items.

    The loss of the critic D on items x and as many draws g is ``−(mean D(x) − mean D(g)) +
    λ · mean penalty(x, g)``; the loss on new items and that on old ones are weighted. The
    generator's is ``−mean D(g)``. Wasserstein GANs as a memory: Shin et al. 2017,
    arXiv:1705.08690, section 4.

    With an ``alignment`` α old items that come with their latents z are not shown to the critic.
    Instead the generator's draws of them are held where they were before the task: ``α · mean
    ‖G(z, c) − G_before(z, c)‖²``, of the same latents and classes c, is the term of its loss that
    has the weight of these items (Liu et al. 2020, arXiv:2004.09199, "replay alignment"). Old
    items of classes that the new task has as well come without: there the generator has to draw
    new and old ones by the same c, and a critic that saw new ones alone would pull it away.

    Parameters
    ----------
    shape : tuple of int
        Of an item.
    critic : Module
        Of items and one-hot classes, or None: float ``[B]``.
    generator : Module
        Of latents float ``[B, latents + classes]``: items.
    latents : int
    classes : int
    critic_steps : int
        Updates of the critic for each one of the generator.
    penalty : float
        λ.
    noise_std : float
        Deviation of latents.
    least_batch : int
        Draws are made with at least as many others: where they depend on each other.
    alignment : float
        α; 0 rehearses all old items as if they were new.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        critic: nn.Module,
        generator: nn.Module,
        latents: int,
        classes: int = 0,
        *,
        critic_steps: int = 5,
        penalty: float = 10.0,
        noise_std: float = 1.0,
        least_batch: int = 0,
        alignment: float = 0.0,
    ) -> None:
        super().__init__(shape, classes)
        self.critic, self.generator = critic, generator
        self.latents, self.noise_std = latents, noise_std
        self.critic_steps, self.penalty = critic_steps, penalty
        self.least_batch, self.alignment = least_batch, alignment

    @property
    def aligned(self) -> bool:
        """Whether draws of classes that are past are held in place."""
        return self.alignment > 0

    def parts(self) -> Mapping[str, nn.Module]:
        """Name the critic and the generator: each has an optimiser."""
        return {"critic": self.critic, "generator": self.generator}

    def step(
        self,
        new: Labelled,
        old: Labelled | None,
        weight: float,
        optimizers: Mapping[str, torch.optim.Optimizer],
        noise: torch.Generator,
    ) -> dict[str, Tensor]:
        """Update the critic some times on the same items, each time with new draws; then the other.

        Returns
        -------
        dict
            ``critic``, its last loss, and of it the estimate ``wasserstein`` of the distance
            between items and draws, and ``penalty``, times λ; ``generator``, its loss, and of it
            ``alignment``, weighted, where there is one.
        """
        shown, held = (None, None) if old is None else old.parted()
        share = 0.0 if old is None or held is None else len(held.x) / len(old.x)
        of_held = (1 - weight) * share  # each old item counts alike, whichever it is
        of_shown = weight + (1 - weight - of_held)
        rows = _together(new, shown, weight / of_shown)
        learnt = [*self.critic.parameters()]  # and no gradients of what a penalty lies between
        terms: dict[str, Tensor] = {}
        for _ in range(self.critic_steps):
            with torch.no_grad():
                fake = self._generate(len(rows.of_draws), rows.y, noise)
            optimizers["critic"].zero_grad()
            terms = self._criticise(rows, fake, noise)
            terms["critic"].backward(inputs=learnt)  # type: ignore[no-untyped-call]
            optimizers["critic"].step()
        optimizers["generator"].zero_grad()
        with _held(self.critic):
            fake = self._generate(len(rows.of_draws), rows.y, noise)
            scores = self.critic(fake, self._code(rows.y, fake))
            loss = -torch.dot(self.per_score(rows.of_draws), scores)
            if held is not None:
                terms["alignment"] = of_held * self.alignment * self._moved(held)
                loss = of_shown * loss + terms["alignment"]
            loss.backward()  # type: ignore[no-untyped-call]
        optimizers["generator"].step()
        return {name: term.detach() for name, term in (terms | {"generator": loss}).items()}

    def _criticise(self, rows: _Rows, fake: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Return the critic's loss, and its terms."""
        x, code = rows.x, self._code(rows.y, fake)
        both = None if code is None else torch.cat([code, code])
        scores = self.critic(torch.cat([x, fake]), both)
        of_items, of_draws = self.per_score(rows.of_items), self.per_score(rows.of_draws)
        distance = torch.dot(of_items, scores[: len(of_items)])
        distance = distance - torch.dot(of_draws, scores[len(of_items) :])
        mixture = torch.rand(len(x), generator=noise).to(x.device, non_blocking=True)
        fake = fake[rows.partner]
        each = self.penalties(lambda between: self.critic(between, code), x, fake, mixture)
        penalty = self.penalty * torch.dot(rows.of_items, each)
        return {"critic": penalty - distance, "wasserstein": distance, "penalty": penalty}

    def per_score(self, of_items: Tensor) -> Tensor:
        """Return how much each score counts, of how much each item does: float ``[B]``, both."""
        return of_items

    def penalties(
        self, score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor
    ) -> Tensor:
        """Return the penalty of each pair of a real and a drawn item, float ``[B]``."""
        return gradient_penalties(score, real, fake, share)

    def _moved(self, held: Labelled) -> Tensor:
        """Return the mean squared distance of draws from where they were, a scalar."""
        assert held.z is not None
        away: Tensor = self.generator(self.condition(held.y, held.z)) - held.x
        return away.flatten(1).square().sum(1).mean()

    def _generate(self, n: int, y: Tensor | None, noise: torch.Generator) -> Tensor:
        return self.draw_of(n, y, noise)[1]

    def draw_of(self, n: int, y: Tensor | None, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return latents, float ``[n, latents]``, and what is drawn of them."""
        device = next(self.generator.parameters()).device
        z = self.noise_std * normal(n, self.latents, noise=noise, device=device)
        items: Tensor = self.generator(self.condition(y, z))
        return z, items

    def _code(self, y: Tensor | None, like: Tensor) -> Tensor | None:
        """Return classes int64 ``[B]`` one-hot; None where they play no part."""
        return None if y is None else functional.one_hot(y, self.classes).to(like.dtype)

    def draw(self, n: int, y: Tensor | None, noise: torch.Generator) -> Tensor:
        """Draw ``n`` items, float ``[n, *shape]``, of classes ``y`` where it is conditional."""
        return self._generate(max(n, self.least_batch), y, noise)[:n]


class _Rows(NamedTuple):
    """New and old items in one batch of which each row counts as its half does.

    ``x`` float ``[B, *shape]``; ``y`` int64 ``[B]`` or None. ``of_items`` float ``[B]`` and
    ``of_draws`` float ``[D]`` are how much each counts, 1 altogether; ``partner`` int64 ``[B]`` is
    the draw that each item is compared with.
    """

    x: Tensor
    y: Tensor | None
    of_items: Tensor
    of_draws: Tensor
    partner: Tensor


def _together(new: Labelled, old: Labelled | None, weight: float) -> _Rows:
    """Join items: draws of no class serve new and old ones alike, others those of their class."""
    halves, weights = ([new], [1.0]) if old is None else ([new, old], [weight, 1 - weight])
    x = torch.cat([half.x for half in halves])
    y = None if new.y is None else torch.cat([half.y for half in halves if half.y is not None])
    sizes = torch.tensor([len(half.x) for half in halves])
    of_items = (torch.tensor(weights) / sizes).repeat_interleave(sizes)
    if y is None:
        partner = torch.cat([torch.arange(len(half.x)) for half in halves])
    else:
        partner = torch.arange(len(x))
    of_draws = torch.zeros(int(partner.max()) + 1).index_add_(0, partner, of_items)
    moved = (each.to(x.device, non_blocking=True) for each in (of_items, of_draws, partner))
    return _Rows(x, y, *moved)


@contextmanager
def _held(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module without computing those of its parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


class WganGpConfig(NeuralConfig):
    """A Wasserstein GAN with gradient penalty."""

    name: Literal["wgan-gp"] = "wgan-gp"
    latents: PositiveInt = 100
    """Normal variables that a draw is made of."""
    channels: PositiveInt | None = None
    """Convolutional networks as in the published code, for images alone, with so many maps of the
    largest size: 64 there. Fully connected ones by default."""
    hidden: Annotated[
        tuple[PositiveInt, ...], Field(min_length=1, strict=False, validate_default=True)
    ] = _HIDDEN
    """Units of each hidden layer of fully connected networks, critic and generator alike; without
    meaning for convolutional ones."""
    batch_norm: Annotated[Literal["batch", "running"], Field(validate_default=True)] = "batch"
    """Statistics that convolutional draws are normalised with: those of the ``batch`` that is
    drawn, as in training, or ``running`` means from training. Without meaning for fully connected
    networks, which have no batch norm; conditional ones always have ``running`` means, because a
    batch of one class is not like those of training."""
    critic_steps: PositiveInt = 5
    """Updates of the critic for each one of the generator."""
    penalty: NonNegativeFloat = 10.0
    """Weight of the gradient penalty."""
    noise_std: PositiveFloat = 1.0
    """Deviation of latents, the same in training and for draws; 0.1 in the published code."""
    alignment: Annotated[NonNegativeFloat, Field(validate_default=True)] = 0.0
    """Weight of the squared distance of its draws from those of its frozen copy, which holds it in
    place *instead of* showing the copy's draws to the critic; ``conditional`` only. Draws of
    classes that the new task has as well are shown all the same. 0: all are."""
    optimizer: OptimizerConfig = Field(
        default_factory=lambda: Adam(lr=1e-4, betas=(0.5, 0.9), reset="task")
    )
    """Of the critic, and of the generator. Whoever gives another one should give the ``betas`` of
    Adam as well, here (0.5, 0.9). With ``reset: never`` its moments outlive a task, and count as
    kept."""

    @field_validator("hidden")
    @classmethod
    def _of_fully_connected(cls, hidden: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        # Configurations that differ in nothing but an option without meaning are the same.
        return hidden if info.data.get("channels") is None else _HIDDEN

    @field_validator("batch_norm")
    @classmethod
    def _of_convolutional(
        cls, batch_norm: Literal["batch", "running"], info: ValidationInfo
    ) -> Literal["batch", "running"]:
        if info.data.get("channels") is None:
            return "batch"
        return "running" if info.data.get("conditional") else batch_norm

    @field_validator("alignment")
    @classmethod
    def _of_conditional(cls, alignment: float, info: ValidationInfo) -> float:
        if alignment and info.data.get("conditional") is False:
            raise ValueError(
                "draws can only be held in place by their class: give conditional: true, or "
                "leave out alignment"
            )
        return alignment

    @property
    def images_only(self) -> bool:
        """Whether items have to be images."""
        return self.channels is not None

    def build(self, setting: Setting) -> Memory:
        """Make an empty memory; as released, with the published code's critic and penalty.

        Raises
        ------
        ValueError
            If a budget is missing, both are given, or the published code has none of the kind.
        """
        if not setting.as_released:
            return super().build(setting)
        # What is imported builds on this module.
        from methods.memories.wgan_released import ReleasedWganGpConfig, check_released

        check_released(self, setting.budget)
        given = {name: getattr(self, name) for name in self.model_fields_set}
        released = ReleasedWganGpConfig.model_validate(given)
        return released.build(replace(setting, as_released=False))

    def check_images(self, shape: tuple[int, int, int]) -> None:
        """Refuse images that are too small for convolutions, where these are asked for."""
        if self.channels is not None:
            check_size(*shape[1:])

    def network(self, item: tuple[int, ...], classes: int) -> WganGp:
        """Make the network, untrained, with PyTorch's global generator.

        Raises
        ------
        ValueError
            If convolutional networks are asked for where items are no images, or too small ones.
        """
        critic: nn.Module
        generator: nn.Module
        if self.channels is None:
            critic = MlpCritic(math.prod(item) + classes, self.hidden)
            generator = MlpGenerator(self.latents + classes, self.hidden, item)
        elif len(item) == 3:
            running = self.batch_norm == "running"
            critic = ConvCritic(self.channels, item, classes)
            generator = ConvGenerator(self.latents + classes, self.channels, item, running)
        else:
            raise ValueError(
                "channels make a convolutional generator of images, but activations are replayed: "
                "leave out channels, for a fully connected one"
            )
        return WganGp(
            item,
            critic,
            generator,
            self.latents,
            classes,
            critic_steps=self.critic_steps,
            penalty=self.penalty,
            noise_std=self.noise_std,
            least_batch=_LEAST_BATCH if self.images_only and self.batch_norm == "batch" else 0,
            alignment=self.alignment,
        )
