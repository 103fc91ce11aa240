"""Fuzzers: malformed records among healthy ones (F17), pages damaged byte by byte (F18), hostile strings (F22).

All through the real client, the walk, the landing and the warehouse. What must be stored is told by an independent
reading of the contract (the Oracle of test_normalize.py), never by the code under test. Every failure names its seed.
Not here: the rules one by one (test_records.py), the readers alone (test_normalize.py).
"""

import contextlib
import csv
import io
import itertools
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.auth import StaticToken
from pipelines.client import ShareClient
from pipelines.errors import BackupSharesError, ConfigurationError
from pipelines.extract import Options, observe_listings
from pipelines.load import known_shares, load_pending, pending_files, stage
from pipelines.observation import Direction, Listing, Observation
from pipelines.output import FORMULA_STARTS, print_answer, rows_of, to_csv
from pipelines.schema import metadata
from pipelines.settings import isolated_settings
from pipelines.simulator.records import KEY_MATERIAL_MARK
from pipelines.simulator.world import World
from pipelines.traffic import Traffic
from pipelines.warehouse import Warehouse
from tests.estate import BACKUPS, FIRST_DAY, SHARES, TOKEN
from tests.oracle import make_warehouse
from tests.test_normalize import BACKUP_DTYPES, SHARE_DTYPES, Bad, Oracle

WORLD = World(seed=17, projects=1, shares=4_000)
OWN = WORLD.projects[0]
OUT = Listing("eu-de", OWN, Direction.OUTGOING)
SOUND = [record for record in WORLD.listing(0, OWN, Direction.OUTGOING) if KEY_MATERIAL_MARK not in json.dumps(record)]
"""Without key material, which is blanked before anything is kept."""


