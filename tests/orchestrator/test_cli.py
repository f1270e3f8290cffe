from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from orchestrator import cli
from orchestrator.api import Sweep
from orchestrator.leaderboard import build_leaderboard
from orchestrator.listing import print_sweep
from orchestrator.plan import make_plan
from orchestrator.results import ResultsStore
from orchestrator.storage import Storage
from orchestrator.sweep import SweepOutcome
from orchestrator.trial import identifying_columns
from orchestrator.trial_run import TrialRun
from orchestrator.trial_view import trial_name

Write = Callable[..., Path]

SPACE = """\
name: tiny
dataset: split-digits
scenario: [class-incremental, task-incremental]
tasks: 2
network: {name: mlp, widths: [8]}
budget: {iterations: 3, batch_size: 8}
buffer_size: [10, 20]
method: [naive, replay]
seed: 0..1
"""

BROKEN = """\
dataset: split-digit
tusks: 5
method: [naive, repaly]
seed: -1
"""

COMMANDS = (
    ["plan"],
    ["run"],
    ["leaderboard"],
    ["show"],
    ["why"],
    ["sample"],
    ["check"],
    ["list"],
    ["data", "list"],
    ["data", "prepare"],
    ["data", "add"],
    ["ui"],
)

#: Libraries that take long to import and that nobody needs who only mistyped something.
HEAVY = ("ray", "mlflow", "pandas", "sklearn", "scipy", "torchvision", "matplotlib")


