"""Settings: every one is read, and a bad one is named in a sentence that holds no secret.

Not here: what a token must look like (test_auth.py), what the settings do (the tests of each module).
"""

import random
import re
import string
import traceback

import pytest

from pipelines.errors import ConfigurationError
from pipelines.observation import PROJECT_ID, Direction, Listing, listings
from pipelines.settings import Settings, load_settings, misspelt_settings, settings_table, usable_settings

P1 = "0123456789abcdef0123456789abcdef"
P2 = "fedcba9876543210fedcba9876543210"
TOKEN_CANARY = "gAAAAcanaryTokenValue"
PASSWORD_CANARY = "canary-Password-1"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and an environment without any of our settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def refusal(action, *args) -> str:
    """The text of the error; also checks that it is one line."""
    with pytest.raises(ConfigurationError) as caught:
        action(*args)
    text = str(caught.value)
    assert text.isprintable()
    return text


# Where a value comes from


def test_without_any_variable_the_defaults_hold():
    settings = load_settings()
    assert settings.vbs_endpoint is settings.vbs_token is settings.vbs_token_file is settings.warehouse_url is None
    assert (settings.vbs_region, settings.vbs_page_size, settings.vbs_concurrency) == ("default", 1000, 4)
    assert (settings.vbs_connect_timeout, settings.vbs_read_timeout, settings.vbs_request_deadline) == (10, 30, 60)
    assert (settings.warehouse_wait, settings.sync_hour) == (60, 3)


def test_a_variable_of_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("VBS_PAGE_SIZE", "250")
    assert load_settings().vbs_page_size == 250


def test_a_dotenv_file_in_the_working_directory_is_read(folder):
    (folder / ".env").write_text("VBS_REGION=eu-nl\nVBS_TOKEN='abc'\nUNRELATED=1\n")
    settings = load_settings()
    assert settings.vbs_region == "eu-nl"
    assert settings.vbs_token.get_secret_value() == "abc"


def test_the_environment_wins_over_the_dotenv_file(folder, monkeypatch):
    (folder / ".env").write_text("VBS_REGION=eu-nl\n")
    monkeypatch.setenv("VBS_REGION", "eu-de")
    assert load_settings().vbs_region == "eu-de"


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_an_empty_value_counts_as_unset(name, monkeypatch):
    monkeypatch.setenv(name, "")
    assert load_settings() == Settings.model_construct()


def test_a_dotenv_file_that_is_not_utf8_is_refused_without_its_content(folder):
    (folder / ".env").write_bytes(b"VBS_TOKEN=" + TOKEN_CANARY.encode() + b"\xff\n")
    with pytest.raises(ConfigurationError, match=r"\.env") as caught:
        load_settings()
    assert TOKEN_CANARY not in all_texts(caught.value)


def test_a_line_of_a_dotenv_file_that_cannot_be_read_is_refused_by_its_number_without_its_content(folder, capfd):
    (folder / ".env").write_text(f'VBS_REGION=r1\n\n# the token\nVBS_TOKEN="{TOKEN_CANARY}\nVBS_PROJECTS=a\n')
    with pytest.raises(ConfigurationError, match=r"^\.env, line 4, cannot be read: write it as NAME=value") as caught:
        load_settings()
    assert TOKEN_CANARY not in all_texts(caught.value)
    settings, complaints = usable_settings()
    assert settings.vbs_region == "r1", "the lines that can be read count"
    assert len(complaints) == 1
    assert capfd.readouterr() == ("", "")


def test_bad_values_can_be_told_all_at_once_and_taken_as_unset(folder, monkeypatch):
    (folder / ".env").write_bytes(b"VBS_TOKEN=\xff")
    for name, value in {"VBS_PAGE_SIZE": "5", "VBS_REGION": "../up", "SYNC_HOUR": "4"}.items():
        monkeypatch.setenv(name, value)

    settings, complaints = usable_settings()

    assert [text.split(" is ")[0] for text in complaints] == [".env", "VBS_REGION", "VBS_PAGE_SIZE"]
    assert (settings.vbs_page_size, settings.vbs_region, settings.sync_hour) == (1000, "default", 4)


