"""Numbers of the leaderboard as readers see them, the same in every form."""

from __future__ import annotations

import math
import re

#: Stands for what is not known.
ABSENT = "-"


def fraction(value: float) -> str:
    """Return three decimals without the leading zero: ``.912``, ``-.050``, ``1.000``."""
    return ABSENT if math.isnan(value) else re.sub(r"^(-?)0\.", r"\1.", f"{value:z.3f}")


def difference(value: float) -> str:
    """Return three decimals with their sign: ``+.012``, ``-.050``, ``.000``."""
    text = fraction(value)
    return f"+{text}" if value > 0 and text != ".000" else text


def size(value: float) -> str:
    """Return bytes in decimal units: ``512 B``, ``1.5 KB``, ``123 MB``."""
    if math.isnan(value):
        return ABSENT
    power = next((k for k in range(4) if round(value / 1000**k) < 1000), 4)
    value /= 1000**power
    decimals = 1 if power and round(value, 1) < 100 else 0
    return f"{value:.{decimals}f} {('B', 'KB', 'MB', 'GB', 'TB')[power]}"


def duration(value: float) -> str:
    """Return seconds as ``4.2 s``, ``3.4 min`` or ``2.1 h``."""
    if math.isnan(value):
        return ABSENT
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if round(value / 60, 1) < 60 else f"{value / 3600:.1f} h"
