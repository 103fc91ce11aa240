"""The arrows of the house: who may import whom. The map is in pipelines/__init__.py."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pipelines"

# Rooms from the ground up; a room imports only rooms of lower floors (and none of its own floor but where listed).
FLOORS = [
    {"errors"},
    {"observation"},
    {"settings", "schema", "redact", "history", "delta", "tuning", "rows"},
    {"engines", "relations", "clouds", "records", "passes", "diagnosis", "landing", "traffic", "filters"},
    {"drift", "tables"},
    {"walk", "answers", "sockets", "normalize", "baseline", "story", "policy"},
    {"login", "confirm", "policy_landing", "record"},
    {"auth", "policy_fold"},
    {"client"},
    {"extract", "warehouse", "connect"},
    {"load", "duckdb_file", "postgres", "output", "ask", "reports", "export"},
    {"publish", "page", "verdict"},
    {"rebuild"},
    {"retention", "explain", "this_machine"},
    {"defs", "doctor"},
    {"definitions"},
    {"simulator"},
    {"demo"},
    {"dictionary"},
    {"cli"},
]
SIMULATOR_MAY_IMPORT = {"observation", "simulator"}
PURE = {
    "walk",
    "passes",
    "rows",
    "diagnosis",
    "confirm",
    "delta",
    "drift",
    "answers",
    "filters",
    "normalize",
    "records",
    "history",
    "story",
    "verdict",
    "redact",
    "observation",
    "errors",
    "page.says",
    "page.caveats",
    "page.words",
    "page.charts",
}
IO_MODULES = {
    "os",
    "socket",
    "subprocess",
    "httpx",
    "duckdb",
    "time",
    "random",
    "shutil",
    "tempfile",
    "sqlite3",
    "threading",
}


def modules() -> dict[str, Path]:
    return {
        str(path.relative_to(PACKAGE).with_suffix("")).replace("/", "."): path
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"
    }


def room(module: str) -> str:
    return module.split(".")[0]


def imports(path: Path) -> set[str]:
    """Full names of everything that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def own_rooms(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imports(path) if name.startswith("pipelines.")}
    return names & {room(module) for module in modules()}


def libraries(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)} - {"pipelines"}


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_room_imports_only_rooms_below_it(module: str) -> None:
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    assert room(module) in floor, f"{module} has no floor yet: give it one here and in the map of the house"
    for other in own_rooms(modules()[module]) - {room(module)}:
        assert floor[other] < floor[room(module)], f"{module} must not import {other}"


@pytest.mark.parametrize("module", sorted(modules()))
def test_only_definitions_and_defs_know_dagster(module: str) -> None:
    allowed = room(module) in {"definitions", "defs"}
    assert allowed or "dagster" not in libraries(modules()[module])


@pytest.mark.parametrize("module", sorted(modules()))
def test_only_the_client_and_the_login_talk_http(module: str) -> None:
    allowed = {
        "client": {"httpx", "httpcore"},
        "sockets": {"httpcore"},
        "login": {"requests", "urllib3", "keystoneauth1"},
    }
    http = {"httpx", "httpcore", "requests", "urllib3", "keystoneauth1"}
    assert libraries(modules()[module]) & http <= allowed.get(module, set())


@pytest.mark.parametrize("module", sorted(PURE))
def test_the_core_does_no_io(module: str) -> None:
    assert not libraries(modules()[module]) & IO_MODULES


@pytest.mark.parametrize("module", sorted(name for name in modules() if room(name) == "simulator"))
def test_the_simulator_is_independent_of_the_pipeline(module: str) -> None:
    """It shares two words with it, the direction of a listing and nothing else, so that it can be its judge."""
    assert own_rooms(modules()[module]) <= SIMULATOR_MAY_IMPORT


@pytest.mark.parametrize("module", sorted(name for name in modules() if room(name) == "defs"))
def test_assets_keep_their_annotations_as_objects(module: str) -> None:
    """Postponed annotations break Dagster's reading of the context argument."""
    assert "__future__" not in libraries(modules()[module])


@pytest.mark.parametrize("module", sorted(modules()))
def test_every_module_says_what_lives_in_it_and_what_does_not(module: str) -> None:
    docstring = ast.get_docstring(ast.parse(modules()[module].read_text()))
    assert docstring
    assert "Not here:" in docstring


def test_the_map_of_the_house_names_every_room() -> None:
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text())) or ""
    for name in {room(module) for module in modules()}:
        assert name in text, f"the map in pipelines/__init__.py lacks {name}"
