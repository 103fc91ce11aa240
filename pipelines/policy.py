"""The sharing policy: what may be shared with whom, and what was accepted; how `policy.yaml` is read and checked.

    projects     our own, with name and owner
    recipients   projects of others that may see our backups, with dates
    exceptions   findings that somebody answers for, with reason and expiry
    limits       how many recipients, how long

What is a finding is derived in SQL (sql/views/findings.sql) from the tables that hold this.
Not here: how a policy is kept (policy_landing.py), the tables (schema.py, policy_fold.py).
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipelines.errors import ConfigurationError, counted, printable, system_words, what_is_expected
from pipelines.observation import PROJECT_ID
from pipelines.records import OBJECT_ID, PROJECT

EXAMPLE = Path(__file__).with_name("policy.example.yaml")
LARGEST = 2**20
"""Bytes of a policy file: beyond it is some other file."""

_BACKUP = ("backup", "from_project")
_SHARE = ("share", "backup", "from_project", "to_project")
RULES: dict[str, tuple[str, ...]] = {
    "untrusted_recipient": _SHARE,
    "first_ever_recipient": ("to_project",),
    "fan_out": _BACKUP,
    "stale_share": _SHARE,
    "short_lived_share": _SHARE,
    "regranted_share": ("backup", "from_project", "to_project"),
    "failed_backup_shared": _BACKUP,
    "self_share": _SHARE,
    "giver_receiver_disagree": _SHARE,
    "unknown_project": ("project",),
}
"""Rules whose findings an exception can accept, and what it can say they are about."""


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    if printable(text, len(text)) != text:
        raise ValueError("holds characters that cannot be seen: write plain text")
    return text


def _shaped(pattern: str, shape: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"is not {shape}")
        return text

    return AfterValidator(check)


def _only_a_day(value: Any) -> Any:
    try:
        if isinstance(value, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    # Of a number pydantic would make a day in 1970.
    raise ValueError("is not a day: write it as 2026-12-31")


Words = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_one_line), Field(min_length=1)]
OwnProject = Annotated[
    str, _shaped(PROJECT_ID, "a project id: 32 lower-case letters and digits, not digits only; put it in quotes")
]
AnyProject = Annotated[str, _shaped(PROJECT, "a project id: letters, digits, - and _, 64 at most")]
ObjectId = Annotated[str, _shaped(OBJECT_ID, "an id such as 01234567-89ab-cdef-0123-456789abcdef")]
Label = Annotated[str, _shaped(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", "a name of letters, digits, - _ and .")]
Day = Annotated[date, Field(ge=date(1970, 1, 1), le=date(2999, 12, 31)), BeforeValidator(_only_a_day)]
Count = Annotated[int, Field(strict=True, ge=1, le=100_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Project(_Part):
    """A project of our own."""

    id: OwnProject
    name: Words
    owner: Words


class Recipient(_Part):
    """A project of others that may see our backups, from the first to the last day, both inclusive, UTC."""

    id: AnyProject
    name: Words
    owner: Words
    trusted_from: Day | None = None
    trusted_until: Day | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.trusted_from and self.trusted_until and self.trusted_until < self.trusted_from:
            raise ValueError("trusted_until is before trusted_from")
        return self


def _known_rule(name: str) -> str:
    if name not in RULES:
        raise ValueError(f"is {printable(name, 40)!r}, which is no rule{_meant(name, list(RULES))}")
    return name


class Exemption(_Part):
    """An exception: findings of a rule that somebody accepts, up to and including a day, UTC."""

    id: Label
    rule: Annotated[str, AfterValidator(_known_rule)]
    share: ObjectId | None = None
    backup: ObjectId | None = None
    from_project: AnyProject | None = None
    to_project: AnyProject | None = None
    project: AnyProject | None = None
    owner: Words
    reason: Words
    starts: Day | None = None
    expires: Day

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        can, about = RULES[self.rule], ("share", "backup", "from_project", "to_project", "project")
        said = [name for name in about if getattr(self, name) is not None]
        if odd := [name for name in said if name not in can]:
            raise ValueError(f"{self.rule} is not about a {odd[0]}, only about {_either(can)}")
        if not said:
            raise ValueError(f"it does not say of what: name {_either(can)}")
        if self.starts and self.expires < self.starts:
            raise ValueError("expires is before starts")
        return self


class Limits(_Part):
    """Without a number a rule is silent, but for the recipients: VBS itself allows no more than 10."""

    max_recipients: Count = 10
    max_share_age_days: Count | None = None
    short_lived_hours: Count | None = None


class Policy(_Part):
    """What the file says, checked."""

    projects: tuple[Project, ...]
    recipients: tuple[Recipient, ...] = ()
    exceptions: tuple[Exemption, ...] = ()
    limits: Limits = Limits()

    def canonical(self) -> str:
        """The same text for all files that say the same, whatever their comments and order."""
        document = self.model_dump(mode="json")
        for kind in ("projects", "recipients", "exceptions"):
            document[kind].sort(key=lambda each: each["id"])
        return json.dumps(document, sort_keys=True)

    def counts(self) -> str:
        """How much it names, for the inside of a sentence."""
        named = {"project": self.projects, "recipient": self.recipients, "exception": self.exceptions}
        return ", ".join(counted(len(all_of_them), noun) for noun, all_of_them in named.items())

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _meant(word: str, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, words, 1)
    return f": did you mean {close[0]}?" if close else f": choose {_either(words)}"


class _Loader(yaml.SafeLoader):
    """Days stay text: YAML would fail at one that does not exist, without a word on where it stands."""


_Loader.yaml_implicit_resolvers = {
    first: [each for each in found if each[0] != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


# --- the file ---------------------------------------------------------------------------------------------------------


def read_policy(path: Path) -> Policy:
    """The policy in a file; raises ConfigurationError that tells everything that is wrong, line by line."""
    policy, problems = checked_policy(path)
    if policy is None:
        more = f" (and {len(problems) - 1} more, see `backup-shares policy check`)" if len(problems) > 1 else ""
        raise ConfigurationError(problems[0] + more)
    return policy


def checked_policy(path: Path) -> tuple[Policy | None, list[str]]:
    """The policy in a file, or what is wrong with it: a sentence for each place, with file and line."""
    shown = printable(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            return None, [f"{shown} is larger than a policy can be (1 MB)"]
        root = yaml.compose(content.decode("utf-8"), Loader=_Loader)
        if root is None:
            return None, [f"{shown} is empty: `backup-shares policy example` prints one to begin with"]
        if problems := [f"{shown}, line {line}: {text}" for line, text in _repeated(root)]:
            return None, problems
        document = _Loader("").construct_document(root)
    except OSError as error:
        return None, [f"{shown} (POLICY_FILE) cannot be read: {system_words(error)}"]
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}," if error.problem_mark else ""
        return None, [f"{shown}{line} is not YAML: {printable(error.problem or 'it cannot be read', 80)}"]
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return None, [f"{shown} is not YAML in UTF-8"]
    if not isinstance(document, dict):
        return None, [f"{shown} is no policy: it must begin with projects, recipients, exceptions or limits"]
    problems = [f"{shown}, line {_line(root, loc)}: {text}" for loc, text in _named_again(document)]
    try:
        policy = Policy.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems += [f"{shown}, line {_line(root, each['loc'])}: {_told(each)}" for each in found]
    except RecursionError:
        problems = [f"{shown} is nested too deeply"]
    return (None, problems) if problems else (policy, [])


def _named_again(document: dict[str, Any]) -> Iterator[tuple[tuple[str, int], str]]:
    """Ids that stand twice; looked for in what was written, so that no other mistake hides them."""
    seen: dict[str, set[str]] = {}
    for kind in ("projects", "recipients", "exceptions"):
        ids, entries = seen.setdefault(kind, set()), document.get(kind)
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            name = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                continue
            if name in ids:
                yield (kind, number), f"{kind} name {printable(name, 80)} twice"
            elif kind == "recipients" and name in seen["projects"]:
                text = f"{printable(name, 80)} is among projects and recipients: what is ours needs no trust"
                yield (kind, number), text
            ids.add(name)


def _repeated(node: yaml.Node, depth: int = 0) -> Iterator[tuple[int, str]]:
    """Keys that stand twice in one place: YAML would silently take the last. A policy is three levels deep."""
    if depth > 4:
        return
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _repeated(each, depth + 1)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield key.start_mark.line + 1, f"{printable(name, 40)} stands here twice"
            seen.add(name)
            yield from _repeated(value, depth + 1)


def _line(node: yaml.Node, loc: Sequence[int | str]) -> int:
    """The line of the innermost part of `loc` that is in the file, from 1."""
    line = node.start_mark.line
    for step in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(step)), None)
            if found is None:
                break
            node, line = found[1], found[0].start_mark.line
        else:
            break
    return int(line) + 1


_PARTS: dict[str, type[_Part]] = {
    "projects": Project,
    "recipients": Recipient,
    "exceptions": Exemption,
    "limits": Limits,
}


def _told(error: Any) -> str:
    loc: Sequence[int | str] = error["loc"]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{printable(step, 40)}" for step in loc).lstrip(".")
    match error["type"]:
        case "extra_forbidden":
            part = _PARTS.get(str(loc[0])) if len(loc) > 1 else Policy
            return f"{place} is unknown{_meant(str(loc[-1]), list((part or Policy).model_fields))}"
        case "missing":
            return f"{place} is missing"
        case "string_type":
            return f"{place} is no text: put it in quotes"
        case "value_error":
            text = what_is_expected(error)
            return f"{place} {text}" if text.startswith(("is ", "holds ")) else f"{place}: {text}" if place else text
        case _:
            return f"{place} is not usable: {what_is_expected(error)}"