class Sink:
    """A service that sends what it is told, and everything behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.day = folder, 0
        self.warehouse: Warehouse = make_warehouse()
        self.body, self.count = b"", 0
        self.texts: list[str] | None = None
        traffic = Traffic(retry_floor=10**9, sleep=lambda seconds: None)
        self.client = ShareClient(
            "http://service",
            StaticToken(TOKEN),
            traffic=traffic,
            transport=httpx.MockTransport(self._answer),
            sleep=lambda seconds: None,
            now=lambda: FIRST_DAY,
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("count"):
            return httpx.Response(200, json={"count": self.count})
        if self.texts is None:
            return httpx.Response(200, content=self.body)
        query = request.url.params
        rows = self.texts[::-1] if query["sort_dir"] == "desc" else self.texts
        offset = int(query["offset"])
        return httpx.Response(200, content=page(rows[offset : offset + int(query["limit"])]))

    def close(self) -> None:
        self.client.close()
        self.warehouse.close()

    def fresh(self) -> None:
        self.warehouse.close()
        self.warehouse = make_warehouse()
        self.folder = self.folder.parent / f"sink-{self.day}"

    def sync(self, texts: list[str]) -> Observation:
        """A day on which the list holds these records, in this order."""
        self.texts, self.count = texts, len(texts)
        return self._sync()

    def sync_page(self, body: bytes, count: int) -> Observation:
        """A day on which every page is this one."""
        self.texts, self.body, self.count = None, body, count
        return self._sync()

    def _sync(self) -> Observation:
        self.day += 1
        now = FIRST_DAY + timedelta(days=self.day)
        [(_, seen)] = observe_listings(
            {OUT: self.client},
            self.folder / "landing",
            sync_id=f"day {self.day}",
            now=lambda: now,
            known=known_shares(self.warehouse, self.folder / "landing"),
            options=Options(concurrency=1),
        )
        ledger = self.warehouse.ledger()
        for file in pending_files(self.folder / "landing", ledger):
            stage(file, self.folder / "staging", ledger)
        assert not load_pending(self.warehouse, self.folder / "landing", self.folder / "staging")
        return seen

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.warehouse.query(f"SELECT * FROM {table}").to_pylist()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with contextlib.closing(Sink(tmp_path / "sink-0")) as made:
        yield made


def page(texts: Iterable[str]) -> bytes:
    return b'{"shared": [' + ", ".join(texts).encode("utf-8", "surrogatepass") + b"]}"


# --- F17: malformed records -----------------------------------------------------------------------------------------

RAW = "@raw@"
NUMBERS = ("0", "-0", "-1", "1.0", "1.5", "1e3", "1E400", "-1e-9", "9" * 25, "9" * 4_000, str(2**63), str(2**63 - 1))
"""As JSON writes them."""
TIMES = (
    *("", "yesterday", "2026-02-30T00:00:00", "2026-13-01T00:00:00", "2026-01-01T24:00:00", "2026-01-01T23:59:60"),
    *(
        "2026-01-01T00:00:00Z",
        "2026-01-01 00:00:00",
        "2026-01-01T00:00:00.1",
        "2026-01-01T00:00:00.1234567",
        "20260101",
    ),
    *(
        "2026-01-01",
        "0000-01-01T00:00:00",
        "0001-01-01T00:00:00",
        "1677-01-01T00:00:00",
        "9999-12-31T23:59:59",
        "infinity",
    ),
    *("2026-01-01T00:00:00+02:00", "2026-01-01T00:00:00+25:00", "٢٠٢٦-01-01T00:00:00", "2026-01-01T00:00:00 ", "now"),
)
TEXTS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "x\udfffy",
        "\U0001f4be",
        "\x1b[2J",
        "\u202e",
        "\ufeff",
        "null",
        "\\",
        '"',
        "é" * 300,
    ),
    *("'; DROP TABLE backup_history; --", "=1+1", "../../etc/passwd", "<script>", "\r\n", "\x7f", "𝟙", "x" * 20_000),
)
JUNK: tuple[Any, ...] = (None, True, False, 0, 1, -1, 7.5, "", "x", [], {}, [1], {"a": 1}, [[[]]], {"id": "x"}, 2**40)
SHARE_KEYS = ("id", "backup_id", "to_project_id", "created_at", "updated_at", "backup")
"""Not `from_project_id`: with another one the whole listing is refused, see below."""


def malformed(record: dict[str, Any], rng: random.Random) -> str:
    """The JSON text of a sound record with one or two things wrong in it, mostly."""
    record = {**record, "backup": {**record["backup"]}}
    for _ in range(rng.choice((1, 1, 1, 2))):
        deep = rng.random() < 0.6 and isinstance(record.get("backup"), dict)
        target = record["backup"] if deep else record
        key = rng.choice([*target, "id"] if deep else SHARE_KEYS)
        match rng.randrange(9):
            case 0:
                target.pop(key, None)
            case 1:
                target[key] = rng.choice(JUNK)
            case 2:
                target[key] = rng.choice(TEXTS)
            case 3:
                target[rng.choice((key, "size", "object_count"))] = RAW + rng.choice(NUMBERS)
            case 4:
                target[rng.choice(("created_at", "updated_at", "data_timestamp"))] = rng.choice(TIMES)
            case 5:
                target[rng.choice(TEXTS[6:]) + str(rng.random())] = rng.choice(JUNK)
            case 6:
                target[key] = RAW + "[" * (deep_ := rng.choice((5, 50, 300))) + "]" * deep_
            case 7 if target:
                return twice(record, key, deep, rng)
            case 8 if key != "service_metadata" and not str(target.get(key)).startswith(RAW):
                # What is left of metadata is withheld where it may hold a key (test_redact.py).
                target[key] = str(target.get(key))[: rng.randrange(40)]
    odd = record.get("id")
    if isinstance(odd, str) and odd and len(odd) != 36 and not odd.startswith(RAW):
        record["id"] = f"{odd}{rng.random()}"  # no service gives an id twice; that is another fault
    return spelt(record, rng)


def twice(record: dict[str, Any], key: str, deep: bool, rng: random.Random) -> str:
    """The record with a key that it has two times."""
    pair = (
        f"{json.dumps(key)}: {json.dumps(rng.choice([None, 1, 'x', (record['backup'] if deep else record).get(key)]))}"
    )
    text = json.dumps(record)
    return text.replace('"backup": {', f'"backup": {{{pair}, ', 1) if deep else f"{{{pair}, {text[1:]}"


def spelt(record: Any, rng: random.Random) -> str:
    text = json.dumps(record, separators=rng.choice([(", ", ": "), (",", ":"), (" ,\n", " :\t")]))
    while (start := text.find(f'"{RAW}')) >= 0:
        end = text.index('"', start + 1)
        text = text[:start] + text[start + len(RAW) + 1 : end] + text[end + 1 :]
    return text


def readable(text: str) -> Oracle | None:
    try:
        return Oracle(text)
    except Bad:
        return None


def records(count: int, seed: int) -> Iterator[list[str]]:
    """Batches of texts: healthy records, and among them `count` malformed ones in all."""
    rng = random.Random(seed)
    while count > 0:
        chosen = rng.sample(SOUND, 600)
        spoilt = {number: malformed(chosen[number], rng) for number in rng.sample(range(600), min(400, count))}
        count -= len(spoilt)
        texts = [(spoilt.get(number) or json.dumps(record), record["id"]) for number, record in enumerate(chosen)]
        yield [text for text, _ in sorted(texts, key=lambda pair: place_of(*pair))]


def place_of(text: str, share_id: str) -> str:
    """What a service would sort the record by."""
    found = json.loads(text).get("id")
    return found if isinstance(found, str) else share_id


def assert_stored(sink: Sink, seen: Observation, texts: list[str], where: str) -> None:
    assert seen.status.is_proven, (where, seen.reason)
    told = [(text, readable(text)) for text in texts]
    bad = {text for text, record in told if record is None}
    found = sink.rows("rejected_records")
    assert {row["raw_json"] for row in found} == {storable(text) for text in bad}, where
    assert not [row for row in found if set(row["reason"]) & STEERS], where
    aside = {row["share_id"] for row in found}
    good = [record for _, record in told if record and record.share["share_id"] not in aside]
    shares = {record.share["share_id"]: record.share for record in good}
    columns = [name for name in SHARE_DTYPES if name != "row_hash"]
    assert {row["share_id"]: {name: row[name] for name in columns} for row in sink.rows(SHARES)} == shares, where
    backups: dict[str, list[dict[str, Any]]] = {}
    doubtful = {row["backup_id"] for row in found}  # what a rejected record names is not touched
    for record in good:
        if record.backup and record.backup["backup_id"] not in doubtful:
            backups.setdefault(record.backup["backup_id"], []).append(record.backup)
    columns = [name for name in BACKUP_DTYPES if name != "row_hash"]
    stored = {row["backup_id"]: {name: row[name] for name in columns} for row in sink.rows(BACKUPS)}
    assert stored.keys() == backups.keys(), where
    # Where two shares tell two things of one backup, one of them is stored, and nothing else.
    assert not [key for key, row in stored.items() if row not in backups[key]], where


def storable(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text.replace("\0", "\u2400"))


def check_records(sink: Sink, count: int, seed: int, figures: Callable[..., None]) -> None:
    figures("malformed records", 0)
    for number, texts in enumerate(records(count, seed)):
        seen = sink.sync(texts)
        assert_stored(sink, seen, texts, f"seed {seed}, batch {number}")
        sink.fresh()
    figures("malformed records", count)


@pytest.mark.parametrize("seed", range(4))
def test_a_malformed_record_is_set_aside_or_repaired_by_rule_and_its_neighbours_are_loaded(
    sink: Sink, figures, seed: int
) -> None:
    check_records(sink, 5_000, seed, figures)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 105))
def test_a_hundred_thousand_malformed_records(sink: Sink, figures, seed: int) -> None:
    check_records(sink, 20_000, seed, figures)


REFUSED = ("NaN", "Infinity", "-Infinity", "9" * 5_000, "[" * 100_000 + "]" * 100_000, "007", "+1", "'x'", "undefined")


@pytest.mark.parametrize("raw", REFUSED)
@pytest.mark.parametrize("deep", [False, True])
def test_what_is_no_json_refuses_the_page_and_changes_nothing(sink: Sink, raw: str, deep: bool) -> None:
    healthy = [json.dumps(record) for record in SOUND[:5]]
    sink.sync(healthy)
    before = [sink.rows(table) for table in (SHARES, BACKUPS)]
    record = {**SOUND[2], "backup": {**SOUND[2]["backup"]}}
    (record["backup"] if deep else record)["more"] = RAW + raw
    seen = sink.sync([*healthy, spelt(record, random.Random(1))])
    assert seen.status == "failed"
    assert "not JSON" in seen.reason
    assert [sink.rows(table) for table in (SHARES, BACKUPS)] == before


def test_a_share_of_another_project_refuses_the_listing(sink: Sink) -> None:
    other = {**SOUND[0], "from_project_id": "e" * 32}
    seen = sink.sync([json.dumps(SOUND[1]), json.dumps(other)])
    assert seen.status == "failed"
    assert "the service ignores share_to_me, or the token lists other projects too" in seen.reason
    assert not sink.rows(SHARES)


# --- F18: damaged pages ---------------------------------------------------------------------------------------------


def damaged(body: bytes, rng: random.Random) -> bytes:
    """Cut, flipped, spliced, doubled."""
    out = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, other = rng.randrange(len(out) + 1), rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0:
                del out[place:]
            case 1 if place < len(out):
                out[place] ^= 1 << rng.randrange(8)
            case 2:
                del out[min(place, other) : min(place, other) + rng.randint(1, 30)]
            case 3:
                out[place:place] = out[other : other + rng.randint(1, 300)]
            case 4:
                signs = (b'"', b"\\", b"\0", b"]}", b",", b"[", b"\xff", b"\xc3\xa9", b"\\ud800", b"NaN", b"0")
                out[place:place] = rng.choice(signs)
            case 5:
                out[place : place + 8] = rng.randbytes(rng.randrange(8))
    return bytes(out)


def read_by_json(body: bytes) -> list[Any] | None:
    """What a strict reader makes of a page; None where it is none."""

    def no_constant(name: str) -> None:
        raise ValueError(name)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        return {**found, "twice": [key for key, _ in pairs]} if len(found) < len(pairs) else found

    try:
        text = body.decode("utf-8").removeprefix("\ufeff")
        document = json.loads(text, parse_constant=no_constant, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("shared"), list):
        return None
    if document.get("twice", []).count("shared") > 1:
        return None
    owners = [record.get("from_project_id") for record in document["shared"] if isinstance(record, dict)]
    return None if any(isinstance(owner, str) and owner != OWN for owner in owners) else document["shared"]


def check_pages(sink: Sink, count: int, seed: int, figures: Callable[..., None]) -> None:
    figures("damaged pages", 0)
    rng = random.Random(seed)
    bodies = [page(json.dumps(record) for record in rng.sample(SOUND, size)) for size in (0, 1, 2, 5)]
    accepted = 0
    for number in range(count):
        sink.body = damaged(rng.choice(bodies), rng)
        expected = read_by_json(sink.body)
        try:
            found = sink.client.page(OUT, 0, 1000).records
        except BackupSharesError as error:
            told = str(error)
        else:
            told = ""
        if told:
            assert expected is None, (seed, number, told)
            assert not set(told) & STEERS, (seed, number)
            continue
        accepted += 1
        assert expected is not None, (seed, number, sink.body[:300])
        assert json.dumps(found) == json.dumps([without_mark(record) for record in expected]), (seed, number)
    figures("damaged pages", count)
    assert 0 < accepted < count / 2


def without_mark(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_mark(each) for key, each in value.items() if key != "twice"}
    return [without_mark(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_page_is_refused_or_read_as_any_strict_reader_does(sink: Sink, figures, seed: int) -> None:
    check_pages(sink, 2_500, seed, figures)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 110))
def test_fifty_thousand_damaged_pages(sink: Sink, figures, seed: int) -> None:
    check_pages(sink, 5_000, seed, figures)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_page_that_is_taken_goes_all_the_way(sink: Sink, seed: int) -> None:
    rng = random.Random(f"way {seed}")
    body, taken = page(json.dumps(record) for record in SOUND[:4]), None
    while taken is None:
        spoilt = damaged(body, rng)
        taken = read_by_json(spoilt) if spoilt != body else None
    seen = sink.sync_page(spoilt, len(taken))
    assert seen.status.is_proven or seen.reason, (seed, spoilt)
    stored = {row["share_id"] for row in sink.rows(SHARES)}
    assert stored <= {
        record["id"] for record in taken if isinstance(record, dict) and isinstance(record.get("id"), str)
    }


# --- F22: hostile strings -------------------------------------------------------------------------------------------

SEEDS: dict[str, tuple[str, ...]] = {
    "sql": (
        "'; DROP TABLE {t}; --",
        '" OR 1=1; --',
        "$${t}$$",
        "'); ATTACH '{t}'; --",
        "{t}' UNION SELECT 1 --",
        "$name",
        "?",
    ),
    "path": (
        "../../../../{t}",
        "/etc/{t}",
        "..\\..\\{t}",
        "file:///{t}",
        "{t}/../..",
        "~/{t}",
        "{t}\0.parquet",
        "C:\\{t}",
    ),
    "terminal": (
        "\x1b[2J{t}",
        "\x1b]0;{t}\x07",
        "\x9b31m{t}",
        "\x1b]52;c;{t}\x07",
        "{t}\x08\x08",
        "\x1bP{t}\x1b\\",
        "[bold]{t}[/]",
    ),
    "formula": ("={t}", "+{t}", "-{t}", "@{t}", "\t={t}", "\r={t}", "＝{t}", "＋{t}", "\n={t}", '=HYPERLINK("{t}")'),
    "markdown": (
        "![x](http://e.example/{t})",
        "[{t}](javascript:1)",
        "<img src=x onerror={t}>",
        "`{t}`",
        "| {t} |",
        "# {t}",
    ),
    "url": (
        "http://169.254.169.254/{t}",
        "javascript:{t}",
        "//evil/{t}",
        "?token={t}&a=b#c",
        "%2e%2e%2f{t}",
        "data:,{t}",
    ),
    "bidi": ("\u202e{t}\u2066", "\u200f{t}", "{t}\u2028{t}", "\u2029{t}", "\ufeff{t}", "\u200b{t}", "a\u0301{t}"),
    "control": (
        "{t}\0{t}",
        "\x01{t}",
        "{t}\x7f",
        "\x85{t}",
        "{t}\r\nINFO all proven",
        "\ud800{t}",
        "{t}\udfff",
        "\ufffe{t}",
    ),
}
"""`{t}` is where a seed puts something of its own."""
TEXT_FIELDS = (
    "name",
    "status",
    "volume_id",
    "snapshot_id",
    "availability_zone",
    "container",
    "description",
    "fail_reason",
)
COLUMNS = (
    "backup_name",
    "backup_status",
    "volume_id",
    "volume_snapshot_id",
    "availability_zone",
    "container",
    "description",
)
STEERS = {
    *map(chr, range(32)),
    *map(chr, range(0x7F, 0xA0)),
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
}


def hostile_strings(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    shapes = itertools.cycle([shape for group in SEEDS.values() for shape in group])
    middle = ("backup_history", "etc/passwd", "x", "1+1", "a" * 200, "ü", "😀", "%s%n", "{0}", "${jndi:x}")
    return [next(shapes).replace("{t}", rng.choice(middle) + rng.choice(("", str(number)))) for number in range(count)]


def test_a_hostile_string_is_kept_as_it_was_sent_and_does_nothing(sink: Sink, tmp_path: Path) -> None:
    """2,500 strings, 8 in the text fields of each record."""
    strings = hostile_strings(2_500, seed=22)
    by_backup: dict[str, dict[str, str]] = {}
    records_ = {record["backup_id"]: record for record in SOUND}
    texts = []
    for start, record in zip(range(0, len(strings), len(TEXT_FIELDS)), records_.values(), strict=False):
        said = dict(zip(TEXT_FIELDS, strings[start : start + len(TEXT_FIELDS)], strict=False))
        by_backup[record["backup_id"]] = said
        texts.append(json.dumps({**record, "backup": {**record["backup"], **said}}))
    schema = sink.rows("duckdb_columns()")
    landing = {path for path in tmp_path.rglob("*") if path.is_file()}

    seen = sink.sync(texts)

    assert seen.status.is_proven, seen.reason
    assert not sink.rows("rejected_records")
    stored = {row["backup_id"]: row for row in sink.rows(BACKUPS)}
    columns = dict(zip(TEXT_FIELDS, (*COLUMNS, "fail_reason"), strict=True))
    for backup_id, said in by_backup.items():
        assert {name: stored[backup_id][columns[name]] for name in said} == {
            name: storable(text) for name, text in said.items()
        }
    assert sink.rows("duckdb_columns()") == schema
    assert set(metadata.tables) <= {row["table_name"] for row in schema}
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - landing
    assert len(new) == 1, "one landing file, and nothing outside its folder"
    assert_shown_harmlessly(sink.warehouse.query(f"SELECT {', '.join(COLUMNS)}, fail_reason FROM {BACKUPS}"))


def assert_shown_harmlessly(answer: pa.Table) -> None:
    for width, is_terminal in ((4_000, False), (30, True)):
        out = io.StringIO()
        console = Console(file=out, width=width, force_terminal=is_terminal, color_system=None)
        print_answer(console, answer)
        shown = re.sub("\x1b\\[[0-9;]*m", "", out.getvalue()) if is_terminal else out.getvalue()
        assert not (set(shown) - {"\n"}) & STEERS
    exported = list(csv.reader(io.StringIO(to_csv(answer).decode(), newline="")))[1:]
    for cells, row in zip(exported, rows_of(answer), strict=True):
        for cell, value in zip(cells, row, strict=True):
            assert not cell.startswith(FORMULA_STARTS)
            assert cell.removeprefix("'") == (value or "").removeprefix("'")


@pytest.mark.parametrize("field", ["id", "backup_id", "to_project_id", "created_at", "updated_at"])
def test_a_hostile_string_in_an_id_or_a_time_is_set_aside(sink: Sink, field: str) -> None:
    strings = [text for text in hostile_strings(300, seed=5) if text.strip()]
    odd = [
        {**record, field: f"{text} {number}"} for number, (record, text) in enumerate(zip(SOUND, strings, strict=False))
    ]
    texts = [json.dumps(record) for record in odd]
    healthy = [json.dumps(record) for record in SOUND[len(strings) : len(strings) + 20]]
    seen = sink.sync(sorted([*texts, *healthy], key=lambda text: json.loads(text)["id"]))
    assert seen.status.is_proven, seen.reason
    assert {row["raw_json"] for row in sink.rows("rejected_records")} == {
        storable(text) for text in texts if readable(text) is None
    }
    kept = {json.loads(text)["id"] for text in [*texts, *healthy] if readable(text) is not None}
    assert {row["share_id"] for row in sink.rows(SHARES)} == kept
    assert not [row for row in sink.rows("rejected_records") if set(row["reason"]) & STEERS]


def hostile_ids() -> list[str]:
    """500 that are no project ids; commas and blanks around are taken away by the setting before anything is read."""
    return [f"a{text.replace(',', '')}b" for text in hostile_strings(500, seed=8)]


def test_500_hostile_project_ids_send_no_request_and_write_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.connect import open_clouds

    monkeypatch.chdir(tmp_path)
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"shared": [], "count": 0})

    base = {"vbs_endpoint": "https://vbs.example.com", "vbs_region": "r1", "vbs_token": TOKEN}
    for hostile in hostile_ids():
        settings = isolated_settings(**base, vbs_projects=hostile, data_dir=tmp_path / "data")
        with (
            pytest.raises(ConfigurationError) as refused,
            open_clouds(settings, transport=httpx.MockTransport(answer)),
        ):
            pass
        assert not set(str(refused.value)) & STEERS, hostile
        assert TOKEN not in str(refused.value)
    assert sent == []
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["vbs_region", "vbs_endpoint"])
def test_hostile_settings_are_refused_before_any_request(name: str) -> None:
    for hostile in hostile_strings(200, seed=9):
        values = {
            "vbs_endpoint": "https://vbs.example.com",
            "vbs_region": "r1",
            "vbs_token": TOKEN,
            name: hostile + "\n/",
        }
        with pytest.raises(ValueError if name == "vbs_region" else ConfigurationError) as refused:
            isolated_settings(**values).endpoint()
        assert TOKEN not in str(refused.value)


def test_no_key_material_is_in_what_was_read_here(sink: Sink) -> None:
    everything = [json.dumps(record) for record in WORLD.listing(0, OWN, Direction.OUTGOING)]
    texts = [text for text in everything if KEY_MATERIAL_MARK in text][:50]
    assert texts
    sink.sync(texts)
    stored = [repr(sink.rows(table)) for table in metadata.tables]
    files = [path.read_bytes() for path in sink.folder.rglob("*") if path.is_file()]
    assert not [text for text in stored if KEY_MATERIAL_MARK in text]
    assert not [content for content in files if KEY_MATERIAL_MARK.encode() in content]
