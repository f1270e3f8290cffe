"""How long trials take, roughly and relative to each other: the longest start first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from methods.core.classifier import Classifier
from methods.networks import NetworkConfig
from methods.networks.weights import MissingWeights
from orchestrator.data.cache import class_counts
from orchestrator.data.stream_config import StreamConfig
from orchestrator.trial import Trial, TrialConfig


def longest_first(trials: Sequence[Trial], data_dir: Path) -> list[Trial]:
    """Order trials by what they cost, so that no long one is left for the end of a sweep.

    Parameters
    ----------
    trials : sequence of Trial
        Trials that cost the same stay in their order.
    data_dir : Path
        Folder of data, whose sizes count where a budget is given in epochs.
    """
    return sorted(trials, key=lambda trial: -cost(trial.config, data_dir))


def cost(config: TrialConfig, data_dir: Path) -> float:
    """Return roughly how many multiply-adds training takes; of unknown methods one per task.

    Replayed examples count as the new ones do; what a memory costs besides does not count.
    """
    options, tasks = config.options, config.stream.info().tasks
    if not isinstance(options, Classifier.Config):
        return float(tasks)
    steps = options.budget.steps(_examples_per_task(config.stream, data_dir))
    new = options.budget.batch_size
    replayed = getattr(options, "replay_batch", 0)
    size = new + (new if replayed is None else replayed)
    return tasks * steps * size * _multiply_adds(options.network, config.stream.info().shape)


def _examples_per_task(stream: StreamConfig, data_dir: Path) -> int:
    if stream.train_per_task is not None:
        return stream.train_per_task
    sizes = [sum(class_counts(source.name, data_dir)) for source in stream.sources]
    return max(sizes) // (stream.tasks if stream.kind == "split" else 1)


@cache
def _multiply_adds(network: NetworkConfig, shape: tuple[int, int, int]) -> int:
    """Count those of one image in linear layers and convolutions; 0 without a file of weights."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        counts.append(weight.numel() * math.prod(output.shape[2:]))  # at each place of the output

    try:
        with torch.random.fork_rng(devices=[]):  # first weights are drawn, and of no interest
            backbone = network.build(shape).eval()
    except MissingWeights:
        return 0
    for module in backbone.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.register_forward_hook(count)
    with torch.no_grad():
        backbone.run(torch.zeros((1, *shape), dtype=torch.uint8))
    return sum(counts)
