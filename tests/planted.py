"""Does a test notice? Known bugs are planted one by one into a copy of the checkout: `make planted-bugs`.

    python -m tests.planted [--list] [--only NAME-PART]...

A bug counts as caught when a test fails, so the suite must be green without it; one that keeps the tests from starting
shows nothing. Each is tried with the test that should catch it, so that a room whose own tests look away is found
although others would have noticed.
Not here: the bugs (planted_bugs.py).
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.planted_bugs import BUGS, Bug

ROOT = Path(__file__).resolve().parent.parent
TAKEN = ("pipelines", "sql", "tests", "pyproject.toml", "workspace.yaml")
WORKERS = 2
MOST_SECONDS = 300


@dataclass(frozen=True)
class Outcome:
    """`caught_by`: the first test that failed. `complaint`: why the bug does not count as caught."""

    bug: Bug
    seconds: float = 0.0
    caught_by: str = ""
    complaint: str = ""


def stale(bug: Bug, root: Path = ROOT) -> str:
    """Why the bug cannot be planted, or be looked for; empty if it can."""
    places = (root / bug.file).read_text().count(bug.text) if (root / bug.file).exists() else 0
    if places != 1:
        return f"stale: its text stands {places} times in {bug.file}"
    file, _, test = bug.caught_by.partition("::")
    tests = (root / file).read_text() if (root / file).exists() else ""
    if not tests or (test and f"def {test.partition('[')[0]}(" not in tests):
        return f"stale: there is no {bug.caught_by}"
    return ""


@dataclass(frozen=True)
class Copy:
    """A checkout of its own below `folder`, and a Python that imports the package from there.

    A variable of the environment would not do: tests start commands without it. A virtual environment holds for
    whatever its Python starts, and of the libraries it shares the editable install is left out (a .pth in a folder
    that a .pth names is not read).
    """

    folder: Path

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    def make(self) -> None:
        self.checkout.mkdir(parents=True)
        for name in TAKEN:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, self.checkout / name)
        venv.create(self.folder / "venv", symlinks=True)
        (site,) = (self.folder / "venv" / "lib").glob("python*/site-packages")
        paths = dict.fromkeys([str(self.checkout), *map(sysconfig.get_path, ("purelib", "platlib"))])
        (site / "copy.pth").write_text("\n".join(paths))
        command = [str(self.python), "-c", "import pipelines; print(pipelines.__file__)"]
        told = subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()
        if not Path(told).is_relative_to(self.checkout):
            raise SystemExit(f"the tests would run against {told} and not against the copy")


@contextmanager
def planted(bug: Bug, copy: Copy) -> Iterator[None]:
    path = copy.checkout / bug.file
    sound = path.read_text()
    path.write_text(sound.replace(bug.text, bug.instead))
    try:
        yield
    finally:
        path.write_text(sound)


def look_for(bug: Bug, copy: Copy) -> Outcome:
    if complaint := stale(bug, copy.checkout):
        return Outcome(bug, complaint=complaint)
    report = copy.folder / "report.xml"
    report.unlink(missing_ok=True)
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", f"--basetemp={copy.folder / 'tmp'}"]
    begun = time.monotonic()
    with planted(bug, copy):
        is_over = run([str(copy.python), "-m", "pytest", *options, bug.caught_by], copy.checkout)
    seconds = time.monotonic() - begun
    if not is_over:
        return Outcome(bug, seconds, complaint=f"the tests hang for {MOST_SECONDS} s: choose another planting")
    cases = ElementTree.parse(report).iter("testcase") if report.exists() else ()
    failed = next((case for case in cases if case.find("failure") is not None), None)
    if failed is not None:
        return Outcome(bug, seconds, caught_by=f"{failed.get('classname')}: {failed.get('name')}")
    is_broken = not report.exists() or ElementTree.parse(report).find(".//error") is not None
    complaint = "the tests do not even start: choose another planting" if is_broken else "SURVIVES"
    return Outcome(bug, seconds, complaint=complaint)


def run(command: Sequence[str], checkout: Path) -> bool:
    """Whether it came to an end. No bytecode of a bug outlives it."""
    with subprocess.Popen(
        command,
        cwd=checkout,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            process.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return False
    return True


def look_for_all(bugs: Sequence[Bug]) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory(prefix="planted-bugs-") as folder:
        copies: Queue[Copy] = Queue()
        for number in range(WORKERS):
            copy = Copy(Path(folder) / str(number))
            copy.make()
            copies.put(copy)

        def look(bug: Bug) -> Outcome:
            copy = copies.get()
            try:
                return look_for(bug, copy)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(WORKERS) as pool:
            yield from pool.map(look, bugs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="say which bugs there are")
    parser.add_argument("--only", action="append", metavar="NAME-PART", help="those whose name has this in it")
    arguments = parser.parse_args()
    bugs = [bug for bug in BUGS if any(part in bug.name for part in arguments.only or [""])]
    console = Console() if sys.stdout.isatty() else Console(width=160)
    if not bugs:
        sys.exit(f"no bug has {arguments.only!r} in its name")
    table = Table("file", "bug", "should be caught by" if arguments.list else "caught by")
    if arguments.list:
        for bug in bugs:
            table.add_row(bug.file, bug.name, bug.caught_by)
        console.print(table, markup=False)
        return
    table.add_column("s", justify="right")
    outcomes = list(track(look_for_all(bugs), "planting", len(bugs), console=console, transient=True))
    for each in outcomes:
        table.add_row(each.bug.file, each.bug.name, each.caught_by or each.complaint, f"{each.seconds:.0f}")
    console.print(table, markup=False)
    missed = [each.bug.name for each in outcomes if not each.caught_by]
    console.print(f"{len(bugs)} bugs planted, {len(bugs) - len(missed)} caught", highlight=False)
    if missed:
        sys.exit("not caught: " + "; ".join(missed))


if __name__ == "__main__":
    main()
