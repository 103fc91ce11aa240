"""The daily report: what it says on a diary worked out by hand, that nothing in it can do harm, how a browser shows it.

The diary is the one of test_reports.py: figures of 5 March, compared with 4 March; 3 March is a gap, on 1 March nobody
looked.
Not here: that the job writes the page (test_definitions.py), the questions on an empty warehouse (test_sql.py).
"""

import re
import stat
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.page.charts import thumbnail
from pipelines.page.says import Page
from pipelines.page.words import Labels
from pipelines.page.written import make_page, publish_page
from pipelines.publish import writing
from pipelines.reports import load_report, run_report
from pipelines.warehouse import Warehouse
from tests.conftest import CHROMIUM_FLAGS
from tests.oracle import (
    B1,
    IN,
    UNPROVEN,
    day,
    make_backup,
    make_id,
    make_observation,
    make_share,
    make_warehouse,
    record,
)
from tests.oracle import make_page as make_api_page
from tests.test_reports import DIARY, NOW

HOSTILE = {
    "script": ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    "attribute": ('"><img src=x onerror=alert(1)>', "&#34;&gt;&lt;img src=x onerror=alert(1)&gt;"),
    "style": ("</style></td></table>", "&lt;/style&gt;&lt;/td&gt;&lt;/table&gt;"),
    "template": ("{{ 7 * 7 }}", "{{ 7 * 7 }}"),
    "formula": ("=HYPERLINK(1)", "=HYPERLINK(1)"),
    "terminal": ("red \x1b[31m", r"red \x1b[31m"),
    "right to left": ("exe.\u202egnp", r"exe.\u202egnp"),
    "isolate": ("a\u2066b\u2069", r"a\u2066b\u2069"),
    "arabic": ("نسخة", "نسخة"),
}
"""Names that strangers gave their backups, and how they stand in the page."""


def record_diary(warehouse: Warehouse, days: int = len(DIARY)) -> None:
    for observation, shares in DIARY[:days]:
        record(warehouse, observation, make_api_page(*shares))


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def made(request: pytest.FixtureRequest) -> Iterator[tuple[Page, str]]:
    if request.param == "duckdb":
        warehouse = make_warehouse()
        record_diary(warehouse)
        yield make_page(warehouse, NOW)
        warehouse.close()
        return
    server = request.getfixturevalue("postgres")
    address = server.create_database()
    with writing(address) as warehouse:
        record_diary(warehouse)
        yield make_page(warehouse, NOW)
    server.drop_database(address)


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    warehouse = make_warehouse()
    yield warehouse
    warehouse.close()


# --- what it says -----------------------------------------------------------------------------------------------------


def test_the_headline_is_the_last_day_compared_with_the_day_proven_before_it(made):
    page, _ = made
    assert (str(page.day), str(page.compared), page.verdict) == (
        "2026-03-05",
        "2026-03-04",
        "All 2 listings are proven.",
    )
    assert [(each.name, each.value, each.change) for each in page.figures] == [
        ("Active shares", "5", "+3"),
        ("Shared backups", "4", "+2"),
        ("GB readable by others", "190", "+50"),
        ("Recipients", "2", "no change"),
        ("Open findings", "3", "2 new, 0 resolved"),
        ("Listings proven", "2 of 2", "no change"),
    ]
    assert [(each.rule, each.is_new, each.backup, each.giver) for each in page.findings.rows] == [
        ("first ever recipient", False, "nightly", "a1a1a1a1…"),
        ("failed backup shared", True, "nightly", "a1a1a1a1…"),
        ("regranted share", True, "nightly", "a1a1a1a1…"),
    ]


def test_a_day_without_proof_has_no_value_and_no_day_is_left_out(made):
    page, _ = made
    assert [(f"{each.day:%m-%d}", each.direction, each.shares, each.gb, each.is_whole) for each in page.trend] == [
        ("02-28", "received", 1, 40, True),
        ("02-28", "given", 1, 40, True),
        ("03-01", "received", None, None, False),
        ("03-01", "given", None, None, False),
        ("03-02", "received", 2, 140, True),
        ("03-02", "given", 3, 140, True),
        ("03-03", "received", None, None, False),
        ("03-03", "given", None, None, False),
        ("03-04", "received", 1, 40, True),
        ("03-04", "given", 2, 140, True),
        ("03-05", "received", 3, 140, True),
        ("03-05", "given", 4, 190, True),
    ]
    assert [
        (f"{each.day:%m-%d}", each.granted, each.changed, each.withdrawn, each.found, each.is_whole)
        for each in page.changes
    ] == [
        ("02-28", 0, 0, 0, 1, True),
        ("03-01", 0, 0, 0, 0, False),
        ("03-02", 2, 0, 0, 0, True),
        ("03-03", 0, 0, 0, 0, False),
        ("03-04", 0, 1, 1, 0, True),
        ("03-05", 3, 0, 0, 0, True),
    ]
    calendar = dict(page.coverage.rows.rows)
    assert calendar["what a1a1a1a1… gives"] == ["proven", "proven", "partial", "proven", "not observed", "proven"]
    assert calendar["what b2b2b2b2… receives"] == ["proven", "proven", "failed", "proven", "not observed", "proven"]


