"""Cost of an iteration of naive, latent-replay and dgr, relative to a bare PyTorch loop.

The floor is what a researcher writes by hand over tensors in memory: index, scale, forward,
cross-entropy, backward, step. No mask, no hooks, no look at the loss. Both arms train MLP
784-400-400-10 with fused Adam on batches of 128 of the first task of split MNIST, on one thread,
with the same allocator settings, in the same process; CPU time of the whole process, arms
interleaved, median of the ratios of pairs. Measured standing alone and inside a Ray actor.

``latent-replay`` is measured alone, on the second task, behind one frozen layer: its floor draws
128 activations of the task and as many stored ones by index, and trains the rest of the network.
What is done once a task, the pass through the frozen layer, is in neither arm.

``dgr`` is measured alone, on the second task, all of it: each step of the classifier draws and
labels 128 images beside 128 new ones, and each step of the VAE 784-400-400-z100 draws 128 of its
frozen copy. Its floor does the same arithmetic, in floating point, without rounding to bytes.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from _common import Verdict, arguments, progress, status_of
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from methods.core.rng import Rng
from methods.core.task import Batch, Task
from methods.core.training import Budget
from methods.dgr import DeepGenerativeReplay
from methods.naive import Naive
from methods.replay import LatentReplay
from orchestrator.data.stream_config import StreamConfig
from orchestrator.data.streams import TaskStream, open_stream
from orchestrator.trainable import keep_freed_memory
from orchestrator.trial_log import TrialLog

BATCH = 128


def bare(x: torch.Tensor, y: torch.Tensor, iterations: int) -> Callable[[], None]:
    """Return the plain loop over uint8 images ``[N, 1, 28, 28]`` and labels ``[N]``."""
    network = nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 400), nn.ReLU()),
        *(nn.Linear(400, 400), nn.ReLU()),
        nn.Linear(400, 10),
    )
    return plain_loop(
        network,
        len(x),
        lambda index: cross_entropy(network(x[index].float() / 255), y[index]),
        iterations,
    )


def plain_loop(
    network: nn.Module, examples: int, loss_of: Callable[[torch.Tensor], torch.Tensor], steps: int
) -> Callable[[], None]:
    """Return the loop itself; ``loss_of`` takes the rows of a batch, int64 ``[B]``."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def loop() -> None:
        done = 0
        while True:
            order = torch.randperm(examples)
            for start in range(0, examples - BATCH + 1, BATCH):
                loss = loss_of(order[start : start + BATCH])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                if done == steps:
                    return

    return loop


def engram(stream: TaskStream, iterations: int) -> Callable[[], None]:
    """Return the training of the first task as a trial does it."""
    budget = Budget(iterations=iterations, batch_size=BATCH)
    method = Naive(Naive.Config(budget=budget), stream.info, Rng(0))
    return partial(method.fit, stream.task(0), TrialLog())


def bare_latent(new: Batch, old: Batch, iterations: int) -> Callable[[], None]:
    """Return the plain loop over activations ``[N, 400]`` of the task, and stored ones."""
    assert new.y is not None
    assert old.y is not None
    x, y, old_x, old_y = new.x, new.y, old.x, old.y
    network = nn.Sequential(nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10))

    def loss_of(index: torch.Tensor) -> torch.Tensor:
        replayed = torch.randint(len(old_x), (BATCH,))
        logits = network(torch.cat([x[index], old_x[replayed]]))
        return cross_entropy(logits, torch.cat([y[index], old_y[replayed]]))

    return plain_loop(network, len(x), loss_of, iterations)


def measure_latent(data: Path, pairs: int, iterations: int) -> list[tuple[float, float]]:
    """Return CPU seconds per iteration of latent replay and of its bare loop, for each pair."""
    keep_freed_memory()
    torch.set_num_threads(1)
    stream = open_stream(StreamConfig(dataset="split-mnist"), data)

    def second_task(steps: int) -> LatentReplay:
        budget = Budget(iterations=steps, batch_size=BATCH)
        config = LatentReplay.Config(budget=budget, freeze_depth=1, buffer_size=1000)
        method = LatentReplay(config, stream.info, Rng(0))
        method.learn(stream.task(0))
        return method

    def once_a_task(method: LatentReplay, task: Task) -> Callable[[], None]:
        method.activations(task.train, method.entry)
        return partial(method.fit, task, TrialLog())

    task, method = stream.task(1), second_task(30)
    new = method.activations(task.train, 1).gather(torch.arange(len(task.train)))
    old = method.memory.sample(1000, torch.Generator())
    seconds = []
    for pair in range(pairs + 1):
        arms = {
            "engram": once_a_task(second_task(iterations), stream.task(1)),
            "bare": bare_latent(new, old, iterations),
        }
        turn = list(arms) if pair % 2 else list(arms)[::-1]
        taken = {arm: cpu_seconds(arms[arm]) / iterations for arm in turn}
        seconds.append((taken["engram"], taken["bare"]))
    return seconds[1:]  # the first pays for imports and the first touch of pages


class Vae(nn.Module):
    """A VAE as one writes it by hand: 784-400-400, 100 latents, mirrored."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*_layers(784, 400, 400), nn.Linear(400, 200))
        self.decoder = nn.Sequential(*_layers(100, 400, 400), nn.Linear(400, 784))

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Return the negative bound on the log-likelihood of pixels ``[B, 784]``, mean of items."""
        mean, log_variance = self.encoder(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        pixels = binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1)
        bound: torch.Tensor = (pixels + divergence).mean()
        return bound


