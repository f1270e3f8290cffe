"""Results of a stranger, copied into a folder: they stay text, and in their folder."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator import cli
from orchestrator.curves import Curves, TaskCurves, write_curves
from orchestrator.metrics import METRICS
from orchestrator.results import SCHEMA, SCHEMA_VERSION, ResultsStore
from orchestrator.storage import Storage
from orchestrator.tracking.run_page import RunHead, run_files, run_tags

ID = "0123456789abcdef"
#: Markup of a page, of Markdown, of Rich; an escape sequence of a terminal; a formula; a path.
EVIL = (
    '=1+1</script><script>alert(1)</script>"><img src=x onerror=alert(1)>'
    "[red]x[/][link=http://evil]y[/link] [z](javascript:alert(1)) ![p](http://evil/p.png)"
    "|pipe|`code` \x1b]0;owned\x07\x1b[31m\x9b2J\x7f\u202etxt\r\n# Heading\n../../evil"
)
SECRET = "https://ann:hunter2@example.org/?token=abc123 AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENG"
#: All that a terminal would obey; Rich itself writes none where there is no terminal.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def record(trial: str = ID, **changed: Any) -> dict[str, Any]:
    stream = {"dataset": EVIL, "scenario": EVIL, "stream_seed": 0, EVIL: EVIL}
    config = {"method": EVIL, "options": {"x": EVIL, EVIL: 1}, "seed": 0, "stream": stream}
    columns: dict[str, Any] = {field.name: EVIL for field in SCHEMA if field.type == pa.string()}
    columns |= {field.name: 0 for field in SCHEMA if field.name not in columns}
    columns |= {
        "schema": SCHEMA_VERSION,
        "id": trial,
        "tasks": 2,
        "variant": "corrected",
        "outcome": "finished",
        "config": json.dumps(config),
        "setup": json.dumps({EVIL: EVIL}),
        "accuracy": [[0.1, float("nan")], [0.5, float("nan")], [0.25, 0.75]],
        "bytes_by_owner": {EVIL: 5},
        "seconds_by_phase": {EVIL: 5.0},
        "audit": [{EVIL: 0.5}, {"agreement": 0.5, EVIL: 0.5}],
        "audit_flags": ["", EVIL],
        "started": int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000),
        **dict.fromkeys(METRICS, 0.5),
    }
    columns |= {f.name: [0.1, 0.2, 0.3] for f in SCHEMA if f.name.endswith("_rows")}
    return columns | changed


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two trials, one of which failed, with curves, and a sweep that planned them."""
    folder = tmp_path / "home" / "results"
    store, broken = ResultsStore(folder), "f" * 16
    store.write(record())
    store.write(record(broken, outcome="error", settings=f"{EVIL}, k=1", seed=1))
    curves = Curves([TaskCurves(1, {EVIL: [(1, 0.5), (2, 0.25)]}, EVIL)])
    write_curves(Storage(folder), ID, curves)
    planned = [record(trial) | {"started": 0} for trial in (ID, broken, "a" * 16)]
    kept = ("id", "dataset", "scenario", "method", "settings", "variant", "setup", "seed")
    store.write_sweep("fine", [{key: row[key] for key in kept} for row in planned])
    about = ("description", "paper", "command", "search_space")
    store.write_about("fine", dict.fromkeys(about, EVIL))
    return folder


