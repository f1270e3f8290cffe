"""Generative latent replay as released: what goes wrong in it, shown."""

from __future__ import annotations

import pytest
import torch

from methods.core.accounting import reachable_bytes
from methods.core.rng import Rng
from methods.core.task import Batch, TensorExamples
from methods.memories import GaussianConfig, GmmConfig, Memory, Setting
from methods.memories.released import ReleasedMixtures


def make(size: int = 600) -> Memory:
    return GmmConfig().build(Setting(size, as_released=True))


def learn(memory: Memory, task: int, x: torch.Tensor, y: torch.Tensor) -> None:
    memory.absorb(TensorExamples(x, y), task, Rng(0).at(task).of("memory"))


def draw(memory: Memory, n: int = 4000) -> Batch:
    return memory.sample(n, torch.Generator().manual_seed(0))


def far_apart(n: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes 2, 5 and 7, each a group of its own."""
    y = torch.tensor([2, 5, 7]).repeat(n // 3)
    g = torch.Generator().manual_seed(0)
    return 20 * y[:, None] + torch.randn(n, 4, generator=g), y


def halves(n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Two groups far apart, each of which holds both classes, but not equally many of them."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (n,), generator=g)
    group = (torch.rand(n, generator=g) < 0.45 + 0.1 * y).long()
    x = torch.randn(n, 2, generator=g)
    x[:, 0] += 30 * group
    x[:, 1] += 6 * y
    return x, y


def test_a_component_far_from_others_is_its_class() -> None:
    memory = make()
    x, y = far_apart()
    learn(memory, 0, x, y)
    assert isinstance(memory, ReleasedMixtures)
    batch = draw(memory)
    assert batch.y is not None
    assert set(batch.y.tolist()) == {2, 5, 7}
    assert torch.equal((batch.x.mean(1) / 20).round().long(), batch.y)


def test_components_drift_off_their_classes() -> None:
    x, y = halves()
    released = make()
    corrected = GmmConfig(refresh="once").build(Setting(600))
    wrong = []
    for memory in (released, corrected):
        learn(memory, 0, x, y)
        batch = draw(memory)
        assert batch.y is not None
        wrong.append(float(((batch.x[:, 1] > 3).long() != batch.y).float().mean()))
    assert wrong[0] > 0.4  # components are the groups: labels as good as tossed
    assert wrong[1] < 0.02


def test_draws_are_not_cut() -> None:
    x, y = halves()
    memory = make()
    learn(memory, 0, x.relu(), y)
    assert draw(memory).x.min() < 0


def test_draws_overwrite_random_ones_and_nothing_else_is_kept() -> None:
    memory = make(90)
    x, y = far_apart()
    sizes = []
    for task in range(3):
        learn(memory, task, x + 1000 * task, y)
        sizes.append(reachable_bytes(memory))
        task_of_draw = (draw(memory).x.mean(1) / 1000).floor().long()
        assert task_of_draw.tolist() == draw(memory).task.tolist()  # type: ignore[union-attr]
        stored = memory.state_dict()
        assert len(memory) == len(stored["x"]) == 90
        assert int((stored["task"] == task).sum()) == 90 // (task + 1)
    assert len(set(sizes)) == 1


def test_images_stay_images() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (200, 1, 3, 3), generator=g).byte()
    memory = make()
    learn(memory, 0, x, torch.arange(200) % 2)
    assert draw(memory).x.dtype == torch.uint8
    assert draw(memory).x.shape[1:] == (1, 3, 3)
    assert abs(float(draw(memory).x.float().mean()) - 127) < 10


def test_state_goes_round() -> None:
    one, other = make(), make()
    x, y = far_apart()
    learn(one, 0, x, y)
    other.load_state_dict(one.state_dict())
    for memory in (one, other):
        learn(memory, 1, x + 3, y)
    assert torch.equal(draw(one).x, draw(other).x)


@pytest.mark.parametrize(
    ("option", "value"),
    [("components", 5), ("refresh", "once"), ("clamp", False), ("max_tasks", 2)],
)
def test_options_have_no_meaning(option: str, value: object) -> None:
    config = GmmConfig.model_validate({option: value})
    with pytest.raises(ValueError, match=f"{option} has no meaning as released"):
        config.build(Setting(600, as_released=True))


def test_what_was_not_released() -> None:
    with pytest.raises(ValueError, match="as released the memory is a gmm"):
        GaussianConfig().build(Setting(600, as_released=True))
    with pytest.raises(ValueError, match="give buffer_size"):
        GmmConfig().build(Setting(None, 5, as_released=True))