def test_the_folders_default_to_places_in_the_data_folder(folder, monkeypatch):
    monkeypatch.setenv("DATA_DIR", "var")
    settings = load_settings()
    assert str(settings.landing_folder) == "var/landing"
    assert settings.warehouse_address() == f"duckdb:///{folder}/var/warehouse.duckdb"


def test_the_landing_and_the_warehouse_can_be_put_elsewhere(monkeypatch):
    monkeypatch.setenv("LANDING_DIR", "/srv/landing")
    monkeypatch.setenv("WAREHOUSE_URL", "duckdb:////srv/w.duckdb")
    settings = load_settings()
    assert str(settings.landing_folder) == "/srv/landing"
    assert settings.warehouse_address() == "duckdb:////srv/w.duckdb"


# Bad values

BAD_VALUES = [
    *(("VBS_PAGE_SIZE", value) for value in ("0", "1001", "-1", "ten", "1.5", "1e3", "0x10", " ")),
    *(("VBS_CONCURRENCY", value) for value in ("0", "65", "many")),
    *(("VBS_CONNECT_TIMEOUT", value) for value in ("0", "-1", "601", "nan", "inf", "-inf", "1e400", "fast")),
    *(("VBS_READ_TIMEOUT", value) for value in ("0", "601", "nan", "none")),
    *(("VBS_REQUEST_DEADLINE", value) for value in ("0", "3601", "nan")),
    *(("WAREHOUSE_WAIT", value) for value in ("-1", "3601", "nan")),
    *(("SYNC_HOUR", value) for value in ("-1", "24", "3:00", "noon")),
    *(("VBS_REGION", value) for value in ("..", ".", "/", "a/b", "a b", "a\n", "-a", "ü", "a" * 65, "a\x1b", "%2e")),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_bad_value_is_refused_by_the_name_of_its_variable(name, value, monkeypatch):
    monkeypatch.setenv("VBS_TOKEN", TOKEN_CANARY)
    monkeypatch.setenv("WAREHOUSE_URL", f"postgresql://loader:{PASSWORD_CANARY}@db/history")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name} is not usable: ")
    assert str(caught.value).isprintable()
    assert not {TOKEN_CANARY, PASSWORD_CANARY} & set(re.findall(r"[\w-]+", all_texts(caught.value)))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("VBS_REGION", "a/b", "letters, digits, - _ and . are expected, at most 64, a letter or digit first"),
        ("LANDING_KEEP_DAYS", "0", "at least 1 is expected"),
        ("VBS_CONCURRENCY", "65", "at most 64 is expected"),
        ("VBS_READ_TIMEOUT", "0", "more than 0 is expected"),
        ("VBS_READ_TIMEOUT", "fast", "a number is expected"),
        ("VBS_READ_TIMEOUT", "nan", "a number is expected"),
        ("SYNC_HOUR", "3:00", "a whole number is expected"),
        ("DAILY_REPORT", "perhaps", "true or false is expected"),
    ],
)
def test_a_bad_value_is_told_with_what_is_expected(monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    assert refusal(load_settings) == f"{name} is not usable: {expected}"


def test_what_begins_as_a_setting_and_is_none_is_told_with_the_one_that_may_be_meant(folder, monkeypatch):
    assert misspelt_settings() == []
    (folder / ".env").write_text("VBS_PROJCETS=a\nVBS_REGION=r1\nOTHER=1\nWAREHOSE_URL=x\nXDG_DATA_DIRS=/usr\n")
    monkeypatch.setenv("VBS_\x1bHOSTILE", "1")
    monkeypatch.setenv("vbs_page_size", "50")
    assert misspelt_settings() == [
        r"VBS_\x1bHOSTILE is no setting",
        "VBS_PROJCETS is no setting: VBS_PROJECTS may be meant",
        "WAREHOSE_URL is no setting: WAREHOUSE_URL may be meant",
    ]


def test_the_secrets_are_in_no_text_of_the_settings(monkeypatch):
    monkeypatch.setenv("VBS_TOKEN", TOKEN_CANARY)
    monkeypatch.setenv("WAREHOUSE_URL", f"postgresql://loader:{PASSWORD_CANARY}@db/history")
    settings = load_settings()
    shown = f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()} {settings_table()}"
    assert TOKEN_CANARY not in shown
    assert PASSWORD_CANARY not in shown


