"""Compares what is replayed at one depth with what real images give there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from methods.core.method import Method, Replayed
from methods.core.rng import Rng
from orchestrator.audit.flags import Finding, missing, red_flag
from orchestrator.audit.judge import judge_of_images, train_judge
from orchestrator.audit.measures import agreement, copying, coverage, drift, frechet
from orchestrator.audit.neighbours import Neighbours
from orchestrator.audit.real import real_items, sampled_tests
from orchestrator.data.streams import TaskStream

#: What is measured after each task.
MEASURES = (
    *("agreement", "coverage", "frechet", "frechet_real", "copying", "drift", "judge_accuracy"),
)
#: Real items that draws are compared with: training items for their features, and test items.
_TRAINING_ITEMS, _TEST_ITEMS = 2000, 1000
#: Items that are carried to a depth at once.
_CHUNK = 1000


class Comparison:
    """A judge and real items at the depth at which a method replays.

    Made after the first task, when the network is frozen up to that depth: what it makes of an
    image is the same from then on. Where it learns on, one is made after each task.

    Parameters
    ----------
    method : Method
    stream : TaskStream
    depth : int
        Where the method replays.
    judge_iterations : int
        Steps of the judge's training.
    """

    def __init__(
        self, method: Method, stream: TaskStream, depth: int, judge_iterations: int
    ) -> None:
        self.method, self.stream, self.depth = method, stream, depth
        self.items = real_items(stream)
        network = getattr(method.config, "network", None)
        if depth:
            self.judge = train_judge(stream, network, depth, self._encode, judge_iterations)
        else:
            self.judge = judge_of_images(stream, network, judge_iterations)
        self.neighbours = Neighbours()
        self._compared = 0  # tasks whose items are among the neighbours

    def measure(self, replayed: Replayed, tasks: int, rng: Rng) -> tuple[dict[str, float], str]:
        """Measure draws after so many tasks.

        Returns
        -------
        dict
            The value of each of :data:`MEASURES`; NaN where it cannot be told.
        str
            The red flag; empty where nothing is wrong.
        """
        x = replayed.batch.x.detach()
        finite = x.flatten(1).isfinite().all(1)
        broken = 1 - float(finite.double().mean())
        x = x[finite]
        if not len(x):
            row = dict.fromkeys(MEASURES, float("nan"))
            return row, red_flag(Finding(not_finite=broken))
        draws = rng.generator("real items")
        test = sampled_tests(self.stream, tasks, _TEST_ITEMS, draws)
        real = self.items.sample(tasks, _TRAINING_ITEMS, draws)
        assert test.y is not None
        assert real.y is not None
        for task in range(self._compared, tasks):
            self.neighbours.add(self._of_images(self.items.of_task(task), self.neighbours.project))
        self._compared = tasks
        features, near = self._features_and_distances(x, lambda z: z)
        test_features, test_near = self._features_and_distances(test.x, self._encode)
        real_features = self._of_images(real.x, self.judge.features)
        judged = self.judge.labels(features)
        y = self._labels(replayed, judged, finite)
        frequencies = self.items.frequencies(tasks, self.stream.info.classes).to(y.device)
        n = min(len(features), len(real_features), len(test_features))
        row = {
            "agreement": agreement(y, judged),
            "coverage": coverage(judged, frequencies),
            "frechet": frechet(features[:n], real_features[:n]),
            "frechet_real": frechet(test_features[:n], real_features[:n]),
            "copying": copying(near, test_near),
            "drift": drift(features, y, real_features, real.y),
            "judge_accuracy": agreement(test.y, self.judge.labels(test_features)),
        }
        found = Finding(
            agreement=row["agreement"],
            coverage=row["coverage"],
            judge_accuracy=row["judge_accuracy"],
            unlabelled=missing(y, frequencies),
            unseen=missing(judged, frequencies),
            not_finite=broken,
        )
        return row, red_flag(found)

    def _labels(self, replayed: Replayed, judged: Tensor, finite: Tensor) -> Tensor:
        """Return the labels of draws, int64 ``[n]``.

        Where each past head gives one, it is that of the head that the judge's class belongs to.
        """
        if replayed.batch.y is not None:
            return replayed.batch.y[finite]
        logits = replayed.batch.logits
        assert logits is not None
        heads = self.stream.info.eligible_by_task().to(judged.device)
        same_head = (heads.T.float() @ heads.float()) > 0
        labels: Tensor = logits[finite].masked_fill(~same_head[judged], -torch.inf).argmax(1)
        return labels

    def _encode(self, x: Tensor) -> Tensor:
        return self.method.encode(x, self.depth).detach() if self.depth else x

    def _features_and_distances(
        self, x: Tensor, encode: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the judge's features of items, and how near they are to training items."""
        features, projected = [], []
        for part in torch.split(x, _CHUNK):
            z = encode(part)
            features.append(self.judge.features(z))
            projected.append(self.neighbours.project(z))
        return torch.cat(features), self.neighbours.distances(torch.cat(projected))

    def _of_images(self, images: Tensor, what: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.cat([what(self._encode(part)) for part in torch.split(images, _CHUNK)])