def test_who_shares_with_whom_and_what_came_that_day(made):
    page, _ = made
    assert (page.matrix.givers, page.matrix.recipients) == (["a1a1a1a1…"], ["b2b2b2b2…", "c3c3c3c3…"])
    assert [(cell.shares, cell.gb) for cell in page.matrix.cells[0]] == [(4, 190), (1, 100)]
    assert [(event["what"], event["recipient"], event["backup"], event["gb"]) for event in page.events.rows] == [
        ("granted", "b2b2b2b2…", "nightly", "100"),
        ("granted", "b2b2b2b2…", "nightly", "50"),
        ("granted", "b2b2b2b2…", "", "not known"),
    ]


def test_what_is_not_known_is_told(made):
    page, _ = made
    assert page.caveats.rows == [
        "Not read: 1 record of what b2b2b2b2… receives; a share that was known stays as it was (view quarantine).",
        "The size of 1 backup is not known: GB are at least what is shown.",
        "There is no sharing policy: what nobody allowed is not found.",
    ]


def test_a_day_on_which_nothing_was_proven_shows_what_was_known_and_says_so(warehouse):
    record_diary(warehouse, 6)
    page, html = make_page(warehouse, day(3, 12))
    assert page.verdict == "No listing is proven on this day. All figures are of earlier days."
    assert [(each.value, each.change) for each in page.figures[:3]] == [
        ("3", "no change"),
        ("2", "no change"),
        ("140", "no change"),
    ]
    assert page.caveats.rows[:2] == [
        "Not proven: what a1a1a1a1… gives (incomplete: rows are missing); "
        "the figures hold what was proven 2026-03-02 06:00 UTC.",
        "Not proven: what b2b2b2b2… receives (failed: 503); the figures hold what was proven 2026-03-02 06:00 UTC.",
    ]
    assert "torn" in html


def test_a_sync_that_is_missing_is_told(warehouse):
    record_diary(warehouse)
    page, _ = make_page(warehouse, day(8))
    assert page.caveats.rows[0] == "Nothing was observed since 2026-03-05 06:00 UTC, 3 days ago: a sync is missing."


def test_withdrawals_that_are_held_or_not_confirmed_are_told(warehouse):
    held = {"absent_count": 5, "held_count": 3, "reason": "3 of 5 shares are gone at once"}
    record(warehouse, make_observation(day(1), **held), make_api_page(make_share(make_id("5", 1), B1)))
    page, _ = make_page(warehouse, day(1, 7))
    assert page.caveats.rows[:3] == [
        "Held: 3 withdrawals of what a1a1a1a1… gives; 3 of 5 shares are gone at once.",
        "Not recorded as withdrawn: 2 absent shares of what a1a1a1a1… gives; 3 of 5 shares are gone at once.",
        "This is the first observed day: there is nothing to compare it with.",
    ]


def test_before_anything_was_observed_the_page_says_so(warehouse):
    page, html = make_page(warehouse, NOW)
    assert page is None
    assert "Nothing was observed yet" in html


def test_projects_that_look_alike_are_told_apart():
    alike = ("a" * 31 + "1", "a" * 31 + "2")
    labels = Labels([*alike, "b" * 32, "c" * 32], {"b" * 32: "ours", "c" * 32: "ours"})
    assert len({labels(each) for each in labels.ids}) == 4
    assert labels("b" * 32).startswith("ours bbbb")


# --- nothing in it can do harm ----------------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def tags_of(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    return parser.tags


def record_hostile(warehouse: Warehouse) -> None:
    record(warehouse, make_observation(day(1)), make_api_page(make_share(make_id("5", 1), B1)))
    given = [
        make_share(make_id("5", number), make_id("b", number), backup=make_backup(make_id("b", number), name=name))
        for number, (name, _) in enumerate(HOSTILE.values(), 2)
    ]
    record(warehouse, make_observation(day(2)), make_api_page(make_share(make_id("5", 1), B1), *given))
    record(warehouse, make_observation(day(2, 8), IN, **UNPROVEN | {"reason": "<b>\u202eno</b>"}), make_api_page())


def test_what_strangers_wrote_is_shown_and_does_nothing(warehouse):
    record_hostile(warehouse)
    page, html = make_page(warehouse, day(2, 9))
    assert {event["backup"] for event in page.events.rows} == {name for name, _ in HOSTILE.values()}
    for _, shown in HOSTILE.values():
        assert f"<bdi>{shown}</bdi>" in html
    assert r"(incomplete: &lt;b&gt;\u202eno&lt;/b&gt;)" in html
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", html)
    tags = tags_of(html)
    assert not {tag for tag, _ in tags} & {"script", "img", "b", "iframe", "object", "link", "form", "foreignobject"}
    assert not [name for _, given in tags for name in given if name.startswith("on")]