def all_texts(error: BaseException) -> str:
    """Everything about the error that could be printed, the errors that it hides among it."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


# The endpoint


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://vbs.eu-de.example.com", "https://vbs.eu-de.example.com"),
        ("https://vbs.eu-de.example.com/", "https://vbs.eu-de.example.com"),
        ("https://vbs.eu-de.example.com/v2", "https://vbs.eu-de.example.com"),
        ("https://vbs.eu-de.example.com/v2/", "https://vbs.eu-de.example.com"),
        ("https://vbs.eu-de.example.com//v2//", "https://vbs.eu-de.example.com"),
        ("https://gateway.example.com:8443/vbs/v2", "https://gateway.example.com:8443/vbs"),
        ("  https://vbs.example.com \n", "https://vbs.example.com"),
        ("HTTPS://vbs.example.com", "https://vbs.example.com"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://127.0.0.1:8777", "http://127.0.0.1:8777"),
        ("http://localhost:8777/v2", "http://localhost:8777"),
        ("http://[::1]:8777", "http://[::1]:8777"),
    ],
)
def test_the_endpoint_is_the_base_url_without_slash_and_version(given, expected):
    assert load_settings(vbs_endpoint=given).endpoint() == expected


@pytest.mark.parametrize(
    "bad",
    [
        "vbs.example.com",
        "//vbs.example.com",
        "vbs.example.com:443/v2",
        "ftp://vbs.example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///v2",
        "https://user:secret@vbs.example.com",
        "https://user@vbs.example.com",
        "https://@vbs.example.com",
        "https://vbs.example.com\\@evil.example",
        "https://vbs.example.com\\.evil.example",
        "https://vbs.example.com?project=1",
        "https://vbs.example.com/#top",
        "https://vbs.example.com:port",
        "https://vbs.example.com:99999",
        "https://[::1",
        "https://[v1.x]",
        "https://vbs.example.com:",
        "https://vbs example.com",
        "https://vbs.example.com/a b",
        "https://vbs.example.com/\tv2",
        "https://vbs.exa\nmple.com",
        "https://vbs.example.com\x00",
        "https://vbs.example.com/\x1b[2J",
        "https://vbs.exämple.com",
        "https://vbs.example.com/ü",
        "https://vbs.example\u3002com",
        "https://{region}.example.com",
        "https://*.example.com",
        "https://vbs..example.com",
        "http://vbs.example.com",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "http://169.254.169.254",
        "http://10.0.0.1",
        "http://0.0.0.0",
        f"https://vbs.example.com/v2/{P1}",
        f"https://vbs.example.com/{P1}/",
        f"https://vbs.example.com/v2/{P1}/os-vendor-backup-sharing",
    ],
)
def test_another_endpoint_than_a_plain_base_url_is_refused(bad):
    text = refusal(load_settings(vbs_endpoint=bad).endpoint)
    assert text.startswith("VBS_ENDPOINT ")
    assert "secret" not in text


def test_a_missing_endpoint_is_asked_for():
    assert refusal(load_settings().endpoint).startswith("VBS_ENDPOINT is not set")


def test_http_is_refused_because_of_the_token():
    text = refusal(load_settings(vbs_endpoint="http://vbs.example.com").endpoint)
    assert "https://" in text
    assert "token" in text


# Projects


def test_project_ids_are_read_in_order_with_blanks_around_them():
    assert load_settings(vbs_projects=f" {P2}, {P1} ,\n").project_ids() == (P2, P1)


@pytest.mark.parametrize("empty", ["", " ", ",", " , ,"])
def test_no_project_at_all_is_refused(empty):
    assert refusal(load_settings(vbs_projects=empty).project_ids).startswith("VBS_PROJECTS is not set")


def hostile_ids(count: int) -> list[str]:
    rng = random.Random(5)
    spoiled = [
        lambda pid, at: (
            pid[:at] + rng.choice(["..", "../", "/", "\\", "%2e", "%2F", "?", "#", ";", "'", '"', "`", "$("])
        ),
        lambda pid, at: pid[:at] + rng.choice("/.\\?#%&;:@=+*'\"<>|{}[]()$!~^`_-") + pid[at + 1 :],
        lambda pid, at: pid[:at] + rng.choice("\x00\x07\x1b\x7f\t\n\r \u2028\u202e\u200b\ufeff\xa0") + pid[at + 1 :],
        lambda pid, at: pid[:at] + rng.choice("٠٣९๒０𝟘²½") + pid[at + 1 :],
        lambda pid, at: pid[:at] + rng.choice("äéßſаеоⅰａ") + pid[at + 1 :],
        lambda pid, at: pid[:at] + rng.choice(string.ascii_uppercase) + pid[at + 1 :],
        lambda pid, at: pid[1:],
        lambda pid, at: pid + rng.choice(string.hexdigits[:16]),
        lambda pid, at: "".join(rng.choice(string.digits) for _ in range(32)),
        lambda pid, at: f"../../{pid}"[:32],
        lambda pid, at: f"{pid}/../{P1}",
        lambda pid, at: f"{pid}\n{P1}",
        lambda pid, at: pid * 2,
        lambda pid, at: f"{pid[:8]}-{pid[8:12]}-{pid[12:16]}-{pid[16:20]}-{pid[20:]}",
        lambda pid, at: "".join(rng.choice(string.punctuation.replace(",", "")) for _ in range(32)),
        lambda pid, at: pid[:16] + " " + pid[16:],
    ]
    pid = ["a" + "".join(rng.choice("0123456789abcdef") for _ in range(31)) for _ in range(count)]
    # The first and the last place stay, so that no blank of ours is at an end and stripped as the user's.
    return [spoiled[n % len(spoiled)](pid[n], rng.randrange(1, 31)) for n in range(count)]


def test_500_hostile_project_ids_are_refused_and_shown_harmlessly():
    ids = hostile_ids(500)
    assert len(set(ids)) > 490
    for hostile in ids:
        for configured in (hostile, f"{P1},{hostile}", f"{hostile},{P1}"):
            text = refusal(load_settings(vbs_projects=configured).project_ids)
            assert text.startswith("VBS_PROJECTS holds "), hostile
            assert len(text) < 400


@pytest.mark.parametrize("end", ["\n", "\r\n", "\t", " ", "\v", "\x1f", "\x85", "\xa0", "\u2028"])
def test_white_space_at_the_end_never_becomes_part_of_a_project_id(end):
    """The pattern takes none, and what stands between two commas is stripped first."""
    assert not re.fullmatch(PROJECT_ID, P1 + end)
    assert load_settings(vbs_projects=P1 + end).project_ids() == (P1,)


def test_both_directions_of_every_project_are_listed():
    assert listings("eu-de", (P1, P2)) == [
        Listing("eu-de", P1, Direction.OUTGOING),
        Listing("eu-de", P1, Direction.INCOMING),
        Listing("eu-de", P2, Direction.OUTGOING),
        Listing("eu-de", P2, Direction.INCOMING),
    ]


def test_a_project_named_twice_is_refused():
    ids = load_settings(vbs_projects=f"{P1},{P2},{P1}").project_ids()
    assert refusal(listings, "eu-de", ids) == f"VBS_PROJECTS names {P1} twice: name every project once"


# The table in README.md


def test_the_table_of_settings_has_one_line_for_each_variable():
    lines = settings_table().splitlines()
    assert len(lines) == 2 + len(Settings.model_fields)
    assert "| `VBS_PAGE_SIZE` | `1000` | Shares asked for per request (`limit`, 20 to 1000). |" in lines
