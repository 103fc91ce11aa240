r"""Key material never leaves this function: `blank_key_material` empties every `VK` in the bytes of a page.

`service_metadata` is JSON inside a JSON string and may carry `VK`, the key of an encrypted volume (api-facts 4.5).
The bytes of a page are kept for ever, so the value is emptied before they touch the disk; all other bytes stay.
The quick way: if every "VK" in the page is followed by an empty value there is nothing to do, and nearly all others
have the one plain spelling. Only when something else is found is the page read token by token.
Not here: which parsed keys of the metadata become columns (normalize.py).
"""

import json
import re

_FILLED = re.compile(rb'VK(?!\\":\s*\\"\\")')
"""The two letters, and not followed by an empty value as it stands inside an escaped JSON string."""
_PLAIN_VALUE = re.compile(rb'(VK\\":\s*\\")[^"\\]+(\\")')
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]", re.IGNORECASE)
"""A letter written as an escape could spell VK without the two letters standing there."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR_AFTER = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)*"|[^\s,\]}\[{]+|[\[{])', re.DOTALL)
_KEY = r"(?:V|\\+u0056)(?:K|\\+u004b)"
_INNER_VALUE = re.compile(rf'("{_KEY}"\s*:\s*)(?:"(?:[^"\\]|\\.)*"|[^\s,\]}}\[{{"\\]+)', re.DOTALL | re.IGNORECASE)
_INNER_KEY = re.compile(rf'{_KEY}\\*"\s*:', re.IGNORECASE)
_INNER_DONE = re.compile(rf'"{_KEY}"\s*:\s*""', re.IGNORECASE)
_WITHHELD = b'"[withheld: unreadable text with key material]"'


def blank_key_material(body: bytes) -> bytes:
    """`body`, a page of JSON, with the value of every `VK` emptied, also inside JSON that stands in a string."""
    if _FILLED.search(body):
        body = _PLAIN_VALUE.sub(rb"\1\2", body)
        if _FILLED.search(body):
            return _blank_token_by_token(body)
    if b"\\u00" in body and _ESCAPED_ASCII.search(body):
        return _blank_token_by_token(body)
    return body


def _blank_token_by_token(body: bytes) -> bytes:
    # Outside of strings JSON has no quotes, so matching strings from the start never loses step.
    pieces: list[bytes] = []
    position = 0
    while found := _STRING.search(body, position):
        pieces.append(body[position : found.start()])
        literal, position = found.group(), found.end()
        value = _SCALAR_AFTER.match(body, position)
        if value and _text_of(literal) == "VK":
            pieces.append(literal + b': ""')
            position = value.end() if value.group(1) not in (b"[", b"{") else _end_of_container(body, value.end())
        else:
            pieces.append(_blank_inside(literal))
    pieces.append(body[position:])
    return b"".join(pieces)


def _end_of_container(body: bytes, position: int) -> int:
    depth = 1
    for token in re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL).finditer(body, position):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token.group(), 0)
        if depth == 0:
            return token.end()
    return len(body)


def _text_of(literal: bytes) -> str:
    try:
        return str(json.loads(literal))
    except ValueError:
        return ""


def _blank_inside(literal: bytes) -> bytes:
    r"""A string literal with the key material inside its text emptied; untouched bytes unless there is some."""
    text = _text_of(literal)
    blanked = _INNER_VALUE.sub(r'\1""', text)
    if len(_INNER_KEY.findall(blanked)) != len(_INNER_DONE.findall(blanked)):
        return _WITHHELD
    return literal if blanked == text else json.dumps(blanked).encode()
