"""Everything that can go wrong with the service, by name, for tests and for `backup-shares simulate --fault`.

    named("drip", bytes_per_second=10)                 a fault from its name
    named("status", code=503, operation="detail", nth="2-4")
    parse("status:code=503,operation=detail,nth=2-4")  the same as a person writes it

The class is the only source: its name in small letters, its docstring the meaning, its fields the parameters. Those
of `Behaviour`, which every fault has, say which requests it strikes.
Not here: the hooks that a fault can have (behaviour.py), the faults themselves (the modules beside).
"""

import dataclasses
import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pydantic

from pipelines.simulator.behaviour import Behaviour, Operation
from pipelines.simulator.faults import bodies, listing, records, status, transport
from pipelines.simulator.faults.request import Fault

__all__ = ["FAULTS", "GROUPS", "PLACE", "Behaviour", "Fault", "FaultError", "Operation", "named", "parse"]


class FaultError(ValueError):
    """There is no such fault, or it cannot be set so. The message names what there is."""


def name_of(kind: type[Behaviour]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", "-", kind.__name__).lower()


GROUPS: dict[str, tuple[type[Behaviour], ...]] = {
    "listings": listing.KINDS,
    "answers": status.KINDS,
    "bodies": bodies.KINDS,
    "records": records.KINDS,
    "transport": transport.KINDS,
}
FAULTS: dict[str, type[Behaviour]] = {name_of(kind): kind for kinds in GROUPS.values() for kind in kinds}
PLACE = tuple(field.name for field in dataclasses.fields(Behaviour))
"""The parameters that every fault has: which requests it is about."""


def named(name: str, /, **parameters: Any) -> Behaviour:
    """The fault of this name. Values may be texts. Raises FaultError."""
    kind = FAULTS.get(name)
    if kind is None:
        raise FaultError(f'there is no fault "{name}"; there are: {", ".join(FAULTS)}')
    known = [*own_parameters(kind), *PLACE]
    for parameter in parameters:
        if parameter not in known:
            raise FaultError(f'the fault {name} has no parameter "{parameter}"; it has: {", ".join(known)}')
    try:
        return kind(**parameters)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise FaultError(f"the fault {name}, {first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from None


def parse(text: str) -> Behaviour:
    """`NAME` or `NAME:key=value,key=value`. Raises FaultError.

    A comma that no `key=` follows belongs to the value, so that a value may be JSON.
    """
    name, _, rest = text.partition(":")
    parameters: dict[str, str] = {}
    for part in re.split(r",(?=[a-z_]+=)", rest) if rest else ():
        key, equals, value = part.partition("=")
        if not equals or key in parameters:
            raise FaultError(f'"{part}" in "{text}" must be key=value, each key once')
        parameters[key] = value
    return named(name, **parameters)


def own_parameters(kind: type[Behaviour]) -> dict[str, str]:
    """The parameters of a fault beside those of all, each with its default, then what else it can be."""
    fields = [field for field in dataclasses.fields(kind) if field.name not in PLACE]
    choices = {name: get_args(hint) for name, hint in get_type_hints(kind).items() if get_origin(hint) is Literal}
    return {
        field.name: "|".join(dict.fromkeys([_shown(field.default), *choices.get(field.name, ())])) for field in fields
    }


def meaning(kind: type[Behaviour]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
