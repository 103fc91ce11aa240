"""No key material gets through, however it is spelt; and nothing else changes.

Not here: that the client calls it before anything is kept (test_client.py).
"""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.normalize import normalize_pages
from pipelines.redact import blank_key_material
from pipelines.simulator.records import KEY_MATERIAL_MARK
from pipelines.simulator.world import World

CANARY = "CANARY0fVKvolume"
METADATA = {"DL": 2, "VK": CANARY, "CMKID": "", "bootable": True, "BT": "2", "CS": 642}


def page(*metadata, **fields) -> bytes:
    shared = [{"id": str(n), **fields, "backup": {"service_metadata": text}} for n, text in enumerate(metadata)]
    return json.dumps({"shared": shared}).encode()


def metadata_in(body: bytes, number: int = 0):
    return json.loads(body)["shared"][number]["backup"]["service_metadata"]


def all_texts(body: bytes):
    """The page as text, and every text in it at any depth of JSON inside JSON strings."""
    todo = [body.decode()]
    while todo:
        text = todo.pop()
        yield text
        try:
            value = json.loads(text)
        except ValueError:
            continue
        stack = [value]
        while stack:
            value = stack.pop()
            if isinstance(value, str):
                todo.append(value)
            elif isinstance(value, dict):
                stack += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                stack += value


def assert_gone(body: bytes, canary: str = CANARY) -> None:
    for text in all_texts(body):
        assert canary not in text


def escape_all(text: str, template: str = "\\u{:04x}") -> str:
    return "".join(template.format(ord(char)) for char in text)


# --- The plain spelling, which is all that was ever seen


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":"), (", ", ":  ")])
def test_in_the_plain_spelling_nothing_but_the_value_changes(separators):
    text = json.dumps(METADATA, separators=separators)
    before = page(text, "  " + text + "  ", None, text, name="生产 VK", note='VK and \\ "quotes"')
    assert before.count(CANARY.encode()) == 3
    assert blank_key_material(before) == before.replace(CANARY.encode(), b"")


def test_a_page_of_the_simulator_loses_its_keys_and_nothing_else():
    body = json.dumps({"shared": list(World(shares=200).shares(0))}).encode()
    start = body.index(KEY_MATERIAL_MARK.encode())
    canary = body[start : start + len(KEY_MATERIAL_MARK) + 56]
    assert body.count(KEY_MATERIAL_MARK.encode()) > 3
    blanked = blank_key_material(body)
    assert canary not in blanked
    assert_gone(blanked, KEY_MATERIAL_MARK)
    assert blanked == blank_key_material(blanked)
    assert len(blanked) == len(body) - body.count(KEY_MATERIAL_MARK.encode()) * len(canary)


@pytest.mark.parametrize(
    "body",
    [
        b'{"shared": []}',
        b' {"shared" :[\r\n{"a":"\\u00e9\\/", "b": 1.50, "c":"\xc3\xa9"}]}\n',
        page(json.dumps({"VK": "", "CS": 1})),
        page(json.dumps({"VK": ""}, separators=(",", ":"))),
        page(json.dumps({"VK": ""}), name="VK"),
        page("VK 12", "a VK: b", "{VK}", "[VK", '"VK"', "VK", None),
        page(json.dumps({"XVK": "keep", "VKX": "keep", "vk": "keep", "x": "VK", "y": ["VK"], "VT": "VK:1"})),
        page(json.dumps({"<": "\u0041\u0026"}).replace("<", "\\u003c")),
        page('{"VT": "\\u0041\\u0042", "x": {"y": ["\\u0043"]}}', "\\u0056\\u004b text"),
        b'{"shared": [{"VK":"","x": {"VK"  :  "" }}]}',
        b'{"sh\\u0061red": [{"n\\u0061me": "\\u0041", "VKS": "keep", "x": "VK"}]}',
    ],
)
def test_a_page_without_key_material_is_returned_byte_for_byte(body):
    json.loads(body)
    assert blank_key_material(body) == body


