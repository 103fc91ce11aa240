"""The static token: from one place, checked before anything could quote it.

Not here: that the token is sent and never shown afterwards (test_client.py), logins (test_login.py).
"""

import os
import random

import pytest

from pipelines.auth import StaticToken, accounts
from pipelines.errors import ConfigurationError
from pipelines.observation import Direction, Listing
from pipelines.settings import Settings, load_settings
from tests.fakes import all_texts

TOKEN = "gAAAAABcanary_-=+/.Token"
PROJECT = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and an environment without any of our settings."""
    monkeypatch.chdir(tmp_path)
    for name in [*map(str.upper, Settings.model_fields), *(name for name in os.environ if name.startswith("OS_"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VBS_ENDPOINT", "https://vbs.example.com/v2")
    monkeypatch.setenv("VBS_PROJECTS", PROJECT)
    return tmp_path


@pytest.fixture
def token_file(folder, monkeypatch):
    path = folder / "token"
    monkeypatch.setenv("VBS_TOKEN_FILE", str(path))
    return path


def write(path, content: bytes, mode: int = 0o600):
    path.write_bytes(content)
    path.chmod(mode)


def configured_token() -> str:
    (account,) = accounts(load_settings())
    return account.tokens.token(PROJECT)


def refusal() -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        accounts(load_settings())
    assert str(caught.value).isprintable()
    return caught.value


# Where it comes from


def test_the_token_is_taken_from_the_variable(monkeypatch):
    monkeypatch.setenv("VBS_TOKEN", TOKEN)
    assert configured_token() == TOKEN


def test_the_token_is_taken_from_the_file(token_file):
    write(token_file, TOKEN.encode())
    assert configured_token() == TOKEN


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_one_newline_at_the_end_of_the_file_is_not_part_of_the_token(end, token_file):
    write(token_file, TOKEN.encode() + end)
    assert configured_token() == TOKEN


def test_a_token_in_both_places_is_refused(token_file, monkeypatch):
    write(token_file, TOKEN.encode())
    monkeypatch.setenv("VBS_TOKEN", TOKEN)
    assert str(refusal()) == "VBS_TOKEN and VBS_TOKEN_FILE are both set: set one of them"


def test_no_token_at_all_is_refused_and_both_places_are_named():
    assert "VBS_TOKEN or a file named by VBS_TOKEN_FILE" in str(refusal())


# Files that cannot be used


def test_a_missing_file_is_refused(token_file):
    assert str(refusal()) == "VBS_TOKEN_FILE cannot be read: no such file or directory"


def test_a_folder_is_refused(token_file):
    token_file.mkdir(mode=0o700)
    assert str(refusal()) == "VBS_TOKEN_FILE cannot be read: is a directory"


def test_a_loop_of_links_is_refused(token_file):
    token_file.symlink_to(token_file)
    assert str(refusal()).startswith("VBS_TOKEN_FILE cannot be read: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(token_file):
    write(token_file, TOKEN.encode(), 0o000)
    assert str(refusal()) == "VBS_TOKEN_FILE cannot be read: permission denied"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o777])
def test_a_file_that_everybody_can_read_is_refused_with_the_remedy(mode, token_file):
    write(token_file, TOKEN.encode(), mode)
    assert "chmod 600" in str(refusal())
    assert TOKEN not in all_texts(refusal())


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_file_for_the_owner_or_the_group_is_taken(mode, token_file):
    write(token_file, TOKEN.encode(), mode)
    assert configured_token() == TOKEN


# Tokens that cannot be sent

_AT = len(TOKEN) // 2
_LONGEST = "t" * 32_768

MALFORMED = [
    TOKEN[:_AT] + spoiler + TOKEN[_AT:] for spoiler in "\n\r\t \v\f\x01\x1b\x7f\x85\xa0\xadéßŁ€\u200b\u2028\u202e中🔑"
]
MALFORMED += [spoiler + TOKEN for spoiler in ("\n", " ", "\ufeff", "\r\n")]
MALFORMED += [TOKEN + spoiler for spoiler in (" ", "\t", "\n\n", "\r\nX-Evil: 1", "\x1f", "…")]
MALFORMED += [_LONGEST + "t"]


def test_there_are_more_than_thirty_malformed_tokens():
    assert len(set(MALFORMED)) > 30


@pytest.mark.parametrize("token", MALFORMED, ids=lambda token: ascii(token)[:40])
def test_no_text_shows_a_malformed_token_of_the_variable(token, monkeypatch):
    monkeypatch.setenv("VBS_TOKEN", token)
    assert_refused_without_showing(token, "VBS_TOKEN")


@pytest.mark.parametrize("token", MALFORMED, ids=lambda token: ascii(token)[:40])
def test_no_text_shows_a_malformed_token_of_the_file(token, token_file):
    write(token_file, token.encode())
    assert_refused_without_showing(token, "VBS_TOKEN_FILE")


def assert_refused_without_showing(token: str, variable: str) -> None:
    error = refusal()
    assert str(error) == (f"{variable} must hold one token: printable ASCII characters without blanks or line breaks")
    texts = all_texts(error)
    assert not any(piece in texts for piece in (token, TOKEN[:_AT], TOKEN[_AT:], _LONGEST[:40]))


@pytest.mark.parametrize("token", [" ", "\t"])
def test_a_blank_token_is_refused(token, monkeypatch):
    monkeypatch.setenv("VBS_TOKEN", token)
    refusal()


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b" \n"])
def test_a_file_without_a_token_is_refused(content, token_file):
    write(token_file, content)
    refusal()


@pytest.mark.parametrize("content", [TOKEN.encode() + b"\xff", b"\xfe\xff" + TOKEN.encode("utf-16-be"), b"\x00" * 40])
def test_a_file_that_is_no_text_is_refused_without_showing_it(content, token_file):
    write(token_file, content)
    assert TOKEN not in all_texts(refusal())


def test_an_empty_variable_counts_as_unset(token_file, monkeypatch):
    write(token_file, TOKEN.encode())
    monkeypatch.setenv("VBS_TOKEN", "")
    assert configured_token() == TOKEN


def test_the_longest_token_and_every_printable_character_are_taken(monkeypatch):
    characters = [chr(code) for code in range(0x21, 0x7F)]
    random.Random(1).shuffle(characters)
    for token in (_LONGEST, "".join(characters)):
        monkeypatch.setenv("VBS_TOKEN", token)
        assert configured_token() == token


# What holds it


def test_a_static_token_is_one_account_with_endpoint_region_and_projects_as_set(monkeypatch):
    monkeypatch.setenv("VBS_TOKEN", TOKEN)
    monkeypatch.setenv("VBS_REGION", "eu-de")
    (account,) = accounts(load_settings())
    assert (account.region, account.endpoint, account.problem) == ("eu-de", "https://vbs.example.com", "")
    assert account.listings() == [Listing("eu-de", PROJECT, way) for way in Direction]
    assert TOKEN not in repr(account)


@pytest.mark.parametrize("pattern", ["*", "0123*", "?" * 32, f"!{PROJECT}"])
def test_a_pattern_is_refused_where_nobody_can_say_what_it_means(pattern, monkeypatch):
    monkeypatch.setenv("VBS_TOKEN", TOKEN)
    monkeypatch.setenv("VBS_PROJECTS", pattern)
    assert str(refusal()).startswith(f"VBS_PROJECTS holds {pattern!r}, a pattern, and what a static token can see")


@pytest.mark.parametrize("variable", ["VBS_TOKEN", "VBS_TOKEN_FILE"])
def test_a_token_and_a_cloud_at_once_are_refused(variable, monkeypatch):
    monkeypatch.setenv(variable, TOKEN)
    monkeypatch.setenv("VBS_CLOUDS", "otc")
    assert str(refusal()) == "VBS_CLOUDS and VBS_TOKEN or VBS_TOKEN_FILE are both set: set one of them"


def test_a_token_wins_over_the_cloud_of_the_environment(monkeypatch):
    monkeypatch.setenv("VBS_TOKEN", TOKEN)
    monkeypatch.setenv("OS_CLOUD", "otc")
    assert configured_token() == TOKEN


def test_a_static_token_cannot_be_renewed():
    assert StaticToken(TOKEN).renewed(PROJECT, TOKEN) is None


def test_a_static_token_is_the_same_for_every_project():
    source = StaticToken(TOKEN)
    assert {source.token(PROJECT), source.token("f" * 32)} == {TOKEN}


def test_a_static_token_does_not_show_itself():
    source = StaticToken(TOKEN)
    assert TOKEN not in f"{source} {source!r} {[source]}"
    assert repr(source) == "StaticToken(...)"
