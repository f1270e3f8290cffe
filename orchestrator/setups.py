"""What tells trials apart that are otherwise called the same: where their setups differ.

A setup is a JSON object: stream, training protocol and environment of a trial.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LONGEST = 60  # characters that a label may have before a short hash says it better
_HASH = re.compile(r"[0-9a-f]{16,}", re.IGNORECASE)


def told_apart(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return, for each trial, what tells it from others of its dataset, scenario and method.

    Parameters
    ----------
    trials : sequence of mapping
        Columns ``dataset, scenario, method, settings, setup, seed, stream_seed`` of a record.

    Returns
    -------
    list of str
        Such as ``tasks=5, stream_seed=1``; empty where dataset, scenario, method, settings and
        seed say it all.
    """
    families: dict[tuple[str, ...], list[int]] = {}
    for i, trial in enumerate(trials):
        key = tuple(trial[name] for name in ("dataset", "scenario", "method", "settings"))
        families.setdefault(key, []).append(i)
    texts = [""] * len(trials)
    known_labels: dict[tuple[str, ...], list[str]] = {}
    for family in families.values():
        if len(family) == 1:
            continue
        setups = tuple(sorted({trials[i]["setup"] for i in family}))
        if setups not in known_labels:
            known_labels[setups] = labels(setups)
        text_of = dict(zip(setups, known_labels[setups], strict=True))
        known = [(trials[i]["setup"], trials[i]["seed"]) for i in family]
        streams = {(*key, trials[i]["stream_seed"]) for key, i in zip(known, family, strict=True)}
        drawn_apart = len(streams) > len(set(known))
        for i in family:
            stream_seed = f"stream_seed={trials[i]['stream_seed']}" if drawn_apart else ""
            texts[i] = ", ".join(filter(None, (text_of[trials[i]["setup"]], stream_seed)))
    return texts


def labels(setups: Sequence[str], always: Sequence[str] = ()) -> list[str]:
    """Return one short text per setup: the keys that differ between them, and those of always."""
    flat = [leaves(setup) for setup in setups]
    shown = sorted({*differing(flat), *always})
    texts = [
        ", ".join(f"{key}={_readable(one[key])}" for key in shown if key in one) for one in flat
    ]
    if len(set(texts)) == len(texts) and max(map(len, texts)) <= _LONGEST:
        return texts
    digests = [hashlib.sha256(setup.encode()).hexdigest() for setup in setups]
    length = next(k for k in range(8, 65) if len({d[:k] for d in digests}) == len(digests))
    return [f"setup={digest[:length]}" for digest in digests]


def differing(flat: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the keys that not all of these have with one value."""
    keys = {key for one in flat for key in one}
    return sorted(key for key in keys if len({one.get(key) for one in flat}) > 1)


def leaves(setup: str) -> dict[str, str]:
    """Return the leaves of a JSON object as JSON text by dotted key; ``{}`` is a leaf too."""

    def within(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for key, item in value.items():
            if isinstance(item, dict) and item:
                yield from within(item, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", compact_json(item)

    return dict(within(json.loads(setup), ""))


def _readable(text: str) -> str:
    """Return JSON text as a reader wants it: strings without quotes, hashes cut short."""
    value = json.loads(text)
    if not isinstance(value, str):
        return text
    return value[:8] if _HASH.fullmatch(value) else value


def compact_json(value: Any) -> str:
    """Return JSON without spaces, keys sorted, letters of all languages as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
