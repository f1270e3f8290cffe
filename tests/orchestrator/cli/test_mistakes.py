"""Mistakes on the command line: a line each, soon, and nothing starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]

BROKEN = """\
dataset: split-digit
tusks: 5
method: [naive, repaly]
seed: -1
"""

#: Libraries that take long to import and that nobody needs who only mistyped something.
HEAVY = ("ray", "mlflow", "pandas", "sklearn", "scipy", "torchvision", "matplotlib")

MISTAKES = {
    "unknown command": ("pln quickstart", "no such command: pln; did you mean plan?"),
    "unknown subcommand": ("data prepar", "no such command: prepar; did you mean prepare?"),
    "unknown option": ("run quickstart --resuts x", "no such option: --resuts; did you mean --res"),
    "unknown switch": ("run quickstart --no-mlfow", "did you mean --no-mlflow?"),
    "nothing to run": ("run", "missing argument 'space'"),
    "too much": ("plan quickstart other", "unexpected extra argument"),
    "unknown format": ("leaderboard --format pdf", "'pdf' is not one of 'terminal', 'md'"),
    "unknown kind": ("list trails", "'trails' is not one of 'methods', 'datasets'"),
    "port out of range": ("ui --port 0", "'--port'"),
    "misspelt space": ("run quikstart", "did you mean 'quickstart'?"),
    "space that is not there": ("plan nowhere/space.yaml", "there is no such file"),
    "folder for a space": ("run .", "is a folder"),
    "no results": ("leaderboard", "results: holds no results; run a search space first"),
    "results elsewhere": ("leaderboard --results nowhere", "nowhere: holds no results"),
    "unknown trial": ("show 3f2a", "results: holds no trial '3f2a'; list them: engram list trials"),
    "unknown source": ("data prepare digit", "unknown source 'digit'; did you mean 'digits'?"),
    "raw files elsewhere": ("data prepare mnist --from nowhere", "mnist is not in nowhere"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(
    case: str, answer: Callable[..., Any], home: Path
) -> None:
    command, message = MISTAKES[case]
    given = answer(*command.split())
    assert given.status == 2
    assert given.out == ""
    assert message in given.err
    assert given.err.startswith("engram: ")
    assert given.err.count("\n") == 1
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_broken_space_is_a_line_for_each_problem_and_nothing_starts(
    command: str, answer: Callable[..., Any], write: Write, home: Path
) -> None:
    path = write(BROKEN)
    given = answer(command, path)
    assert given.status == 2
    assert given.out == ""
    assert [line.split(": ")[:3] for line in given.err.splitlines()] == [
        ["engram", f"{path}:1", "dataset"],
        ["engram", f"{path}:2", "tusks"],
        ["engram", f"{path}:3", "method[1]"],
        ["engram", f"{path}:4", "seed"],
    ]
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("command", ["plan", "run"])
def test_missing_data_name_the_command_that_prepares_them(
    command: str, answer: Callable[..., Any], write: Write, home: Path, tiny: str
) -> None:
    path = write(tiny.replace("split-digits", "split-mnist"))
    given = answer(command, path, "--data", "my data")
    assert given.status == 2
    assert "run \"engram data prepare mnist --data 'my data'\"" in given.err
    assert given.err.count("\n") == 1
    assert list(home.iterdir()) == []


def test_results_that_cannot_be_written_are_a_mistake(
    answer: Callable[..., Any], write: Write, home: Path, tiny: str
) -> None:
    (home / "file").write_text("in the way")
    given = answer("run", write(tiny), "--results", "file/results", "--no-mlflow")
    assert given.status == 2
    assert "file/results: results cannot be written here (Not a directory)" in given.err
    assert "--results" in given.err
    assert given.err.count("\n") == 1
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


def test_more_cores_than_there_are_is_one_line(
    engram: Any, write: Write, home: Path, tiny: str
) -> None:
    path = write(tiny + "resources: {cpus: 4096}\n")
    given = engram("run", path, "--no-mlflow", cwd=home)
    assert given.returncode == 2
    assert given.stderr.startswith(
        f"engram: {path}:10: resources.cpus: should be at most {os.cpu_count()}, what this machine "
    )
    assert given.stderr.count("\n") == 1
    assert "Traceback" not in given.stderr


def processor_seconds(command: list[str], cwd: Path, env: dict[str, str]) -> tuple[float, int, str]:
    """User and system time of a process, which load lengthens less; its status and complaints."""
    process = subprocess.Popen(command, cwd=cwd, env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        err = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, process.returncode, err


def test_bad_input_is_answered_about_as_soon_as_torch_is_imported(
    engram: Any, write: Write, home: Path
) -> None:
    """Importing PyTorch is most of it and differs among machines: compare the best of three."""
    command = engram.command("run", write(BROKEN))
    ours, torchs = [], []
    for _ in range(3):
        torch = [sys.executable, "-c", "import torch"]
        torchs.append(processor_seconds(torch, home, engram.environment())[0])
        seconds, status, err = processor_seconds(command, home, engram.environment())
        assert status == 2
        assert err.count("\n") == 4
        assert "Traceback" not in err
        ours.append(seconds)
    assert min(ours) < 1.5 * min(torchs), (ours, torchs)
    assert min(ours) < 6
    assert list(home.iterdir()) == []


def test_bad_input_is_answered_without_what_only_sweeps_need(
    engram: Any, write: Write, home: Path
) -> None:
    script = """
        import sys
        from orchestrator import cli
        try:
            cli.main()
        except SystemExit as ended:
            print(ended.code, *sorted({name.split(".")[0] for name in sys.modules}))
    """
    for command in (["run", write(BROKEN)], ["plan", "quikstart"], ["--help"], ["pln"]):
        asked = subprocess.run(
            [sys.executable, "-c", re.sub(r"(?m)^ {8}", "", script), *map(str, command)],
            cwd=home,
            env=engram.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        status, *modules = asked.stdout.splitlines()[-1].split()
        assert status == ("0" if command == ["--help"] else "2")
        assert set(modules) & set(HEAVY) == set()
        if command[0] in {"--help", "pln"}:
            assert "torch" not in modules
