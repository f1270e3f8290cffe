"""The cache: one conversion, one mapping, no silent damage."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from orchestrator.data import MissingData, fingerprint, open_source, prepare
from orchestrator.data.arrow import fingerprint_of
from orchestrator.data.sources import Images, get_source
from orchestrator.errors import UserError

REPOSITORY = Path(__file__).parents[3]

# Both processes wait for each other, then convert; a conversion leaves a line and takes its time.
PREPARE = """
import sys, time
from pathlib import Path
import numpy as np
from orchestrator.data import Images, Layout, Source, prepare, register_source

folder, me, other = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def read(raw):
    with (folder / "log").open("a") as log:
        log.write(me + "\\n")
    time.sleep(0.3)
    x, y = np.arange(16, dtype=np.uint8).reshape(4, 1, 2, 2), np.arange(4) % 2
    return Images(x, y, x[:2], y[:2])

register_source(Source("slow", "slow", 2, (1, 2, 2), (Layout(read),)))
(folder / me).touch()
while not (folder / other).exists():
    time.sleep(0.01)
data = prepare("slow", folder / "data")
print(data.fingerprint, data.train_x.sum().item(), data.test_y.tolist())
"""


def test_two_processes_convert_once(tmp_path: Path) -> None:
    names = ["a", "b"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PREPARE, str(tmp_path), me, other],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me, other in zip(names, reversed(names), strict=True)
    ]
    answers = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len((tmp_path / "log").read_text().split()) == 1
    assert len(answers) == 1
    assert answers.pop().endswith("120 [0, 1]\n")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc/self/maps")
def test_tensors_lie_on_the_mapped_file(data_dir: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        digits = open_source("digits", data_dir)
    regions = [
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(data_dir / "arrow" / "digits.arrow"))
    ]
    for tensor in (digits.train_x, digits.train_y, digits.test_x, digits.test_y):
        first, last = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        assert any(start <= first and last <= end for start, end in regions)


def test_writing_into_a_tensor_does_not_reach_the_file(data_dir: Path) -> None:
    before = (data_dir / "arrow" / "digits.arrow", open_source("digits", data_dir))
    content = before[0].read_bytes()
    before[1].train_x[0] = 77
    assert before[0].read_bytes() == content


def test_a_source_is_opened_once_per_process(data_dir: Path) -> None:
    assert open_source("digits", data_dir) is open_source("digits", data_dir)


def test_a_replaced_file_is_opened_anew(
    data_dir: Path, tmp_path: Path, tiny_mnist: Callable[..., Any]
) -> None:
    tiny_mnist(tmp_path / "one")
    tiny_mnist(tmp_path / "two", train=80)
    one = prepare("mnist", data_dir, tmp_path / "one")
    two = prepare("mnist", data_dir, tmp_path / "two")
    assert (len(one.train_x), len(two.train_x)) == (60, 80)
    assert one.fingerprint != two.fingerprint
    assert open_source("mnist", data_dir) is two
    assert fingerprint("mnist", data_dir) == two.fingerprint


def test_the_converted_file_is_enough(data_dir: Path, raw: dict[str, NDArray[np.uint8]]) -> None:
    before = fingerprint("mnist", data_dir)
    shutil.rmtree(data_dir / "MNIST")
    assert fingerprint("mnist", data_dir) == before == open_source("mnist", data_dir).fingerprint
    (data_dir / "arrow" / "mnist.arrow").unlink()
    with pytest.raises(MissingData):
        fingerprint("mnist", data_dir)


def test_the_file_is_readable_as_plain_arrow(data_dir: Path) -> None:
    digits = open_source("digits", data_dir)
    with pa.memory_map(str(data_dir / "arrow" / "digits.arrow")) as file:
        batch = pa.ipc.open_file(file).get_batch(0)
        images = batch.column("image").to_numpy_ndarray()
        assert (images == digits.train_x.numpy()).all()
        assert batch.column("label").to_pylist() == digits.train_y.tolist()


def test_the_fingerprint_covers_pixels_labels_and_division() -> None:
    x, y = np.zeros((4, 1, 2, 2), np.uint8), np.arange(4)
    pixel, label = x.copy(), y.copy()
    pixel[3, 0, 1, 1], label[0] = 1, 9
    variants = [
        Images(x, y, x, y),
        Images(pixel, y, x, y),
        Images(x, y, pixel, y),
        Images(x, label, x, y),
        Images(x, y, x, label),
        Images(x[:2], y[:2], np.concatenate([x[2:], x]), np.concatenate([y[2:], y])),
    ]
    assert len({fingerprint_of(images) for images in variants}) == len(variants)
    assert fingerprint_of(Images(x, y, x, y)) == fingerprint_of(Images(x.copy(), y, x, y))


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "other"])
def test_a_damaged_file_is_named(damage: str, data_dir: Path) -> None:
    before = fingerprint("digits", data_dir)
    file = data_dir / "arrow" / "digits.arrow"
    content = file.read_bytes()
    other = content.replace(b'"format": 1', b'"format": 9')
    assert other != content
    file.write_bytes(
        {"truncated": content[:-100], "empty": b"", "garbage": b"no arrow", "other": other}[damage]
    )
    for use in (open_source, fingerprint):
        with pytest.raises(UserError) as error:
            use("digits", data_dir)
        assert str(file) in str(error.value)
        assert "delete it" in str(error.value)
        assert "\n" not in str(error.value)
    file.unlink()
    assert fingerprint("digits", data_dir) == before


@pytest.fixture
def unwritable(tmp_path: Path, tiny_mnist: Callable[..., Any], request: Any) -> Path:
    """A folder in which not even root can make the cache."""
    kind = request.param
    if kind == "below a file":
        (tmp_path / "file").touch()
        return tmp_path / "file" / "data"
    if kind == "proc":
        return Path("/proc/engram")
    tiny_mnist(tmp_path / "data")
    (tmp_path / "data" / "arrow").touch()
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("unwritable", "name"),
    [("below a file", "digits"), ("proc", "digits"), ("with raw files", "mnist")],
    indirect=["unwritable"],
)
def test_a_folder_that_cannot_be_written(unwritable: Path, name: str, cache_home: Path) -> None:
    data = open_source(name, unwritable)
    (made,) = cache_home.glob(f"engram/*/{name}.arrow")
    assert data.shape == get_source(name).shape
    assert open_source(name, unwritable) is data
    assert fingerprint(name, unwritable) == data.fingerprint
    assert made.stat().st_size > data.train_x.nbytes


@pytest.mark.parametrize("unwritable", ["below a file"], indirect=True)
def test_nowhere_to_write(unwritable: Path, cache_home: Path) -> None:
    cache_home.touch()
    with pytest.raises(UserError, match=r"cannot write to .* or .*set XDG_CACHE_HOME"):
        open_source("digits", unwritable)


def test_an_interrupted_conversion_leaves_nothing_to_trip_over(data_dir: Path) -> None:
    (data_dir / "arrow").mkdir(parents=True)
    (data_dir / "arrow" / ".digits.arrow.tmp").write_bytes(b"half a file")
    assert len(open_source("digits", data_dir).train_x) == 1438
    assert not list((data_dir / "arrow").glob(".*.tmp"))


def test_importing_the_package_is_light() -> None:
    heavy = "{'torchvision', 'sklearn', 'scipy', 'PIL'} & set(sys.modules)"
    code = f"import sys, orchestrator.data; assert not {heavy}, {heavy}"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, timeout=60)