@pytest.fixture
def run(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs a command beside the results: ``run("show", ID)``; its status and all it said."""
    monkeypatch.chdir(results.parent)

    def run_command(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["engram", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run_command


def everything_under(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


COMMANDS = {
    "show": ("show", ID),
    "show a failed one": ("show", "ffff"),
    "show several": ("show", "seed="),
    "trials": ("list", "trials"),
    "leaderboard": ("leaderboard", "fine"),
    "Markdown": ("leaderboard", "--format", "md"),
    "no such sweep": ("leaderboard", EVIL.replace("\n", " ")),
    "no such trial": ("show", EVIL),
    "no such command": (EVIL,),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_terminal_shows_text_and_obeys_nothing(
    command: str, run: Callable[..., tuple[int, str]]
) -> None:
    status, said = run(*COMMANDS[command])
    assert status == 2 if command.startswith("no such") or "several" in command else status == 0
    assert "owned" in said or command.startswith("no such"), said
    assert OBEYED.search(said) is None
    assert "[red]" in said or "red" not in said  # shown, and not taken for a colour


def test_markdown_stays_one_table_without_links(run: Callable[..., tuple[int, str]]) -> None:
    status, _ = run("leaderboard", "fine", "--format", "md", "--output", "table.md")
    text = Path("table.md").read_text()
    assert status == 0
    table = [line for line in text.splitlines() if line.startswith("|")]
    pipes = [len(re.findall(r"(?<!\\)\|", line)) for line in table]
    assert len(table) >= 4
    assert len(set(pipes)) == 1
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# Leaderboard"]
    assert re.search(r"(?<!\\)<|(?<!\\)`|\]\(", text) is None
    assert OBEYED.search(text) is None


class Elements(HTMLParser):
    """Tags with their attributes, as a browser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def check(self, scripts: int) -> None:
        """Nothing is active but the page's own script, and nothing is loaded."""
        assert sum(tag == "script" for tag, _ in self.found) == scripts
        assert not [tag for tag, _ in self.found if tag in {"img", "iframe", "object", "embed"}]
        for _, attributes in self.found:
            assert not [name for name in attributes if name.startswith("on")]
            for name in ("href", "src", "action", "xlink:href"):
                value = attributes.get(name) or "#"
                assert value.startswith("#") or value == "data:,"


def test_a_page_has_no_script_but_its_own(
    run: Callable[..., tuple[int, str]], results: Path
) -> None:
    assert run("leaderboard", "fine", "--format", "html")[0] == 0
    page = (results / "leaderboards" / "fine" / "leaderboard.html").read_text()
    assert "owned" in page
    Elements(page).check(scripts=1)


def test_what_mlflow_gets_is_text_without_secrets(results: Path) -> None:
    store = ResultsStore(results)
    (one,) = store.records([ID])
    told = {"cause": f"{EVIL} {SECRET}", "traceback": SECRET}
    options = json.loads(one["config"])
    options["options"]["x"] = SECRET
    one |= told | {"config": json.dumps(options)}
    curves = Curves([TaskCurves(1, {"accuracy/task 1": [(1, 0.5)]})], [[1, 0], [0, 1]])
    files, tags, head = run_files(one, curves), run_tags(one), RunHead.of_record(one)
    for name in files:
        assert re.fullmatch(r"[a-z_]+\.(yaml|csv|svg|txt)", name)
        if name.endswith(".svg"):
            Elements(files[name]).check(scripts=0)
    note = tags["mlflow.note.content"].partition("\n\n")[0]
    assert re.fullmatch(r"finished: `[^`\n]*`", note)  # all of it is code, which shows as it is
    written = [*files.values(), *tags.values(), *head.parameters.values()]
    for secret in ("hunter2", "abc123", "wJalr"):
        assert not [text for text in written if secret in text]


@pytest.mark.parametrize("inside", ["../../../evil", "/tmp/evil", "0" * 16, "x\x1b]0;owned\x07"])
def test_a_record_is_that_of_its_file(
    inside: str, results: Path, run: Callable[..., tuple[int, str]]
) -> None:
    store = ResultsStore(results)
    planted = results / "trials" / f"{'e' * 16}.arrow"
    table = pa.Table.from_pylist(
        [record(inside) | {"bytes_by_owner": [], "seconds_by_phase": [], "audit": []}],
        schema=SCHEMA,
    )
    with pa.ipc.new_file(planted, SCHEMA) as writer:
        writer.write_table(table)
    before = everything_under(results.parent)
    for command in (("show", "eeee"), ("list", "trials"), ("leaderboard", "--all")):
        status, said = run(*command)
        assert status == 2
        assert f"{planted.name}: holds the record of another trial" in said.replace("\n", " ")
        assert OBEYED.search(said) is None
    assert store.ids() == {ID, "f" * 16, "e" * 16}
    assert everything_under(results.parent) == before


def test_files_of_other_names_are_no_records(
    results: Path, run: Callable[..., tuple[int, str]]
) -> None:
    content = (results / "trials" / f"{ID}.arrow").read_bytes()
    for name in ("..arrow", "evil.arrow", "\x1b]0;owned\x07.arrow", f"{ID}\n.arrow", "A" * 16):
        (results / "trials" / name).write_bytes(content)
    (results / "trials" / f"{'d' * 16}.arrow").symlink_to("/dev/zero")
    assert ResultsStore(results).ids() == {ID, "f" * 16}
    assert run("list", "trials")[0] == 0


@pytest.mark.parametrize(
    "content",
    [
        *("[" * 100_000, "{}", "[1]", '[{"id": 1}]', '[{"id": {"x": 1}}]', "\x00", '"x"', "NaN"),
        '[{"id": "x"}]',
        '[{"id": "x", "dataset": 1, "scenario": [], "method": {}, "settings": null, "seed": "a"}]',
    ],
)
def test_a_plan_that_is_none_is_a_clear_line(
    content: str, results: Path, run: Callable[..., tuple[int, str]]
) -> None:
    (results / "sweeps" / "evil\x1b]0;owned\x07.json").write_text(content)
    status, said = run("leaderboard")
    assert status == 2
    assert "run the sweep again" in said or "that no sweep wrote" in said
    assert len(said.splitlines()) == 1
    assert OBEYED.search(said) is None


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"stream": 1, "options": 2}', "[" * 100_000])
def test_a_configuration_that_is_none_is_a_clear_line(
    config: str, results: Path, run: Callable[..., tuple[int, str]]
) -> None:
    ResultsStore(results).write(record("e" * 16, config=config))
    status, said = run("show", "eeee")
    assert status == 2
    assert "holds no configuration" in said.splitlines()[-1]


def test_what_a_sweep_says_of_itself_is_what_a_page_shows(
    results: Path, run: Callable[..., tuple[int, str]]
) -> None:
    ResultsStore(results).write_about("fine", {"name": "x", "other": "y", "command": "z"})
    assert run("leaderboard", "fine", "--format", "html")[0] == 0


@pytest.mark.parametrize("sweep", ["../../evil", "/tmp/evil", "..", "fine/../../../evil"])
def test_a_sweep_s_name_does_not_climb(
    sweep: str, results: Path, run: Callable[..., tuple[int, str]]
) -> None:
    (results.parent.parent / "evil.json").write_text("[]")
    before = everything_under(results.parent.parent)
    for form in ("html", "md"):
        status, said = run("leaderboard", sweep, "--format", form)
        assert status == 2
        assert len(said.splitlines()) == 1
    assert everything_under(results.parent.parent) == before


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "a/../../evil", "", ".", "a//b", "a\\..\\b", "a\x00b", ".."]
)
def test_no_name_leads_out_of_a_folder(name: str, tmp_path: Path) -> None:
    storage = Storage(tmp_path / "results")
    for use in (storage.read, storage.exists, storage.remove, storage.remove_folder):
        with pytest.raises(ValueError, match="is no name of a file"):
            use(name)
    with pytest.raises(ValueError, match="is no name of a file"):
        storage.write(name, b"evil")
    assert list(tmp_path.rglob("*evil*")) == []
