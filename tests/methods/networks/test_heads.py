"""A head for each task, in one label space."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from methods.core.classifier import Network
from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo
from methods.core.training import masked_cross_entropy
from methods.networks.heads import OtherTasks, TaskHeads
from methods.networks.prer_cnn import PrerCnnMnist

CLASSES_OF = ((3, 0), (1, 4), (2, 5))


def made(classes_of: tuple[tuple[int, ...], ...] = CLASSES_OF, features: int = 8) -> TaskHeads:
    with Rng(0).scoped("initialisation"):
        return TaskHeads(features, 6, classes_of).eval()


def embeddings(n: int = 7, features: int = 8) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(0))


def test_each_logit_comes_from_its_own_task() -> None:
    heads, x = made(), embeddings()
    logits = heads(x)
    for task, classes in enumerate(CLASSES_OF):
        assert torch.equal(logits[:, list(classes)], heads.heads[str(task)](x))


def test_layers_of_a_head() -> None:
    """FC d to d, to d / 4, to the classes; dropout of a half before each ReLU."""
    (head, *_), x = made().heads.values(), embeddings()
    weights = dict(head.named_parameters())
    z = x
    for layer in (0, 3, 6):
        z = z @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
        z = z if layer == 6 else z.clamp_min(0)
    torch.testing.assert_close(head(x), z)
    head.train()
    with Rng(0).scoped("dropout"):
        silent = (head[:3](embeddings(2000)) == 0).float().mean()
    assert 0.7 < silent < 0.8


def test_a_class_of_several_tasks_has_one_head() -> None:
    heads = made(((0, 1, 2), (2, 3), (0, 3), (4, 5)))
    assert list(heads.heads) == ["0", "1", "3"]
    assert [head[-1].out_features for head in heads.heads.values()] == [3, 1, 2]
    assert heads(embeddings()).shape == (7, 6)
    # The third task has its classes from the first two; the last one has one more of its own.
    served = ({"0"}, {"0", "1"}, {"0", "1"}, {"3"})
    for task, names in enumerate(served):
        expected = {
            p for name, head in heads.heads.items() if name not in names for p in head.parameters()
        }
        assert set(heads.others(task)) == expected


def test_tasks_with_the_same_classes_share_a_head_that_no_task_leaves_alone() -> None:
    heads = made(((0, 1, 2), (2, 1, 0)))
    assert heads.others(0) == heads.others(1) == []


@pytest.mark.parametrize("linear", [False, True])
def test_what_other_tasks_have_is_put_back_and_nothing_else(linear: bool) -> None:
    head: nn.Module = nn.Linear(8, 6) if linear else made()
    eligible = torch.isin(torch.arange(6), torch.tensor(CLASSES_OF[1]))
    others = OtherTasks(head, 1, eligible)
    before = {name: p.detach().clone() for name, p in head.named_parameters()}
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 1
    others.put_back()
    for name, parameter in head.named_parameters():
        own = eligible if linear else torch.full((len(parameter),), name.startswith("heads.1."))
        assert torch.equal(parameter[own], before[name][own] + 1)
        assert torch.equal(parameter[~own], before[name][~own])


@pytest.mark.parametrize("task", [0, 1, 2])
def test_only_the_head_of_the_task_is_pulled(task: int) -> None:
    heads = made()
    mask = torch.zeros(6, dtype=torch.bool)
    mask[list(CLASSES_OF[task])] = True
    y = torch.tensor([CLASSES_OF[task][i % 2] for i in range(7)])
    masked_cross_entropy(heads(embeddings()), y, mask).backward()
    others = {id(p) for p in heads.others(task)}
    for parameter in heads.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.any()) == (id(parameter) not in others)


def test_a_network_has_the_head_that_its_backbone_says() -> None:
    stream = StreamInfo(Scenario.TASK_INCREMENTAL, 3, (1, 8, 8), 6, CLASSES_OF)
    network = Network(PrerCnnMnist(embedding=12).build((1, 8, 8)), stream)
    assert isinstance(network.head, TaskHeads)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 6)
