r"""Key material never leaves this function: `blank_key_material` empties every `VK` in the bytes of a page.

`service_metadata` is JSON inside a JSON string and may carry `VK`, the key of an encrypted volume (api-facts 4.5).
The bytes of a page are kept for ever, so the value is emptied before they touch the disk; all other bytes stay.
The quick way: nearly always every "VK" in the page has the one plain spelling. Only when something else is found is
the page read token by token, and so is all JSON inside its strings, however deep. Text that names such a key and is
not JSON is withheld.
Not here: which parsed keys of the metadata become columns (records.py).
"""

import json
import re

import orjson

_KEY = re.compile(rb'VK(?:(?<=\\"VK)\\":\s*\\"([^"\\]*)\\"\s*[,}])?')
"""The two letters, and the value if it stands behind them as it does inside an escaped JSON string."""
_ESCAPED = re.compile(r"\\u00[2-7]")
"""A character written as an escape could spell VK, at any depth, without the two letters standing there."""
_ESCAPED_BYTES = re.compile(_ESCAPED.pattern.encode())
_TEXT = r'"(?:[^"\\]++|\\.)*+"'
_STRING = re.compile(_TEXT, re.DOTALL)
_VALUE_AFTER = re.compile(rf"(\s*:\s*)({_TEXT}|[\[{{]|[^\s,\]}}]+)", re.DOTALL)
_BRACKET = re.compile(rf"{_TEXT}|[\[{{]|[\]}}]", re.DOTALL)
_BLANKS = r"(?:\s|\\+[nrt]|\\+u00(?:20|0[9aAdD]))*"
_NAMED = re.compile(rf'(?!VK":\s*""\s*[,}}])(?:V|u0056)(?:K|u004[bB])\\*(?:"|u0022){_BLANKS}\\*(?::|u003[aA])')
"""What could be the key, in text that is not JSON: better too much than too little."""
_NAMED_OTHERWISE = re.compile(r"""(?:'VK'\s*[:=,]|[{,]\s*VK\s*[:=])\s*u?['"]?[\w+/=-]{8}""")
"""The same with a value, as Python, YAML and the like write it."""
_WITHHELD = '"[withheld: unreadable text with key material]"'


def blank_key_material(body: bytes) -> bytes:
    """`body`, a page that is JSON, with the value of every `VK` emptied, also inside JSON that stands in a string."""
    # Most pages have no such escape at all, and looking for plain bytes costs a tenth of looking for a pattern.
    plain = None if b"\\u00" in body and _ESCAPED_BYTES.search(body) else _blank_plain(body)
    return plain if plain is not None else _blank_json(body.decode()).encode()


def _blank_plain(body: bytes) -> bytes | None:
    """With every value emptied if all have the one plain spelling, else None."""
    pieces: list[bytes] = []
    position = 0
    for found in _KEY.finditer(body):
        if found[1] is None:
            return None
        if found[1]:
            pieces.append(body[position : found.start(1)])
            position = found.end(1)
    return b"".join([*pieces, body[position:]]) if pieces else body


def _blank_json(text: str) -> str:
    # Outside of strings JSON has no quotes, so matching strings from the start never loses step.
    pieces: list[str] = []
    position = 0
    while found := _STRING.search(text, position):
        pieces.append(text[position : found.start()])
        literal, position = found.group(), found.end()
        value = _VALUE_AFTER.match(text, position)
        if value and json.loads(literal) == "VK":
            pieces.append(f'{literal}{value.group(1)}""')
            position = value.end() if value.group(2) not in ("[", "{") else _end_of_container(text, value.end())
        else:
            pieces.append(_blank_inside(literal))
    pieces.append(text[position:])
    return "".join(pieces)


def _end_of_container(text: str, position: int) -> int:
    depth = 1
    for token in _BRACKET.finditer(text, position):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
        if depth == 0:
            return token.end()
    return len(text)


def _blank_inside(literal: str) -> str:
    """A string literal with the key material inside its text emptied; the same literal unless there is some."""
    if "VK" not in literal and not _ESCAPED.search(literal):
        return literal
    text = json.loads(literal)
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        named = _NAMED.search(text) or _NAMED_OTHERWISE.search(text)
        suspicious = named or ("{" in text and _ESCAPED.search(text, text.index("{")))
        return _WITHHELD if suspicious else literal
    blanked = _blank_json(text)
    return literal if blanked == text else json.dumps(blanked)