# --- Other spellings

INNER = json.dumps(METADATA)
SPELLINGS = {
    "blanks around the colon": INNER.replace('"VK": ', '"VK"  :\t\n '),
    "no blanks": json.dumps(METADATA, separators=(",", ":")),
    "indented": json.dumps(METADATA, indent=4),
    "key escaped": INNER.replace("VK", "\\u0056\\u004b", 1),
    "key half escaped": INNER.replace('"VK"', '"\\u0056K"'),
    "key half escaped, capital digit": INNER.replace('"VK"', '"V\\u004B"'),
    "value escaped": INNER.replace(CANARY, escape_all(CANARY)),
    "value with quotes": INNER.replace(CANARY, '\\"x\\"' + CANARY + "\\\\"),
    "value begins with an empty string": INNER.replace(CANARY, '\\"\\",' + CANARY),
    "value with slashes and lines": INNER.replace(CANARY, "a\\/b\\n" + CANARY),
    "value not ASCII": INNER.replace(CANARY, "é😀" + CANARY),
    "number": '{"VK": 77123456789, "CS": 1}',
    "fraction at the end": '{"CS":1,"VK":-77123456789.5e3}',
    "list": json.dumps({"VK": ["x", [CANARY]], "CS": 1}),
    "object": json.dumps({"VK": {"a": {"VK": CANARY, "]}": CANARY}}, "CS": 1}),
    "doubled": '{"VK": "' + CANARY + '", "VK": "", "VK": "' + CANARY + '"}',
    "deeper": json.dumps({"x": [{"VK": CANARY}], "VK": ""}),
    "in a list": json.dumps([METADATA, METADATA]),
    "beside a key that only ends so": json.dumps({"MYVK": "x", "VK": CANARY}),
    "nested twice": json.dumps({"x": INNER}),
    "nested three times": json.dumps({"x": json.dumps({"y": INNER})}),
    "a JSON string of JSON": json.dumps(INNER),
    "nested twice, blanks escaped": json.dumps({"x": INNER.replace('"VK": ', '"VK"\n\t : \n')}),
    "nested twice, quotes escaped": '{"x": "' + INNER.replace('"', "\\u0022") + '"}',
    "nested twice, quotes and colon escaped": '{"x": "' + INNER.replace('"', "\\u0022").replace(":", "\\u003a") + '"}',
    "nested twice, everything escaped": '{"x": "' + escape_all(INNER) + '"}',
    "nested twice, everything escaped twice": '{"x": "' + escape_all('{"y": "' + escape_all(INNER) + '"}') + '"}',
    "nested, escapes of escapes": '{"x": "'
    + INNER.replace("VK", "\\u005cu0056\\u005cu004b", 1).replace('"', '\\"')
    + '"}',
    "truncated in the value": INNER[: INNER.index(CANARY) + len(CANARY)],
    "truncated after the value": INNER[: INNER.index(CANARY) + len(CANARY) + 1],
    "truncated, key escaped": INNER.replace('"VK"', '"\\u0056\\u004b"')[:-1],
    "truncated, quoted beginning": '{"VK": "\\"' + CANARY,
    "truncated, nested": json.dumps({"x": INNER})[:-2],
    "truncated, nested, quotes escaped": ('{"x": "' + INNER.replace('"', "\\u0022") + '"}')[:-1],
    "truncated, nested, blanks escaped": json.dumps({"x": INNER.replace('"VK": ', '"VK"\n:\n')})[:-1],
    "truncated, everything escaped": '{"x": "' + escape_all(INNER),
    "text around it": "metadata: " + INNER + " (end)",
    "byte order mark": "\ufeff" + INNER.replace('"VK": ', '"VK" : '),
    "quotes not escaped": '{"VK": "VK "x" VK"' + CANARY + '"}',
    "ends in an empty string": '{"VK": ""' + CANARY + '"}',
    "single word": '{"VK" : ' + CANARY + "}",
    "lone surrogate beside it": '{"a": "\\ud800", "VK" : "' + CANARY + '"}',
    "too deep to read": '{"VK" : "' + CANARY + '", "x": ' + "[" * 2000 + "]" * 2000 + "}",
}
"""Texts of service_metadata that hold a key."""