@dataclass(frozen=True)
class Answer:
    status: int
    out: str
    err: str


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with nothing in it, and nothing of the user's own around."""
    for name in list(os.environ):
        if name.startswith(("ENGRAM_", "MLFLOW_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def answer(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Runs the command line in this process: ``answer("plan", "quickstart")``."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["engram", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, out, err)

    return run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with all trials of SPACE but the last two."""
    root = tmp_path_factory.mktemp("done")
    space = root / "tiny.yaml"
    space.write_text(SPACE)
    plan, store = make_plan(space, root / "data"), ResultsStore(root / "results")
    store.write_sweep("tiny", identifying_columns(plan.trials, plan.environment))
    for trial in plan.trials[:-2]:
        run = TrialRun(
            trial,
            plan.environment,
            root / "data",
            {"space": "tiny", "commit": ""},
            results=Storage(root / "results"),
        )
        while (report := run.step()).record is None:
            pass
        store.write(report.record)
    return root


def ids(done: Path) -> list[str]:
    return sorted(ResultsStore(done / "results").ids())


# Mistakes -----------------------------------------------------------------------------------------

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
    case: str, answer: Callable[..., Answer], home: Path
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
    command: str, answer: Callable[..., Answer], write: Write, home: Path
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
    command: str, answer: Callable[..., Answer], write: Write, home: Path
) -> None:
    path = write(SPACE.replace("split-digits", "split-mnist"))
    given = answer(command, path, "--data", "my data")
    assert given.status == 2
    assert "run \"engram data prepare mnist --data 'my data'\"" in given.err
    assert given.err.count("\n") == 1
    assert list(home.iterdir()) == []


def test_results_that_cannot_be_written_are_a_mistake(
    answer: Callable[..., Answer], write: Write, home: Path
) -> None:
    (home / "file").write_text("in the way")
    given = answer("run", write(SPACE), "--results", "file/results", "--no-mlflow")
    assert given.status == 2
    assert "file/results: results cannot be written here (Not a directory)" in given.err
    assert "--results" in given.err
    assert given.err.count("\n") == 1
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


def test_more_cores_than_there_are_is_one_line(engram: Any, write: Write, home: Path) -> None:
    path = write(SPACE + "resources: {cpus: 4096}\n")
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


# Help ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_the_command_understands(
    command: list[str], answer: Callable[..., Answer]
) -> None:
    given = answer(*command, "--help")
    assert given.status == 0
    (example,) = re.findall(r"Example: engram (.*)", given.out)
    assert example.split()[: len(command)] == command
    options = {word for word in example.split() if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z]+", given.out))


def test_help_lists_the_commands(answer: Callable[..., Answer]) -> None:
    for given in (answer("--help"), answer("-h")):
        assert given.status == 0
        for command in COMMANDS:
            assert re.search(rf"(?m)^  {command[0]} +[A-Z]", given.out)


def test_a_command_that_needs_another_shows_help(answer: Callable[..., Answer]) -> None:
    for arguments in ([], ["data"]):
        given = answer(*arguments)
        assert given.status == 2
        assert given.err.startswith("Usage: engram")
        assert "prepare" in given.err or "leaderboard" in given.err


# Reading ------------------------------------------------------------------------------------------


def test_plan_tells_what_is_done_and_what_collapses(
    answer: Callable[..., Answer], done: Path
) -> None:
    given = answer("plan", done / "tiny.yaml", "--results", done / "results")
    assert given.status == 0
    assert "tiny: 12 unique trials: 10 done, 2 pending" in given.out
    assert "grid of 16 points" in given.out
    assert "buffer_size [10, 20] collapses for naive" in given.out
    listed = re.findall(r"(?m)^([0-9a-f]{16}) .* (done|pending) *$", given.out)
    assert len(listed) == 12
    assert {trial for trial, state in listed if state == "done"} == set(ids(done))


def test_a_long_plan_is_cut_unless_all_is_asked_for(
    answer: Callable[..., Answer], write: Write
) -> None:
    path = write("dataset: split-digits\nmethod: naive\nseed: 0..299\n")
    short, long = answer("plan", path), answer("plan", path, "--all")
    assert len(re.findall(r"(?m)^[0-9a-f]{16} ", short.out)) == 200
    assert "… and 100 more; --all lists every one" in short.out
    assert len(re.findall(r"(?m)^[0-9a-f]{16} ", long.out)) == 300


def test_leaderboard_in_every_form(answer: Callable[..., Answer], done: Path, home: Path) -> None:
    results = done / "results"
    terminal = answer("leaderboard", "--results", results)
    assert terminal.status == 0
    assert "split-digits, class-incremental" in terminal.out
    assert "2 missing" in terminal.out

    markdown = answer("leaderboard", "tiny", "--results", results, "--format", "md")
    assert markdown.status == 0
    header, _, *rows = [line for line in markdown.out.splitlines() if line.startswith("|")]
    columns = [name.strip() for name in header.strip("|").split("|")]
    wanted = {
        *("dataset", "scenario", "method", "n"),
        *("average_accuracy", "average_accuracy_low", "average_accuracy_high"),
    }
    assert wanted <= set(columns)
    assert len(rows) == 6
    assert all(line.count("|") == header.count("|") for line in rows), "no line is folded"

    for form in ("md", "parquet", "terminal"):
        output = home / "deep" / f"board.{form}"
        given = answer("leaderboard", "--results", results, "--format", form, "--output", output)
        assert given.status == 0
        assert f"{output}: 6 rows" in given.out
    assert (home / "deep/board.md").read_text().strip() == markdown.out.strip()
    terminal = (home / "deep/board.terminal").read_text()
    assert "buffer_size=20" in terminal
    assert "\x1b" not in terminal
    table = pd.read_parquet(home / "deep/board.parquet")
    assert wanted <= set(table.columns)
    assert table["n"].sum() == 10
    assert table["missing"].sum() == 2
    bounds = table[["average_accuracy_low", "average_accuracy", "average_accuracy_high"]].dropna()
    assert len(bounds) == 5
    assert (bounds.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)


def test_leaderboard_as_a_page(answer: Callable[..., Answer], done: Path, home: Path) -> None:
    shutil.copytree(done / "results", home / "results")
    given = answer("leaderboard", "tiny", "--format", "html")
    path = Path("results/leaderboards/tiny/leaderboard.html")
    assert (given.status, given.err) == (0, "")
    assert given.out == f"{path}: open it in a browser; it needs no network\n"
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "Accuracy after each task" in page

    output = home / "deep" / "page.html"
    given = answer("leaderboard", "tiny", "--format", "html", "--output", output)
    assert given.status == 0
    assert output.read_text(encoding="utf-8") == page
    assert answer("leaderboard", "--format", "html").status == 0
    assert "All sweeps" in (home / "results/leaderboards/leaderboard.html").read_text()


def test_leaderboard_by_the_file_of_its_space(answer: Callable[..., Answer], done: Path) -> None:
    given = answer("leaderboard", done / "tiny.yaml", "--results", done / "results")
    assert given.status == 0
    assert given.out == answer("leaderboard", "tiny", "--results", done / "results").out


def test_leaderboard_by_a_file_that_is_not_named_after_its_space(
    answer: Callable[..., Answer], done: Path, write: Write
) -> None:
    given = answer("leaderboard", write(SPACE, "other.yaml"), "--results", done / "results")
    assert given.status == 0
    assert given.out == answer("leaderboard", "tiny", "--results", done / "results").out


def test_leaderboard_mistakes(answer: Callable[..., Answer], done: Path, home: Path) -> None:
    results = done / "results"
    (home / "file").write_text("")
    for arguments, message in (
        (["tyni"], "holds no sweep 'tyni'; there are: tiny"),
        (["--format", "parquet"], "--output FILE"),
        (["--format", "md", "--output", "file/x.md"], "file/x.md: cannot be written ("),
        (["--format", "parquet", "--output", "."], ".: is a folder; give a file"),
        (["--format", "html", "--output", "file/x.html"], "file/x.html: cannot be written ("),
    ):
        given = answer("leaderboard", *arguments, "--results", results)
        assert (given.status, given.err.count("\n")) == (2, 1)
        assert message in given.err


def test_leaderboard_of_an_empty_folder_is_empty(answer: Callable[..., Answer], home: Path) -> None:
    (home / "results").mkdir()
    given = answer("leaderboard")
    assert (given.status, given.err) == (0, "")
    assert "No trials yet." in given.out


def test_leaderboard_with_only_missing_trials(
    answer: Callable[..., Answer], done: Path, home: Path
) -> None:
    (home / "results").mkdir()
    shutil.copytree(done / "results" / "sweeps", home / "results" / "sweeps")
    given = answer("leaderboard", "--format", "parquet", "--output", "board.parquet")
    assert given.status == 0
    table = pd.read_parquet(home / "board.parquet")
    assert table["n"].sum() == 0
    assert table["missing"].sum() == 12


def test_a_damaged_record_is_one_line(
    answer: Callable[..., Answer], done: Path, home: Path
) -> None:
    shutil.copytree(done / "results", home / "results")
    path = home / "results" / "trials" / f"{ids(done)[0]}.arrow"
    path.write_bytes(path.read_bytes()[:100])
    other = home / "other.yaml"
    other.write_text(SPACE.replace("seed: 0..1", "seed: 8"))
    assert answer("plan", other).status == 0, "the plan is of other trials"
    for command in (["leaderboard"], ["list", "trials"], ["show", ids(done)[0]]):
        given = answer(*command)
        assert (given.status, given.err.count("\n")) == (2, 1)
        assert f"{path.relative_to(home)}: is no readable record" in given.err


def test_show_by_id_and_by_name(answer: Callable[..., Answer], done: Path) -> None:
    results = done / "results"
    trial = ids(done)[3]
    length = next(
        n for n in range(1, 17) if sum(other.startswith(trial[:n]) for other in ids(done)) == 1
    )
    shown = answer("show", trial, "--results", results)
    assert shown.status == 0
    assert trial in shown.out
    assert "finished" in shown.out
    assert "average accuracy" in shown.out
    assert "network.widths" in shown.out
    assert answer("show", trial[:length], "--results", results).out == shown.out
    name = shown.out.split("   (")[0]
    assert re.fullmatch(r"split-digits/.*-incremental/(naive|replay\[.*\])/seed=[01]", name)
    assert answer("show", name, "--results", results).out == shown.out


def test_show_tells_trials_apart(answer: Callable[..., Answer], done: Path) -> None:
    given = answer("show", "naive", "--results", done / "results")
    assert (given.status, given.err.count("\n")) == (2, 1)
    assert "'naive' fits 4 trials, among them " in given.err
    assert "give one's id" in given.err


def test_show_prefers_a_whole_name(answer: Callable[..., Answer], done: Path, home: Path) -> None:
    store = ResultsStore(home / "results")
    record = ResultsStore(done / "results").records(ids(done)[:1])[0]
    for seed in (1, 10, 11):
        store.write(record | {"id": f"{seed:016x}", "seed": seed})
    name = trial_name(record | {"seed": 1})
    given = answer("show", name)
    assert given.status == 0
    assert given.out.startswith(f"{name}   (0000000000000001)")
    assert "fits 3 trials" in answer("show", name[1:]).err


def test_trials_of_one_name_are_told_apart(
    answer: Callable[..., Answer], write: Write, home: Path
) -> None:
    path = write(
        "dataset: split-digits\ntasks: [2, 5]\nclass_order: [natural, seeded]\n"
        "stream_seed: [0, 7]\nmethod: [naive, joint]\nseed: 0..1\n"
        "network: {name: mlp, widths: [8]}\n"
    )
    rows = re.findall(r"(?m)^[0-9a-f]{16} +(.*)$", answer("plan", path).out)
    assert len(set(rows)) == len(rows) == 24
    assert "naive class_order=seeded, tasks=2, stream_seed=7" in "\n".join(rows)
    assert "widths" not in "".join(rows), "what all have in common tells nothing apart"
    same = write("dataset: split-digits\nstream_seed: same\nmethod: naive\nseed: 0..1\n")
    rows = re.findall(r"(?m)^[0-9a-f]{16} +(.*)$", answer("plan", same).out)
    assert [row.split() for row in rows] == [
        ["split-digits", "class-incremental", "naive", str(seed), "pending"] for seed in (0, 1)
    ]


def test_recorded_trials_of_one_name_are_told_apart(
    answer: Callable[..., Answer], done: Path, home: Path
) -> None:
    record = ResultsStore(done / "results").records(ids(done)[:1])[0]
    setup = json.loads(record["setup"])
    for tasks in (2, 5):
        changed = {"id": f"{tasks:016x}", "setup": json.dumps(setup | {"tasks": tasks})}
        ResultsStore(home / "results").write(record | changed)
    listed = answer("list", "trials").out
    for tasks in (2, 5):
        named = re.escape(f"{trial_name(record)} tasks={tasks} ")
        assert re.search(rf"(?m)^{tasks:016x} +{named}", listed)


def test_a_sweep_that_did_not_finish_says_how_to_go_on(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(done / "tiny.yaml", done / "data")
    first, second, third, *_ = (trial.id for trial in plan.trials)
    outcomes = {trial.id: "finished" for trial in plan.trials[:-2]}
    outcomes |= {first: "diverged", second: "error", third: "error"}
    ended = SweepOutcome(0, outcomes, {}, plan.trials[-2:])
    for results, more in ((Storage("results"), ""), (Storage("er er"), " --results 'er er'")):
        sweep = Sweep(plan, ended, build_leaderboard(pd.DataFrame()), ())
        print_sweep(sweep, results, mlflow=False, console=Console(width=200))
        out = capsys.readouterr().out
        assert "tiny: 10 of 12 trials done, 0 of them now" in out
        assert "Did not finish: 1 diverged, 2 error; see why: " in out
        assert f"show {min(second, third)}{more}\n" in out
        assert "--retry" in out
        assert "The same command goes on with what is missing." in out


def test_lists(answer: Callable[..., Answer], done: Path, home: Path) -> None:
    everything = answer("list")
    assert everything.status == 0
    for word in ("naive", "replay", "joint", "digits", "mnist", "quickstart", "split-SOURCE"):
        assert word in everything.out
    methods = answer("list", "methods").out
    assert "buffer_size" in methods
    assert "quickstart" not in methods
    trials = answer("list", "trials", "--results", done / "results").out
    assert re.findall(r"(?m)^([0-9a-f]{16}) .*finished +0\.\d{4} *$", trials) == ids(done)
    assert list(home.iterdir()) == []


def test_data_are_listed_and_prepared(answer: Callable[..., Answer], home: Path) -> None:
    before = answer("data", "list", "--data", "d")
    assert before.status == 0
    assert "embedded" in before.out
    assert "missing: engram data prepare mnist --data d" in before.out
    assert list(home.iterdir()) == []
    given = answer("data", "prepare", "digits", "--data", "d")
    assert given.status == 0
    assert "digits is ready: 1,438 training and 359 test images of 1 × 8 × 8" in given.out
    assert (home / "d/arrow/digits.arrow").is_file()


def test_the_environment_names_the_folders(
    answer: Callable[..., Answer], done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGRAM_RESULTS", str(done / "results"))
    monkeypatch.setenv("ENGRAM_DATA", str(done / "data"))
    assert "10 done, 2 pending" in answer("plan", done / "tiny.yaml").out


def test_the_reader_of_a_pipe_may_leave(engram: Any, done: Path) -> None:
    command = f"{sys.executable} -m orchestrator list trials --results {done / 'results'} | true"
    ended = subprocess.run(
        ["bash", "-c", command],
        env=engram.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
