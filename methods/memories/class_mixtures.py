"""A mixture of Gaussians for each class of each task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, Protocol

import torch
from pydantic import Field, PositiveInt, ValidationInfo, field_validator
from torch import Tensor

from methods.core.log import SILENT, Log
from methods.core.rng import Rng
from methods.core.task import Batch, Examples
from methods.core.training import Diverged
from methods.memories.em import Covariance, fit_mixture
from methods.memories.generative import GenerativeConfig, GenerativeMemory
from methods.memories.kmeans import fit_centroids
from methods.memories.ledger import chances_of, classes_of, items_of
from methods.memories.memory import Memory, Setting
from methods.memories.mixture import Mixture, draw, stratified
from methods.memories.pool import Pool
from methods.memories.reading import read_classes
from methods.memories.released import ReleasedMixtures

#: Values drawn at once: they shall fit into a cache.
_VALUES = 2**21
_RANK = 16
#: What is stored of each model, and last of each component, on the CPU; and on the device.
_LEDGER = ("task", "label", "count", "components", "smallest", "weights")
_PARAMETERS = ("means", "deviations", "factors")


class Fit(Protocol):
    """Fits a mixture to items."""

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Mixture:
        """Return the mixture of items, float32 ``[N, D]``."""
        ...


class ClassMixtures(GenerativeMemory):
    """Keep a mixture for each class of each task, and draw from all of them at once.

    Latents are drawn as float32; images as uint8, rounded and cut to 0..255.

    Parameters
    ----------
    fit : callable
        Fits the mixture of the items of a class; those are all in working memory meanwhile.
    device : torch.device
        Where mixtures are fitted and drawn from.
    max_tasks : int, optional
        Tasks remembered. All by default.
    clamp : bool
        Cut draws at the smallest value of the items that their mixture was fitted to.
    """

    def __init__(
        self,
        fit: Fit,
        device: torch.device | str = "cpu",
        *,
        max_tasks: int | None = None,
        clamp: bool = True,
    ) -> None:
        self.fit, self.device = fit, torch.device(device)
        self.max_tasks, self.clamp = max_tasks, clamp
        self._forget()

    def _forget(self) -> None:
        self.shape: tuple[int, ...] = ()  # of an item
        self.images = False
        # Of each model: task, class, items, components, smallest value; all on the CPU.
        self.task, self.label, self.count, self.components = torch.empty(
            4, 0, dtype=torch.int64
        ).unbind()
        self.smallest = torch.empty(0)
        # Of each component of each model; weights on the CPU. ``deviations`` may be one a model.
        self.weights = torch.empty(0)
        self.means: Tensor | None = None
        self.deviations: Tensor | None = None
        self.factors: Tensor | None = None

    @property
    def tasks(self) -> dict[int, int]:
        """The tasks remembered, oldest first, with the number of items that each one had."""
        return items_of(self.task, self.count)

    @property
    def classes_of(self) -> dict[int, tuple[int, ...]]:
        """The classes of each task remembered, in ascending order."""
        return classes_of(self.task, self.label)

    # Filling -------------------------------------------------------------------------------------

    def absorb(
        self,
        new: Examples,
        task: int,
        rng: Rng,
        log: Log = SILENT,
        *,
        features: Tensor | None = None,
    ) -> None:
        """Fit a mixture to each class of a task, and drop what is too old.

        Raises
        ------
        Diverged
            If the items are not finite, or too large for their variance to be.
        """
        models, labels, counts, smallest = [], [], [], []
        for label, items in read_classes(new, self.device):
            self.shape, self.images = tuple(items.shape[1:]), items.dtype == torch.uint8
            x = items.flatten(1).float()
            if not (x - x.mean(0)).square().sum().isfinite():
                raise Diverged(f"items of class {label} in task {task + 1} have no finite variance")
            models.append(self.fit(x, generator=rng.generator(f"fit, class {label}")))
            labels.append(label)
            counts.append(len(x))
            smallest.append(float(x.min()))
        self._append(models)
        new_rows = {"task": [task] * len(labels), "label": labels, "count": counts}
        for name, values in (new_rows | {"smallest": smallest}).items():
            old = getattr(self, name)
            setattr(self, name, torch.cat([old, old.new_tensor(values)]))
        if self.max_tasks is not None:
            recent = torch.tensor(list(self.tasks)[-self.max_tasks :])
            self._keep(torch.isin(self.task, recent))

    def _append(self, models: list[Mixture]) -> None:
        sizes = torch.tensor([len(model.means) for model in models])
        self.components = torch.cat([self.components, sizes])
        self.weights = torch.cat([self.weights, *(model.weights.cpu() for model in models)])
        for name in _PARAMETERS:
            parts = [getattr(model, name) for model in models]
            if parts[0] is not None:
                old = getattr(self, name)
                setattr(self, name, torch.cat(parts if old is None else [old, *parts]))

    def _keep(self, models: Tensor) -> None:
        """Drop all models but some: bool ``[G]``."""
        if models.all():
            return
        components = models.repeat_interleave(self.components)
        for name in _PARAMETERS:
            values = getattr(self, name)
            if values is not None:
                kept = components if len(values) == len(components) else models
                setattr(self, name, values[kept.to(values.device)])
        self.weights = self.weights[components]
        for name in _LEDGER[:-1]:
            setattr(self, name, getattr(self, name)[models])

    # Drawing -------------------------------------------------------------------------------------

    def sample(
        self,
        n: int,
        generator: torch.Generator,
        *,
        classes: tuple[int, ...] | None = None,
        task: int | None = None,
        weights: Mapping[int, float] | None = None,
    ) -> Batch:
        """Draw ``n`` new items."""
        chances = chances_of(self.task, self.label, self.count, classes, task, weights)
        models = torch.arange(len(chances)).repeat_interleave(self.components)
        component = stratified(chances[models] * self.weights, n, generator)
        model = models[component]
        assert self.means is not None
        step = max(_VALUES // self.means.shape[1], 1)
        parts = [
            self._draw(component[start : start + step], model[start : start + step], generator)
            for start in range(0, max(n, 1), step)
        ]
        x = parts[0] if len(parts) == 1 else torch.cat(parts)
        return Batch(
            x.view(n, *self.shape),
            self.label[model].to(self.device),
            self.task[model].to(self.device),
        )

    def _draw(self, component: Tensor, model: Tensor, generator: torch.Generator) -> Tensor:
        assert self.means is not None
        every = Mixture(self.weights, self.means, self.deviations, self.factors)
        tied = self.deviations is not None and len(self.deviations) < len(self.means)
        x = draw(every, component, generator, deviations_of=model if tied else component)
        if self.clamp:
            x = torch.maximum(x, self.smallest[model].to(self.device).unsqueeze(1), out=x)
        return x.round_().clamp_(0, 255).to(torch.uint8) if self.images else x

    # State ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all models; nothing if there are none."""
        if not len(self):
            return {}
        state: dict[str, Any] = {"shape": self.shape, "images": self.images}
        for name in _LEDGER + _PARAMETERS:
            if (value := getattr(self, name)) is not None:
                state[name] = value.clone()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore all models."""
        self._forget()
        for name, value in state.items():
            if name in _LEDGER:
                value = value.to("cpu", copy=True)
            elif name in _PARAMETERS:
                value = value.to(self.device, copy=True)
            setattr(self, name, value)


class _MixtureConfig(GenerativeConfig):
    """A mixture for each class of each task."""

    @property
    @abstractmethod
    def fit(self) -> Fit:
        """What fits a mixture."""

    def build(self, setting: Setting) -> Memory:
        """Make an empty memory.

        Raises
        ------
        ValueError
            If a budget is missing, both are given, or there is no published code.
        """
        if setting.as_released:
            raise ValueError("as released the memory is a gmm: no code of others was published")
        device = setting.device
        generator = ClassMixtures(self.fit, device, max_tasks=self.max_tasks, clamp=self.clamp)
        return Pool(
            generator,
            setting.size if self.stores else None,
            setting.per_class if self.stores else None,
            refresh=self.refresh,
            share=self.share,
            decay=self.decay,
            device=device,
        )


class _GaussiansConfig(_MixtureConfig):
    covariance: Covariance = "diagonal"
    """``diagonal``, ``full``, or ``low-rank``: ``rank`` directions and a diagonal."""
    rank: PositiveInt = Field(default=_RANK, validate_default=True)
    """Directions of a low-rank covariance; without meaning for the others."""

    @field_validator("rank")
    @classmethod
    def _of_low_rank(cls, rank: int, info: ValidationInfo) -> int:
        # Configurations that differ in nothing but an option without meaning are the same.
        return rank if info.data.get("covariance") == "low-rank" else _RANK


class GaussianConfig(_GaussiansConfig):
    """One Gaussian for each class of each task."""

    name: Literal["gaussian"] = "gaussian"

    @property
    def fit(self) -> Fit:
        """What fits a Gaussian."""
        return partial(fit_mixture, components=1, covariance=self.covariance, rank=self.rank)


class GmmConfig(_GaussiansConfig):
    """A mixture of Gaussians for each class of each task, fitted by EM."""

    name: Literal["gmm"] = "gmm"
    components: PositiveInt = 3
    """Gaussians for each class."""

    @property
    def fit(self) -> Fit:
        """What fits a mixture."""
        return partial(
            fit_mixture,
            components=self.components,
            covariance=self.covariance,
            rank=self.rank,
        )

    def build(self, setting: Setting) -> Memory:
        """Make an empty memory; as released, :class:`ReleasedMixtures`.

        Raises
        ------
        ValueError
            Besides the common reasons, if as released an option is given, or ``per_class``.
        """
        if not setting.as_released:
            return super().build(setting)
        for name, usual in type(self)():
            if getattr(self, name) != usual:
                raise ValueError(f"{name} has no meaning as released: leave it out")
        if setting.size is None:
            raise ValueError("as released the budget is a size: give buffer_size, not per_class")
        return ReleasedMixtures(setting.size, setting.device)


class KMeansConfig(_MixtureConfig):
    """Centroids for each class of each task, with a residual around them.

    A draw is a centroid, chosen in proportion to the size of its cluster, plus Gaussian noise with
    a variance for each dimension that is pooled over the clusters of the class.
    """

    name: Literal["kmeans"] = "kmeans"
    centroids: PositiveInt = 10
    """Centroids for each class."""

    @property
    def fit(self) -> Fit:
        """What fits centroids."""
        return partial(fit_centroids, centroids=self.centroids)
