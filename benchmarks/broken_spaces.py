"""Each of 300 broken search spaces is answered at once, with file, line, key and the repair.

Good files, which are the packaged search spaces and the documented examples, get one mistake each
(``_mistakes.py``, seeded) and are handed to ``engram run``. Looked at are the exit status, what is
said, how long that takes, and that nothing was started: no results, no MLflow, no process left
over, and no folder of Ray's. Where it is known what was meant, the message has to say it. Time is
also compared with ``import torch``, which is most of it.

What the unbroken file is told on this machine, such as that MNIST is missing, does not count.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from _common import Verdict, arguments, progress, status_of
from _mistakes import MISTAKES
from _mutations import Broken, broken_spaces, good_spaces

ROOT = Path(__file__).resolve().parents[1]
#: Marks the processes that a run has started.
_MARK = "ENGRAM_BENCHMARK_RUN"
#: Runs between two imports of PyTorch.
_IMPORT_EVERY = 20


@dataclass
class Answer:
    """What a command did."""

    status: int
    told: list[str]
    seconds: float
    cpu: float
    started: list[str]


@dataclass
class Row:
    """A kind of mistake."""

    files: int = 0
    clear: int = 0
    known: int = 0
    mended: int = 0
    lines: int = 0
    seconds: list[float] = field(default_factory=list)


class Machine:
    """Runs commands in an empty folder."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.data = data
        self.file, self.home, self.ray = folder / "space.yaml", folder / "home", folder / "ray"
        self.home.mkdir()

    def engram(self, content: bytes | None) -> Answer:
        """Run a search space; None for a file that is not there."""
        self.file.unlink(missing_ok=True)
        if content is not None:
            self.file.write_bytes(content)
        command = ["-m", "orchestrator", "run", self.file, "--results", self.home / "results"]
        return self.python(*command, "--data", self.data)

    def python(self, *command: object) -> Answer:
        """Run Python."""
        ours = ("ENGRAM_", "MLFLOW_", "RAY_")
        environment = {key: v for key, v in os.environ.items() if not key.startswith(ours)}
        token = f"{os.getpid()}-{time.monotonic_ns()}"
        environment |= {_MARK: token, "RAY_TMPDIR": str(self.ray), "PYTHONPATH": str(ROOT)}
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=self.home,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        with process.stderr:
            told = process.stderr.read().decode().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        started = [str(p) for p in (*self.home.iterdir(), *[self.ray] * self.ray.exists())]
        started += processes_with(token)
        cpu = usage.ru_utime + usage.ru_stime
        return Answer(process.returncode, told, seconds, cpu, started)


def processes_with(token: str) -> list[str]:
    """Return the processes that were started with a token in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (process / "environ").read_bytes():
                found.append(f"process {process.name}")
        except OSError:  # it has ended, or is another user's
            continue
    return found


def without_line(text: str) -> str:
    """Return a line of a message without the number of the line that it is about."""
    file, _, rest = text.partition(".yaml:")
    return file + rest.lstrip("0123456789")


def judge(broken: Broken, answer: Answer, usual: set[str], file: Path, row: Row) -> list[str]:
    """Count an answer, and return what is wrong with it."""
    told = [line for line in answer.told if without_line(line) not in usual]
    about = broken.lines_about(f"engram: {file}", told)
    wrong = []
    if answer.status != 2:
        wrong.append(f"exit status {answer.status}")
    if not all(line.startswith(f"engram: {file}:") for line in answer.told):
        wrong.append("not every line names the file")
    if not about:
        wrong.append(f"line {broken.line} and key {broken.key!r} are not named")
    if answer.started:
        wrong.append(f"left behind: {', '.join(answer.started)}")
    row.clear += not wrong
    if broken.repair:
        row.known += 1
        mended = broken.is_mended_by(about)
        row.mended += mended
        if not mended:
            wrong.append(f"does not say: {broken.repair}")
    row.files += 1
    row.lines += len(told)
    row.seconds.append(answer.seconds)
    return wrong


def print_table(rows: dict[str, Row]) -> None:
    print(f"{'kind of mistake':<32} files  clear  known  mended  lines  median s")
    for kind, row in sorted(rows.items()):
        print(
            f"{kind:<32} {row.files:5}  {row.clear:5}  {row.known:5}  {row.mended:6}  "
            f"{row.lines / row.files:5.2f}  {statistics.median(row.seconds):8.2f}"
        )


def main() -> int:
    options = arguments(__doc__, count=300, seed=0)
    goods = good_spaces(ROOT)
    rows: dict[str, Row] = defaultdict(Row)
    answers, imports = [], []
    with tempfile.TemporaryDirectory(prefix="engram-benchmark-") as name:
        machine = Machine(Path(name), options.data.resolve())
        usual: dict[str, set[str]] = {}
        for i, broken in enumerate(broken_spaces(goods, MISTAKES, options.count, options.seed)):
            if i % _IMPORT_EVERY == 0:
                progress(f"{i} of {options.count}")
                imports.append(machine.python("-c", "import torch"))
            if broken.source not in usual:
                good = next(good for good in goods if good.name == broken.source)
                plan = ["-m", "orchestrator", "plan", machine.file, "--data", machine.data]
                machine.file.write_text(good.text, encoding="utf-8")
                usual[broken.source] = {without_line(line) for line in machine.python(*plan).told}
            answer = machine.engram(broken.content)
            answers.append(answer)
            wrong = judge(broken, answer, usual[broken.source], machine.file, rows[broken.kind])
            if wrong:
                print(f"{broken.kind}: {broken.mistake}: {'; '.join(wrong)}")
                print(*(f"    {line}" for line in answer.told), sep="\n")
    print_table(rows)
    for told in sorted(set().union(*usual.values())):
        print(f"does not count: {told}")

    known = sum(row.known for row in rows.values())
    verdict = Verdict("broken search spaces")
    verdict.check("files", len(answers), at_least=options.count)
    verdict.check("clear messages", sum(row.clear for row in rows.values()), at_least=len(answers))
    verdict.check("repairs known", known)
    mended = sum(row.mended for row in rows.values())
    verdict.check("of which told", 100 * mended / known, at_least=95, unit="%")
    torch = statistics.median(one.seconds for one in imports)
    verdict.check("longest answer", max(one.seconds for one in answers), at_most=2, unit="s")
    verdict.check("longest, processor time", max(one.cpu for one in answers), at_most=2, unit="s")
    median = statistics.median(one.seconds for one in answers)
    verdict.check("median answer", median, unit="s")
    verdict.check("median over `import torch`", median / torch, at_most=1.5, unit="×")
    cpu = statistics.median(one.cpu for one in answers)
    ratio = cpu / statistics.median(one.cpu for one in imports)
    verdict.check("the same of processor time", ratio, at_most=1.5, unit="×")
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
