"""Gates of the decoder, and what they do to its hidden units."""

from __future__ import annotations

import pytest
import torch

from methods.feedback import Decoder, draw_gates, mirrored_widths
from methods.networks import Cnn, Mlp


def make_decoder(contexts: int = 4, share: float = 0.75) -> Decoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = torch.Generator().manual_seed(0)
        return Decoder(3, [40, 20], 9, contexts, share, draws)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.8])
def test_the_share_of_closed_units_is_exact_in_each_context(share: float) -> None:
    gates = draw_gates(6, 40, share, torch.Generator().manual_seed(0))
    assert set(gates.unique().tolist()) <= {0.0, 1.0}
    assert ((gates == 0).sum(1) == round(40 * share)).all()


def test_gates_differ_between_contexts_and_follow_the_generator() -> None:
    one, same = (draw_gates(6, 40, 0.8, torch.Generator().manual_seed(0)) for _ in range(2))
    other = draw_gates(6, 40, 0.8, torch.Generator().manual_seed(1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert len(one.unique(dim=0)) == 6


def test_closed_units_take_no_part() -> None:
    decoder, z = make_decoder(), torch.randn(1, 3, generator=torch.Generator().manual_seed(1))
    context = torch.eye(4)[[2]]
    before = decoder(z, context)
    closed = decoder.gates(0)[2] == 0
    with torch.no_grad():
        decoder.hidden[0].weight[closed] = 100.0
        decoder.hidden[0].bias[closed] = 100.0
    assert torch.equal(decoder(z, context), before)
    assert not torch.equal(decoder(z, torch.eye(4)[[1]]), before)


def test_a_mixture_of_contexts_opens_gates_in_part() -> None:
    decoder, z = make_decoder(), torch.randn(1, 3, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([[0.5, 0.0, 0.25, 0.25]])
    hidden = z
    for number, layer in enumerate(decoder.hidden):
        opened = sum(w * decoder.gates(number)[c] for c, w in enumerate(weights[0]))
        hidden = (layer(hidden) * opened).relu()
    expected = decoder.output(hidden)
    torch.testing.assert_close(decoder(z, weights), expected)


def test_without_contexts_nothing_is_gated() -> None:
    decoder, z = make_decoder(0), torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    assert not list(decoder.buffers())
    expected = decoder.output(decoder.hidden[1](decoder.hidden[0](z).relu()).relu())
    torch.testing.assert_close(decoder(z, torch.empty(2, 0)), expected)


def test_the_decoder_mirrors_fully_connected_blocks() -> None:
    mlp = Mlp(widths=(30, 20, 10)).build((1, 4, 4))
    assert [list(mirrored_widths(mlp, d)) for d in range(4)] == [
        [10, 20, 30],
        [10, 20],
        [10],
        [400, 400],
    ]
    cnn = Cnn(widths=(4, 8), hidden=(16,)).build((1, 8, 8))
    assert list(mirrored_widths(cnn, 1)) == [16]