@pytest.mark.parametrize("outer", ["plain", "escaped", "not ASCII", "quotes as digits"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_lets_the_key_through(spelling, outer):
    text = SPELLINGS[spelling]
    if outer == "escaped":
        literal = '"' + escape_all(text) + '"' if text.isascii() else json.dumps(text)
    elif outer == "quotes as digits":
        literal = json.dumps(text).replace('\\"', "\\u0022").replace("V", "\\u0056")
    else:
        literal = json.dumps(text, ensure_ascii=outer == "plain")
    neighbours = json.dumps({"CS": 7, "VT": "é"})
    body = '{"shared": [{"a": %s, "service_metadata": %s, "b": "\\u00e9 VK"}]}' % (json.dumps(neighbours), literal)  # noqa: UP031
    before = json.loads(body)["shared"][0]
    assert before["service_metadata"] == text
    blanked = blank_key_material(body.encode())
    assert_gone(blanked)
    assert_gone(blanked, "77123456789")
    after = json.loads(blanked)["shared"][0]
    assert (after["a"], after["b"]) == (before["a"], before["b"])
    assert blank_key_material(blanked) == blanked


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@pytest.mark.parametrize(
    "spelling", [name for name, text in SPELLINGS.items() if is_json(text) and "\\ud8" not in text]
)
def test_what_can_be_read_keeps_its_other_values(spelling):
    text = SPELLINGS[spelling]
    after = metadata_in(blank_key_material(page(text)))
    assert expected_after(json.loads(after), check=True) == expected_after(json.loads(text))


@pytest.mark.parametrize("spelling", ["lone surrogate beside it", "too deep to read", "truncated, key escaped"])
def test_text_that_holds_a_key_and_cannot_be_read_is_withheld(spelling):
    body = page(json.dumps({"CS": 1}), SPELLINGS[spelling])
    assert metadata_in(blank_key_material(body), 0) == '{"CS": 1}'
    assert metadata_in(blank_key_material(body), 1) == "[withheld: unreadable text with key material]"


def expected_after(value, *, check: bool = False):
    """The value with every VK empty, also in strings of JSON; with `check` they must be empty already."""
    if isinstance(value, dict):
        if check and "VK" in value:
            assert value["VK"] == ""
        return {key: "" if key == "VK" else expected_after(item, check=check) for key, item in value.items()}
    if isinstance(value, list):
        return [expected_after(item, check=check) for item in value]
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        try:
            return ["JSON", expected_after(json.loads(value), check=check)]
        except ValueError:
            return value
    return value


@pytest.mark.parametrize(
    "value", ['"%s"', '{"a": "%s"}', '["%s", "%s"]', '"\\"%s\\\\"', '{"VK": "%s", "]": "}"}', '[[[]], {}, "%s"]']
)
@pytest.mark.parametrize("key", ['"VK":', '"VK" : ', '"V\\u004b"\n:\t', '"\\u0056\\u004B":'])
def test_a_key_that_stands_directly_in_the_page_is_emptied(key, value):
    body = '{"shared": [{"id": "a", %s%s, "name": "b"}, {"x": {%s%s}}]}' % (key, value.replace("%s", CANARY), key, 5)  # noqa: UP031
    blanked = blank_key_material(body.encode())
    assert_gone(blanked)
    assert json.loads(blanked) == {"shared": [{"id": "a", "VK": "", "name": "b"}, {"x": {"VK": ""}}]}


def test_metadata_that_is_an_object_is_quarantined_without_its_key():
    ids = {"id": "e842bf23-1e05-4c2c-b0f9-25222f4686da", "backup_id": "066b1e37-9305-4057-97e5-2e99b21fc71d"}
    backup = {"id": ids["backup_id"], "service_metadata": METADATA}
    record = {**ids, "from_project_id": "a", "to_project_id": "b", "backup": backup}
    result = normalize_pages([blank_key_material(json.dumps({"shared": [record]}).encode())])
    [raw], [reason] = result.rejected["raw_json"], result.rejected["reason"]
    assert json.loads(raw)["backup"]["service_metadata"] == {**METADATA, "VK": ""}
    assert reason.startswith("backup.service_metadata is ")
    assert CANARY not in raw + reason


# --- Random pages

WORDS = st.sampled_from(
    ["VK", "V", "K", '"', '"VK"', ":", '":', "\\", "\\u0056", "u004b", "{", "}", ",", " ", "\n", "é", "😀", "x", ""]
)
ANY_TEXTS = st.one_of(
    st.lists(WORDS, max_size=6).map("".join), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
)
# Text that is not JSON and could name a key is withheld: not what the pages below are about.
TEXTS = ANY_TEXTS.filter(lambda text: not ('"' in text and ":" in text) and not ("{" in text and "\\" in text))
KEYS = st.one_of(st.sampled_from(["CS", "VT", "XVK", "VKX", "vk", "K", "V"]), TEXTS).filter(lambda key: key != "VK")
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), TEXTS.filter(lambda text: text[:1] not in ("{", "[", '"'))),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(KEYS, inner, max_size=2)),
    max_leaves=4,
)
SECRETS = st.one_of(
    TEXTS.map(lambda text: text + CANARY),
    TEXTS.map(lambda text: CANARY + text),
    st.just([CANARY]),
    st.just({"k": CANARY}),
    st.just({CANARY: 1}),
)


