"""`backup-shares ...` as a user starts it: a process of its own, with its own folder, environment and exit code.

It is forked from the server of crash.py, which has everything imported: a start from nothing takes seconds.
Not here: starts from nothing, of which test_cli.py has some; processes that are killed (crash.py).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.crash import FORKS

KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
USUAL = {"DAILY_REPORT": "no"}
"""The page would cost every sync a second."""


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`backup-shares ...` in a folder, with nothing of this process's settings."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    with tempfile.TemporaryDirectory(prefix="printed-") as printed:
        streams = [Path(printed, name) for name in ("stdout", "stderr")]
        process = FORKS.Process(target=_act, args=(streams, folder, arguments, kept | USUAL | environment))
        process.start()
        process.join(120)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, 120)
        told = [stream.read_bytes() for stream in streams]
        return subprocess.CompletedProcess(arguments, process.exitcode, *told)


def run_text(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same; what it printed as text."""
    done = run(folder, *arguments, **environment)
    return subprocess.CompletedProcess(arguments, done.returncode, done.stdout.decode(), done.stderr.decode())


def _act(streams: list[Path], folder: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    for descriptor, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["backup-shares", *arguments]
    from pipelines.cli import main

    main()
