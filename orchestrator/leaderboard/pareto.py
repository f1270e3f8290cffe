"""What is worth its price: the Pareto front of accuracy against bytes kept."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(prices: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the points that no other matches at a lower price, or beats at the same.

    Parameters
    ----------
    prices, values : sequence of float
        Of each point; lower prices and higher values are better. Points with a price or value that
        is not a number are never on the front.

    Returns
    -------
    list of int
        Indices of the points, cheapest first; of points alike in both, the first.
    """
    known = [i for i, (p, v) in enumerate(zip(prices, values, strict=True)) if p == p and v == v]
    front: list[int] = []
    for i in sorted(known, key=lambda i: (prices[i], -values[i], i)):
        if not front or values[i] > values[front[-1]]:
            front.append(i)
    return front
