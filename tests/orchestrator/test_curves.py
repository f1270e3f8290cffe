"""Curves beside the records, and their picture."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from orchestrator.curve_figure import accuracy_curves
from orchestrator.curves import Curves, TaskCurves, curves_name, read_curves, write_curves
from orchestrator.figures import confusion_csv, confusion_heatmap
from orchestrator.storage import Storage
from orchestrator.tracking.run_page import curve_metrics

CURVES = Curves(
    [
        TaskCurves(
            1,
            {
                "average_accuracy": [(10, 0.5), (20, 1.0)],
                "accuracy/task 1": [(10, 0.5), (20, 1.0)],
                "loss/new": [(20, 0.1)],
            },
        ),
        TaskCurves(
            2,
            {
                "average_accuracy": [(30, 0.6), (40, 0.7)],
                "accuracy/task 1": [(30, 0.7), (40, 0.5)],
                "accuracy/task 2": [(30, math.nan), (40, 0.9)],
                "loss/new": [(40, 0.2)],
                "loss/replay": [(40, 0.3)],
            },
            problem="iteration 40: LookupError: no prototypes",
        ),
    ],
    [[3, 1], [0, 4]],
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def svg(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def test_curves_come_back_as_they_were_written(storage: Storage) -> None:
    write_curves(storage, "aa", CURVES)
    found = read_curves(storage, "aa")
    assert found is not None
    assert repr(found.series()) == repr(CURVES.series())
    assert [part.task for part in found.tasks] == [1, 2]
    assert found.confusion == CURVES.confusion
    assert found.problem == CURVES.problem
    table = pa.ipc.open_file(storage.read(curves_name("aa"))).read_all()
    assert table.column_names == ["name", "task", "iteration", "value"]
    assert table.num_rows == 13


def test_a_confusion_without_curves_comes_back(storage: Storage) -> None:
    write_curves(storage, "aa", Curves([TaskCurves(1)], [[1]]))
    found = read_curves(storage, "aa")
    assert found == Curves([], [[1]])


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_curves_that_are_damaged_or_missing_are_none(
    storage: Storage, tmp_path: Path, kept: int
) -> None:
    assert read_curves(storage, "aa") is None
    write_curves(storage, "aa", CURVES)
    path = tmp_path / curves_name("aa")
    path.write_bytes(path.read_bytes()[:kept])
    assert read_curves(storage, "aa") is None


def test_where_nothing_was_seen_there_is_no_file(storage: Storage) -> None:
    write_curves(storage, "aa", CURVES)
    write_curves(storage, "aa", Curves([TaskCurves(1), TaskCurves(2)]))
    assert not storage.exists(curves_name("aa")), "what an earlier attempt left is gone"
    write_curves(storage, "bb", Curves([]))


def test_metrics_of_curves_stand_at_their_iterations() -> None:
    metrics = dict(curve_metrics(CURVES.tasks))
    assert list(metrics) == [10, 20, 30, 40]
    assert metrics[10] == {"curve/average_accuracy": 0.5, "curve/accuracy/task 1": 0.5}
    assert "curve/accuracy/task 2" not in metrics[30], "what is not known is left out"
    assert metrics[40]["loss/replay"] == 0.3


def test_the_picture_has_a_line_for_each_task_and_each_boundary() -> None:
    picture = svg(accuracy_curves(CURVES))
    name = "{http://www.w3.org/2000/svg}"
    lines = [node.attrib["points"].split() for node in picture.iter(f"{name}polyline")]
    assert [len(points) for points in lines] == [4, 1, 4], "two tasks and the mean"
    (boundary,) = (
        node for node in picture.iter(f"{name}line") if "stroke-dasharray" in node.attrib
    )
    assert boundary.attrib["x1"] == lines[0][1].split(",")[0], "task 1 ends where its curve does"
    texts = [node.text for node in picture.iter(f"{name}text")]
    assert {"mean", "task 1", "task 2", "iterations", "0", "40"} <= set(texts)
    heights = [float(point.split(",")[1]) for point in lines[0]]
    assert heights[1] < heights[2] < heights[0] == heights[3], "higher is better"


def test_labels_of_many_curves_stay_apart_and_inside() -> None:
    tasks = [
        TaskCurves(
            1, {"average_accuracy": [(9, 0.0)], **{f"accuracy/task {j}": [(9, 0.0)] for j in r}}
        )
        for r in [range(1, 31)]
    ]
    text = accuracy_curves(Curves(tasks))
    height = int(svg(text).attrib["height"])
    y = [float(found) for found in re.findall(r'y="([\d.]+)" fill="(?:#|black)', text)]
    assert 8 <= len(y) <= 16
    assert all(0 < at < height for at in y)
    assert all(b - a >= 13 for a, b in zip(sorted(y), sorted(y)[1:], strict=False))


def test_without_watching_there_is_no_picture() -> None:
    losses = Curves([TaskCurves(1, {"loss/new": [(10, 1.0)]})], [[1]])
    assert accuracy_curves(losses) == ""


def test_a_confusion_matrix_is_told_in_numbers_and_in_a_picture() -> None:
    assert confusion_csv([[3, 1], [0, 4]]) == "class,0,1\n0,3,1\n1,0,4\n"
    texts = [node.text for node in svg(confusion_heatmap([[3, 1], [0, 4]])).iter()]
    assert {"3", "1", "4", "class 0", "class 1"} <= set(texts)
    many = [[int(i == j) for j in range(100)] for i in range(100)]
    large = confusion_heatmap(many)
    assert "class 0" in large
    assert len(svg(large)) < 400, "cells without images are left out"
    assert int(svg(large).attrib["height"]) < 1400
