"""Generated documents are true: README's tables and the DDL in sql/schema say what the code says."""

import re
import subprocess
import sys
from pathlib import Path

from pipelines.settings import Settings

ROOT = Path(__file__).parent.parent
GENERATED = ["README.md", "sql/README.md", "sql/schema/duckdb.sql", "sql/schema/postgresql.sql"]


def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_the_generated_documents_are_fresh() -> None:
    command = [sys.executable, "-m", "cogapp", "--check", "-p", "import sys; sys.path.insert(0, '.')", *GENERATED]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert all(f"Checking {name}" in result.stdout for name in GENERATED), result.stdout + result.stderr
    assert result.returncode == 0, f"stale, run `make docs`:\n{result.stdout}{result.stderr}"


def test_the_readme_documents_every_setting() -> None:
    for name in Settings.model_fields:
        assert f"| `{name.upper()}` |" in readme()


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", readme()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_relation_that_the_readme_names_exists() -> None:
    from pipelines.relations import function_queries, view_queries
    from pipelines.schema import metadata

    named = set(re.findall(r"`((?:backup|observations|observed|rejected|schema)[a-z_]*)`", readme()))
    assert {"backup_shares", "backups", "backup_share_changes", "rejected_records"} <= named
    assert named <= {*metadata.tables, *view_queries(), *function_queries()}


def test_no_tracked_file_names_a_package_registry() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        text = (ROOT / name).read_bytes().decode("utf-8", "replace")
        for hint in ("pypi." + "org", "python" + "hosted", "index" + "-url"):
            assert hint not in text, f"{name} holds {hint}"