def test_the_page_needs_nothing_from_anywhere(made):
    _, html = made
    links = {value for _, given in tags_of(html) for name, value in given.items() if name in ("href", "src")}
    assert all(link.startswith("#") for link in links)
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_the_thumbnail_is_small_enough_for_the_event_log(made):
    page, _ = made
    assert thumbnail(page).startswith("![shares given (blue) and received (orange)](data:image/png;base64,")
    assert len(thumbnail(page)) < 8_000


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_page_of_a_day_is_kept_and_the_latest_has_a_name_of_its_own(warehouse, tmp_path):
    record_diary(warehouse, 4)
    page, html = make_page(warehouse, day(2, 7))
    publish_page(tmp_path / "reports", page, html)
    record_diary(warehouse)
    page, html = make_page(warehouse, NOW)
    assert publish_page(tmp_path / "reports", page, html) == tmp_path / "reports" / "2026-03-05.html"
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {
        "2026-03-02.html",
        "2026-03-05.html",
        "latest.html",
    }
    assert (tmp_path / "reports" / "latest.html").read_text(encoding="utf-8") == html
    assert stat.S_IMODE((tmp_path / "reports").stat().st_mode) == 0o700, "it tells who can read what"


def test_the_command_writes_the_page_and_tells_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("WAREHOUSE_URL", raising=False)
    ask = CliRunner().invoke
    told = ask(main, ["daily-report"]).output
    assert "there is no warehouse yet" in told
    assert "run a sync, or `backup-shares migrate`, first" in told
    with writing(f"duckdb:///{tmp_path / 'data' / 'warehouse.duckdb'}") as warehouse:
        record_diary(warehouse, 1)
    assert ask(main, ["daily-report"]).output.strip() == str(tmp_path / "data" / "reports" / "2026-02-28.html")
    assert ask(main, ["daily-report", "--output", "page.html"]).output.strip() == "page.html"
    assert "Backup shares on <time" in (tmp_path / "page.html").read_text(encoding="utf-8")
    refused = ask(main, ["daily-report", "--output", "no/such/page.html"])
    assert (refused.exit_code, "cannot write" in refused.output) == (2, True)


# --- in a browser -----------------------------------------------------------------------------------------------------

LOWEST_CONTRAST = """() => {
  const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const [r, g, b, a = 1] = rgb(getComputedStyle(e).backgroundColor);
      if (a > 0) layers.push([r, g, b, a]);
      if (a === 1) break;
    }
    const over = (below, [r, g, b, a]) => [r, g, b].map((v, i) => v * a + below[i] * (1 - a));
    return layers.reverse().reduce(over, [0, 0, 0]);
  };
  let lowest = [99, ""];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join("").trim();
    if (!own || e.tagName === "STYLE") continue;
    const style = getComputedStyle(e);
    const text = light(rgb(e instanceof SVGElement ? style.fill : style.color)), under = light(behind(e));
    const ratio = (Math.max(text, under) + 0.05) / (Math.min(text, under) + 0.05);
    if (ratio < lowest[0]) lowest = [ratio, own];
  }
  return lowest;
}"""


@pytest.mark.slow
def test_a_browser_shows_the_page_light_dark_and_on_a_phone(warehouse, chromium, tmp_path):
    from playwright.sync_api import sync_playwright

    record_hostile(warehouse)
    page, html = make_page(warehouse, day(2, 9) + timedelta(minutes=1))
    file: Path = publish_page(tmp_path, page, html)
    answer = run_report(warehouse, load_report("active_shares"), {}, NOW)
    requests: list[str] = []
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=CHROMIUM_FLAGS)
        for width, scheme in ((1200, "light"), (1200, "dark"), (390, "light")):
            tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            tab.on("request", lambda request: requests.append(request.url))
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.on("dialog", lambda dialog: said.append(dialog.message))
            tab.goto(file.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            ratio, text = tab.evaluate(LOWEST_CONTRAST)
            assert ratio >= 4.5, f"{scheme}: {text!r} has a contrast of {ratio:.1f}"
            assert tab.locator("dl.figures .value").first.inner_text() == f"{answer.num_rows}"
            gb = sum({row["backup_id"]: row["size_gb"] for row in answer.to_pylist()}.values())
            assert tab.locator("dl.figures .value").nth(2).inner_text() == f"{gb:,}"
            assert tab.locator("figure svg").count() == 3
            assert tab.get_by_text("<script>alert(1)</script>").is_visible()
            tab.screenshot(path=tmp_path / f"{width}-{scheme}.png", full_page=True)
        assert tab.locator("html").get_attribute("lang") == "en"
        for landmark in ("banner", "navigation", "main", "contentinfo"):
            assert tab.get_by_role(landmark).count() == 1
        assert tab.locator("[role=img]").count() == 3
        assert tab.locator("table:not(:has(th[scope=col]))").count() == 0
        browser.close()
    assert requests == [file.as_uri()] * 3
    assert said == []