def _layers(*sizes: int) -> list[nn.Module]:
    return [layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), nn.ReLU())]


def bare_dgr(x: torch.Tensor, y: torch.Tensor, iterations: int) -> Callable[[], None]:
    """Return the plain loops over a task: the solver's, and then the generator's."""
    solver, vae = nn.Sequential(*_layers(784, 400, 400), nn.Linear(400, 10)), Vae()
    old_solver, old_decoder = copy.deepcopy(solver), copy.deepcopy(vae.decoder)

    @torch.no_grad()
    def replayed() -> torch.Tensor:
        drawn: torch.Tensor = old_decoder(torch.randn(BATCH, 100)).sigmoid()
        return drawn

    def new(index: torch.Tensor) -> torch.Tensor:
        return x[index].flatten(1).float() / 255

    def solver_loss(index: torch.Tensor) -> torch.Tensor:
        old = replayed()
        with torch.no_grad():
            labels = old_solver(old).argmax(1)
        logits = solver(torch.cat([new(index), old]))
        losses = cross_entropy(logits[:BATCH], y[index]), cross_entropy(logits[BATCH:], labels)
        return (losses[0] + losses[1]) / 2

    def vae_loss(index: torch.Tensor) -> torch.Tensor:
        return vae.loss(torch.cat([new(index), replayed()]))

    loops = (
        plain_loop(solver, len(x), solver_loss, iterations),
        plain_loop(vae, len(x), vae_loss, iterations),
    )

    def both() -> None:
        for loop in loops:
            loop()

    return both


def measure_dgr(data: Path, pairs: int, iterations: int) -> list[tuple[float, float]]:
    """Return CPU seconds per iteration of deep generative replay and of its bare loops."""
    keep_freed_memory()
    torch.set_num_threads(1)
    iterations = max(30, iterations // 3)  # each is some of naive's
    stream = open_stream(StreamConfig(dataset="split-mnist"), data)
    task = stream.task(1)
    images = task.train.gather(torch.arange(len(task.train)))
    assert images.y is not None

    def second_task() -> Callable[[], None]:
        budget = Budget(iterations=iterations, batch_size=BATCH)
        method = DeepGenerativeReplay(
            DeepGenerativeReplay.Config(budget=budget), stream.info, Rng(0)
        )
        method.learn(stream.task(0))
        return partial(method.learn, stream.task(1), TrialLog())

    seconds = []
    for pair in range(pairs + 1):
        arms = {"engram": second_task(), "bare": bare_dgr(images.x, images.y, iterations)}
        turn = list(arms) if pair % 2 else list(arms)[::-1]
        taken = {arm: cpu_seconds(arms[arm]) / iterations for arm in turn}
        seconds.append((taken["engram"], taken["bare"]))
    return seconds[1:]  # the first pays for imports and the first touch of pages


def cpu_seconds(loop: Callable[[], None]) -> float:
    """Return the CPU time that the whole process takes for a call."""
    start = time.process_time()
    loop()
    return time.process_time() - start


def measure(data: Path, pairs: int, iterations: int) -> list[tuple[float, float]]:
    """Return CPU seconds per iteration of Engram and of the bare loop, for each pair."""
    keep_freed_memory()
    torch.set_num_threads(1)
    stream = open_stream(StreamConfig(dataset="split-mnist"), data)
    whole = stream.task(0).train
    images = whole.gather(torch.arange(len(whole)))
    assert images.y is not None
    arms = (partial(engram, stream), partial(bare, images.x, images.y))
    for arm in arms:
        arm(30)()  # imports, first touch of pages
    seconds = []
    for pair in range(pairs):
        turn = arms if pair % 2 == 0 else arms[::-1]
        taken = {arm: cpu_seconds(arm(iterations)) / iterations for arm in turn}
        seconds.append((taken[arms[0]], taken[arms[1]]))
    return seconds


def in_ray_actor(data: Path, pairs: int, iterations: int) -> list[tuple[float, float]]:
    """Measure in a worker with the resources of a trial."""
    import ray

    from orchestrator.local_ray import scratch_folder, start_local_ray

    class Actor:
        """Stands where the trainable stands."""

        def measure(self) -> list[tuple[float, float]]:
            return measure(data, pairs, iterations)

    with scratch_folder() as scratch:
        start_local_ray(scratch, log_to_driver=False, logging_level="ERROR")
        try:
            actor = ray.remote(num_cpus=1)(Actor).remote()
            seconds: list[tuple[float, float]] = ray.get(actor.measure.remote())
        finally:
            ray.shutdown()
    return seconds


def main() -> int:
    options = arguments(__doc__, pairs=9, iterations=300)
    verdict = Verdict("iteration: CPU time of an iteration over that of a bare loop")
    places = (
        ("naive, standing alone", measure),
        ("naive, inside a Ray actor", in_ray_actor),
        ("latent-replay", measure_latent),
        ("dgr", measure_dgr),
    )
    for place, run in places:
        seconds = run(options.data.resolve(), options.pairs, options.iterations)
        ratios = [engram / bare for engram, bare in seconds]
        engram_ms, bare_ms = (1000 * statistics.median(arm) for arm in zip(*seconds, strict=True))
        progress(
            f"{place}: {engram_ms:.3f} ms against {bare_ms:.3f} ms; "
            f"ratios {', '.join(f'{ratio:.3f}' for ratio in sorted(ratios))}"
        )
        verdict.check(place, statistics.median(ratios), at_most=1.15, unit="×")
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
