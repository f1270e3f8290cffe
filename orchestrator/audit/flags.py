"""Red flags: what an audit found that makes replay useless, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

#: Labels are too often wrong below this share. As-released glr, of whose labels .72 to .79 are
#: right on split MNIST, ends at an average accuracy of .57 where right labels end at .83.
_FEWEST_RIGHT = 0.8
#: A class is missing where it has less than this share of the draws that it would have in the data:
#: ten times too few are outweighed by whatever is rehearsed instead.
_MISSING = 0.1
#: ... and would have so many: of fewer, none at all may be chance (1 in 20,000 with ten).
_FEWEST_EXPECTED = 10
#: Half of the data's entropy: ten classes that have become about three.
_COLLAPSED = 0.5
#: A judge that is more often wrong says more of itself than of the draws.
_POOR_JUDGE = 0.8
#: Classes that are named.
_MOST_NAMED = 8


@dataclass(frozen=True)
class Finding:
    """What flags look at.

    Attributes
    ----------
    agreement, coverage, judge_accuracy : float
        Measures of the audit; NaN where nothing could be measured.
    unlabelled : tuple of int
        Classes with hardly any draws by the labels that they are replayed with.
    unseen : tuple of int
        Classes with hardly any draws by the judge's labels.
    not_finite : float
        Share of the draws that are not finite.
    """

    agreement: float = math.nan
    coverage: float = math.nan
    judge_accuracy: float = math.nan
    unlabelled: tuple[int, ...] = ()
    unseen: tuple[int, ...] = ()
    not_finite: float = 0.0


def missing(labels: Tensor, frequencies: Tensor) -> tuple[int, ...]:
    """Return the classes of which there are hardly any draws.

    Parameters
    ----------
    labels : Tensor
        int64 ``[n]``, each below the number of classes.
    frequencies : Tensor
        float ``[classes]``, of the real data of the tasks seen; 0 for classes not seen.
    """
    counts = labels.bincount(minlength=len(frequencies))[: len(frequencies)]
    expected = frequencies * len(labels)
    few = (expected >= _FEWEST_EXPECTED) & (counts < _MISSING * expected)
    return tuple(few.nonzero().squeeze(1).tolist())


def red_flag(found: Finding) -> str:
    """Say in a sentence why replay is useless, or the audit; empty where nothing is wrong."""
    said: list[str] = []
    if found.not_finite > 0:
        said.append(f"{_percent(found.not_finite)} of replayed items are not finite")
    trusted = found.judge_accuracy >= _POOR_JUDGE
    if found.judge_accuracy < _POOR_JUDGE:
        said.append(
            f"the audit is not to be trusted: its judge is right about "
            f"{_percent(found.judge_accuracy)} of real test items"
        )
    if trusted and found.agreement < _FEWEST_RIGHT:
        said.append(f"{_percent(found.agreement)} of replayed labels are right")
    gone = sorted({*found.unlabelled, *(found.unseen if trusted else ())})
    if gone:
        said.append(f"hardly any draws of {_named(gone)}")
    elif trusted and found.coverage < _COLLAPSED:
        said.append(f"draws are of few classes: coverage {found.coverage:.2f}")
    return "; ".join(said)


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def _named(classes: Sequence[int]) -> str:
    names = ", ".join(map(str, classes[:_MOST_NAMED]))
    more = len(classes) - _MOST_NAMED
    return f"class{'es' * (len(classes) > 1)} {names}" + (f" and {more} more" if more > 0 else "")