@st.composite
def encodings(draw):
    """A JSON writer with its own separators, which escapes arbitrary characters."""
    blanks = st.sampled_from(["", " ", "\n", "\t "])
    separators = (draw(blanks) + "," + draw(blanks), draw(blanks) + ":" + draw(blanks))
    ensure_ascii, rate = draw(st.booleans()), draw(st.sampled_from([0, 0, 0.1, 0.5, 1]))
    rng = random.Random(draw(st.integers(0, 2**32)))

    def write(value) -> str:
        if isinstance(value, dict):
            members = [write(key) + separators[1] + write(item) for key, item in value.items()]
            return "{" + separators[0].join(members) + "}"
        if isinstance(value, list):
            return "[" + separators[0].join(map(write, value)) + "]"
        if isinstance(value, str) and rate:
            return '"' + "".join(map(one, value)) + '"'
        return json.dumps(value, ensure_ascii=ensure_ascii)

    def one(char: str) -> str:
        if rng.random() < rate and ord(char) < 0x10000:
            return f"\\u{ord(char):04{rng.choice('xX')}}"
        return json.dumps(char, ensure_ascii=ensure_ascii)[1:-1]

    return write


@st.composite
def pages_with_keys(draw):
    """A page as bytes, and the same page as a value with its keys empty; None where text was cut."""

    def metadata(depth: int):
        items = draw(st.lists(st.tuples(KEYS, VALUES), max_size=3))
        secret = draw(st.booleans())
        hidden = [*items, ("VK", draw(SECRETS))] if secret else list(items)
        clean = [*items, ("VK", "")] if secret else list(items)
        if depth and draw(st.booleans()):
            text, value = metadata(depth - 1)
            hidden.append(("in", text))
            clean.append(("in", value))
        order = draw(st.permutations(range(len(hidden))))
        write = draw(encodings())
        text = write({hidden[i][0]: hidden[i][1] for i in order})
        return text, ["JSON", {clean[i][0]: clean[i][1] for i in order}]

    records, expected = [], []
    for _ in range(draw(st.integers(1, 3))):
        text, value = metadata(2)
        extra = draw(VALUES)
        records.append({"name": extra, "service_metadata": text})
        expected.append({"name": extra, "service_metadata": value})
    return draw(encodings())({"shared": records}).encode(), {"shared": expected}


