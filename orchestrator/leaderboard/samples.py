"""Pictures of what generators make, for the report: a strip for each row, within a total size."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.leaderboard.rows import Row

if TYPE_CHECKING:
    from orchestrator.samples import Sample, Samples
    from orchestrator.storage import Storage

#: Bytes of all pictures of a page together, as they stand there.
MOST_BYTES = 3_000_000
_PREFIX = "data:image/png;base64,"
#: What a generator calls the images of a task when it has been trained.
_NAME = "generator"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Picture(NamedTuple):
    """A picture in a page.

    Attributes
    ----------
    task : int
        Tasks learned.
    name : str
        What it shows.
    uri : str
        The PNG file itself, as a ``data:`` URI.
    width, height : int
        Pixels.
    """

    task: int
    name: str
    uri: str
    width: int
    height: int


class Strip(NamedTuple):
    """Pictures of one trial of a row, a picture for each task, by task; those there is room for."""

    row: Row
    seed: int
    pictures: list[Picture]


class Strips(NamedTuple):
    """Strips by the identity of their row, and the pictures for which there was no room."""

    by_row: dict[str, Strip]
    left_out: int


def make_strips(rows: Sequence[Row], storage: Storage | None, room: int = MOST_BYTES) -> Strips:
    """Take the pictures of the lowest seed that has any, for each row that has.

    Those after the last task go first, best row first, then those of the task before, and so on,
    until there is no room for one.

    Parameters
    ----------
    rows : sequence of Row
        Of the page.
    storage : Storage, optional
        The results folder; without one there are no pictures.
    room : int
        Bytes.
    """
    if storage is None:
        return Strips({}, 0)
    from orchestrator.samples import Samples  # PyTorch is loaded only where it is needed

    sampled = set(storage.folders("samples"))
    if not sampled:
        return Strips({}, 0)
    samples = Samples(storage)
    chosen = [(row, *found) for row in rows if (found := _chosen(row, sampled, samples))]
    pictures: dict[str, list[Picture]] = {row.drawn.row: [] for row, _, _ in chosen}
    left_out, full = 0, False
    for moment in zip_longest(*(per_task[::-1] for _, _, per_task in chosen)):
        for (row, _, _), sample in zip(chosen, moment, strict=True):
            picture = _picture(sample, samples) if sample and not full else None
            full = full or (picture is not None and len(picture.uri) > room)
            if picture and not full:
                room -= len(picture.uri)
                pictures[row.drawn.row].insert(0, picture)
            left_out += bool(sample and full)  # the rest is not even read
    strips = [Strip(row, seed, pictures[row.drawn.row]) for row, seed, _ in chosen]
    return Strips({strip.row.drawn.row: strip for strip in strips if strip.pictures}, left_out)


def _chosen(row: Row, sampled: set[str], samples: Samples) -> tuple[int, list[Sample]] | None:
    """Return the seed of the first trial of a row with pictures, and one for each task."""
    for trial in row.trials:
        if trial["id"] in sampled and (found := _one_per_task(samples.names(trial["id"]))):
            return int(trial["seed"]), found
    return None


def _one_per_task(samples: Sequence[Sample]) -> list[Sample]:
    """Return the picture of the generator after each task, or what there is instead of it."""
    tasks: dict[int, Sample] = {}
    for sample in samples:
        best = tasks.get(sample.task)
        if best is None or best.name != _NAME:  # later ones are of later steps
            tasks[sample.task] = sample
    return [tasks[task] for task in sorted(tasks)]


def _picture(sample: Sample, samples: Samples) -> Picture | None:
    """Return a picture; None where its file is none, or gone."""
    try:
        content = samples.read(sample.path)
    except FileNotFoundError:
        return None
    if len(content) < 24 or not content.startswith(_SIGNATURE):
        return None
    width, height = struct.unpack(">II", content[16:24])
    uri = _PREFIX + base64.b64encode(content).decode("ascii")
    return Picture(sample.task, sample.name.replace("-", " "), uri, width, height)
