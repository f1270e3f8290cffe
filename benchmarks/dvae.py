"""Shared and private autoencoders: what the published accuracy measured, and what is left of it.

First the leak: ``variant: as-released`` is trained on images of noise with random labels and on the
digits 2 and 3 of MNIST, and looked at as published, with the true label given to the decoders, and
with none. Beside it the corrected form, which is never given one. Printed as a table in Markdown.

Then the corrected form on the whole stream: runs the packaged search space ``dvae-mnist`` with its
budget ``small`` as ``engram run`` does. What is in the results folder already is not run again.
Options were found on images held out of training, with other seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import torch
from _common import Verdict, arguments, progress, records_of, status_of
from torch import Tensor

from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo, Task, TensorExamples
from methods.dvae import SharedPrivateVae
from orchestrator.data import StreamConfig, open_stream

SEEDS, TESTED = 3, 1280
CLASSES = (2, 3)
NOISE, DIGITS = "noise, random labels", "MNIST, 2 and 3"


class Images(NamedTuple):
    """Images, uint8 ``[N, 1, 28, 28]``, and their labels, int64 ``[N]``."""

    x: Tensor
    y: Tensor


class Told(NamedTuple):
    """Accuracy where decoders are told the true label, none, or the other one; None: never so."""

    true: float | None
    none: float
    wrong: float | None


def noise(n: int, seed: int) -> Images:
    draws = torch.Generator().manual_seed(seed)
    x = torch.randint(256, (n, 1, 28, 28), generator=draws, dtype=torch.uint8)
    return Images(x, torch.tensor(CLASSES)[torch.randint(2, (n,), generator=draws)])


def digits(data: Path) -> tuple[Images, Images]:
    """Return 3,000 training and 1,280 test images of the second task of split MNIST."""
    config = StreamConfig(
        dataset="split-mnist",
        scenario=Scenario.TASK_INCREMENTAL,
        train_per_task=3000,
        test_per_task=TESTED,
    )
    stream = open_stream(config, data)
    parts = []
    for examples in (stream.task(1).train, stream.test(1)):
        batch = examples.gather(torch.arange(len(examples)))
        assert batch.y is not None
        parts.append(Images(batch.x, batch.y))
    return parts[0], parts[1]


def accuracies(variant: str, train: Images, test: Images, epochs: int) -> Told:
    """Train on one task of two classes, as in the published code but at 1e-3."""
    options = {
        "variant": variant,
        "optimizer": {"name": "adam", "lr": 1e-3, "reset": "task"},
        "budget": {"epochs": epochs, "batch_size": 64},
    }
    stream = StreamInfo(Scenario.TASK_INCREMENTAL, 1, (1, 28, 28), 10, (CLASSES,))
    method = SharedPrivateVae(SharedPrivateVae.Config.model_validate(options), stream, Rng(0))
    method.learn(Task(0, CLASSES, TensorExamples(*train)))

    def share(logits: Tensor) -> float:
        return logits.argmax(1).eq(test.y).float().mean().item()

    none = share(method.predict(test.x, 0))
    if variant == "corrected":
        return Told(None, none, None)
    true, wrong = (method.predict_given_labels(test.x, y, 0) for y in (test.y, 5 - test.y))
    return Told(share(true), none, share(wrong))


def leak_table(data: Path) -> dict[tuple[str, str], Told]:
    """Train both variants on both kinds of images."""
    kinds = {NOISE: (noise(2560, 0), noise(TESTED, 1), 20), DIGITS: (*digits(data), 15)}
    found = {}
    for kind, (train, test, epochs) in kinds.items():
        for variant in ("as-released", "corrected"):
            progress(f"{variant}, {kind}")
            found[kind, variant] = accuracies(variant, train, test, epochs)
    return found


def markdown(table: dict[tuple[str, str], Told]) -> str:
    """Write accuracies in percent; a dash where a label is never told."""
    lines = ["| images | variant | true label told | no label | wrong label told |"]
    lines.append("|---|---|---:|---:|---:|")
    for (kind, variant), told in table.items():
        cells = ("–" if value is None else f"{value:.1%}" for value in told)
        lines.append(f"| {kind} | {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    torch.set_num_threads(1)
    options = arguments(__doc__)
    table = leak_table(options.data)
    print(markdown(table))
    verdict = Verdict(f"dvae: accuracy; of the stream, mean of {SEEDS} seeds")
    for kind in (NOISE, DIGITS):
        told = table[kind, "as-released"]
        assert told.true is not None
        verdict.check(f"as released, true label told: {kind}", told.true, at_least=0.99)
        verdict.check(f"as released, no label: {kind}", told.none, at_least=0.4, at_most=0.6)
    fair = table[NOISE, "corrected"].none
    verdict.check(f"corrected, {NOISE}", fair, at_least=0.4, at_most=0.6)
    verdict.check(f"corrected, {DIGITS}", table[DIGITS, "corrected"].none, at_least=0.95)

    records = records_of("dvae-mnist", options.results, options.data, "small")
    finished = records[records["outcome"] == "finished"].groupby("method")
    if not (finished.size() == SEEDS).all():
        raise SystemExit(f"not all seeds finished:\n{finished.size()}")
    mean = finished[["average_accuracy", "learning_accuracy", "forgetting"]].mean()
    for name in mean.index:
        accuracy, learning, forgetting = mean.loc[name]
        progress(f"{name}: {accuracy:.4f}, learning {learning:.4f}, forgetting {forgetting:.4f}")
    own = mean.loc["dvae"]
    verdict.check("split MNIST, learning accuracy", own["learning_accuracy"], at_least=0.95)
    verdict.check("split MNIST, average accuracy", own["average_accuracy"], at_least=0.95)
    verdict.check("split MNIST, forgetting", own["forgetting"], at_most=0.03)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