def parsed(value, pattern):
    """`value` with the strings decoded for which `pattern` says that they are JSON."""
    if isinstance(pattern, list) and len(pattern) == 2 and pattern[0] == "JSON" and isinstance(value, str):
        return ["JSON", parsed(json.loads(value), pattern[1])]
    if isinstance(pattern, dict):
        return {key: parsed(item, pattern[key]) for key, item in value.items()}
    if isinstance(pattern, list):
        return [parsed(item, part) for item, part in zip(value, pattern, strict=True)]
    return value


@settings(deadline=None, derandomize=True, max_examples=150)
@given(pages_with_keys())
def test_whatever_the_page_the_keys_are_gone_and_all_else_is_there(case):
    body, expected = case
    blanked = blank_key_material(body)
    assert_gone(blanked)
    assert parsed(json.loads(blanked), expected) == expected
    assert blank_key_material(blanked) == blanked
    if CANARY not in "".join(all_texts(body)):
        assert blanked == body


@settings(deadline=None, derandomize=True, max_examples=80)
@given(pages_with_keys(), st.data())
def test_metadata_cut_anywhere_does_not_let_the_key_through(case, data):
    page_value = json.loads(case[0])
    for record in page_value["shared"]:
        text = record["service_metadata"]
        record["service_metadata"] = text[: data.draw(st.integers(0, len(text)))]
    body = data.draw(encodings())(page_value).encode()
    blanked = blank_key_material(body)
    assert_gone(blanked)
    json.loads(blanked)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(WORDS, max_size=30).map("".join), encodings())
def test_hostile_text_leaves_the_page_valid_and_stays_put_once_blanked(text, write):
    blanked = blank_key_material(write({"shared": [{"name": text}, {"name": "left alone"}]}).encode())
    assert json.loads(blanked)["shared"][1] == {"name": "left alone"}
    assert blank_key_material(blanked) == blanked


# --- Size


@pytest.mark.parametrize(
    "pattern",
    ["\\", '"', '\\"', "{", "VK", 'VK"', 'VK":', '"VK":"', "VK\\\\\\", "\\u0056", "VK\\u0022 ", "u005c", 'VK":\n', "["],
)
def test_megabytes_of_hostile_text_are_done_in_one_pass(pattern):
    # A pattern that goes back and forth would need hours here: there is no clock, the test would never end.
    text = "VK " + pattern * (2_000_000 // len(pattern))
    body = page(
        text, json.dumps({"x": text[:500_000], "VK": CANARY + text[:100_000]}), '{"VK": "' + text[:100_000] + CANARY
    )
    blanked = blank_key_material(body)
    assert CANARY.encode() not in blanked
    assert json.loads(metadata_in(blanked, 1))["VK"] == ""
    assert [record["id"] for record in json.loads(blanked)["shared"]] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "text",
    [
        "{'VK': 'KEY', 'CS': 1}",
        "{u'VK': u'KEY'}",
        "{VK: KEY, CS: 1}",
        "{CS=1, VK=KEY}",
        "('VK', 'KEY')",
        "['VK' = 'KEY']",
    ],
)
def test_a_key_as_other_languages_write_it_is_withheld_as_well(text):
    secret = "77123456789abcdef77123456789abcdef"
    for written in (text, json.dumps({"a": text})):
        blanked = blank_key_material(page(written.replace("KEY", secret)))
        assert secret.encode() not in blanked
        json.loads(blanked)


@pytest.mark.parametrize("text", ["VK backup", "nightly of VK: Monday", "VK", "the VKs, {a: 1}"])
def test_a_text_that_only_has_the_two_letters_is_kept(text):
    body = page(text)
    assert blank_key_material(body) == body
