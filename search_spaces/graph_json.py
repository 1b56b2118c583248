"""A layer graph as JSON text, to lie in a store and to travel to other machines.

Reading checks every name, type and extent against the operators' own annotations, so an operator
added to `search_spaces.ops` travels without a line here. Nothing is executed, and what a text may
ask a machine for is bounded: it may come from somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite, prod
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from search_spaces import ops
from search_spaces.errors import InvalidGraphError, NasError
from search_spaces.graph import OpGraph
from search_spaces.ops import Op

FORMAT, VERSION = "nas-graph", 1

# The largest network of the spaces takes 60 kB and 300 operators.
_LONGEST_TEXT = 4 * 2**20
_MOST_OPS = 10_000
_MOST_AXES = 8
_LONGEST_NAME = 300
_LARGEST_NUMBER = 2**31
# Tensors and weights of one sample together: 4 GiB in 32-bit floats.
_MOST_ELEMENTS = 2**30

_SHAPE = "shape"


def graph_to_json(graph: OpGraph) -> str:
    """Write a layer graph; fields that have their default value are left out.

    Raises:
        InvalidGraphError: If an operator is not of `search_spaces.ops` or holds other than plain
            numbers and texts.
    """
    document = {
        "format": FORMAT,
        "version": VERSION,
        "input_shape": graph.input_shape,
        "ops": [_op_as_json(op) for op in graph.ops],
    }
    try:
        return json.dumps(document, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"a layer graph holds plain numbers and texts only: {error}"
        raise InvalidGraphError(msg) from error


def graph_from_json(text: str) -> OpGraph:
    """Read what `graph_to_json` wrote; the digest is that of the graph written.

    Raises:
        InvalidGraphError: If the text is no layer graph, or asks for more than a network does; the
            operator and the field are named.
    """
    if len(text) > _LONGEST_TEXT:
        msg = f"a layer graph of {len(text)} characters; {_LONGEST_TEXT} are the most allowed"
        raise InvalidGraphError(msg)
    try:
        data = json.loads(text, object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        msg = f"a layer graph is a JSON document: {error}"
        raise InvalidGraphError(msg) from error
    return _Reader().graph(data)


@cache
def _kinds() -> dict[str, type[Op]]:
    """Operator types by `Op.kind`."""
    found = (v for v in vars(ops).values() if isinstance(v, type) and issubclass(v, Op))
    return {kind.__name__.lower(): kind for kind in found if kind is not Op}


@cache
def _annotations(kind: type) -> dict[str, tuple[Any, bool]]:
    """(annotation, whether it must be given) of each field of a dataclass."""
    hints = get_type_hints(kind)
    return {
        f.name: (hints[f.name], f.default is MISSING and f.default_factory is MISSING)
        for f in fields(kind)
        if f.init
    }


def _op_as_json(op: Op) -> dict[str, Any]:
    kind = type(op).__name__.lower()
    if _kinds().get(kind) is not type(op):
        msg = f"operator {op.name!r} of kind {kind!r} is none of {', '.join(sorted(_kinds()))}"
        raise InvalidGraphError(msg)
    return {"kind": kind, **_as_json(op)}


def _as_json(value: Any) -> Any:
    """Values of fields; dataclasses as objects without what has its default."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((f, getattr(value, f.name)) for f in fields(value) if f.init)
        return {
            f.name: _as_json(v)
            for f, v in pairs
            if type(v) is not type(f.default) or v != f.default
        }
    if isinstance(value, tuple | list):
        return [_as_json(item) for item in value]
    return value


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "a name is given twice in one object"
        raise ValueError(msg)
    return found


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is no number"
    raise ValueError(msg)


class _Reader:
    """Reads one document; knows where it is, for messages, and how much was asked for."""

    def __init__(self) -> None:
        self._where = "the layer graph"
        self._elements = 0

    def graph(self, data: object) -> OpGraph:
        """The whole document."""
        known = {"format", "version", "input_shape", "ops"}
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            self._fail(f"is no object with format {FORMAT!r}")
        if data.get("version") != VERSION:
            self._fail(
                f"has version {data.get('version')!r}; this program reads {VERSION}: update it"
            )
        if set(data) != known:
            self._fail(f"needs exactly the fields {', '.join(sorted(known))}")
        entries = data["ops"]
        if not isinstance(entries, list) or not 1 <= len(entries) <= _MOST_OPS:
            self._fail(f"needs a list of 1 to {_MOST_OPS} operators in 'ops'")
        shape = self._field("input_shape", data["input_shape"], tuple[int, ...])
        self._count("input_shape", shape)
        return OpGraph(shape, tuple(self._op(n, entry) for n, entry in enumerate(entries)))

    def _op(self, number: int, entry: object) -> Op:
        self._where = f"operator {number}"
        if not isinstance(entry, Mapping):
            self._fail("is no object")
        name, kind = entry.get("name"), entry.get("kind")
        self._where += f" ({_shown(name)}, {_shown(kind)})"
        known = _kinds()
        if not isinstance(kind, str) or kind not in known:
            self._fail(f"is of an unknown kind; known: {', '.join(sorted(known))}")
        rest = {key: value for key, value in entry.items() if key != "kind"}
        found: Op = self._object(known[kind], rest, "")
        return found

    def _object(self, kind: type, data: Mapping[str, Any], path: str) -> Any:
        annotations = _annotations(kind)
        unknown = [name for name in data if name not in annotations]
        if unknown:
            self._fail(f"has no field {path + unknown[0][:80]!r}; known: {', '.join(annotations)}")
        missing = [name for name, (_, must) in annotations.items() if must and name not in data]
        if missing:
            self._fail(f"lacks the field {path + missing[0]!r}")
        values = {
            name: self._field(path + name, value, annotations[name][0])
            for name, value in data.items()
        }
        if _SHAPE in values:
            self._count(path + _SHAPE, values[_SHAPE])
        try:
            return kind(**values)
        except (TypeError, ValueError, NasError) as error:
            msg = f"{self._where} is refused: {error}"
            raise InvalidGraphError(msg) from error

    def _field(self, path: str, data: Any, annotation: Any) -> Any:
        """A value of that annotation, or an error that names the field."""
        origin, inner = get_origin(annotation), get_args(annotation)
        if origin is Literal:
            if not any(type(data) is type(value) and data == value for value in inner):
                self._wrong(path, data, f"one of {', '.join(map(repr, inner))}")
            return data
        if origin in (Union, UnionType):
            return self._either(path, data, inner)
        if origin is tuple:
            if not isinstance(data, list):
                self._wrong(path, data, "a list")
            kinds = [inner[0]] * len(data) if inner[-1] is ... else list(inner)
            if len(kinds) != len(data):
                self._wrong(path, data, f"a list of {len(kinds)}")
            return tuple(
                self._field(f"{path}[{n}]", item, kind)
                for n, (item, kind) in enumerate(zip(data, kinds, strict=True))
            )
        if isinstance(annotation, type) and is_dataclass(annotation):
            if not isinstance(data, Mapping):
                self._wrong(path, data, "an object")
            return self._object(annotation, data, f"{path}.")
        return self._plain(path, data, annotation)

    def _either(self, path: str, data: Any, kinds: Sequence[Any]) -> Any:
        if data is None and NoneType in kinds:
            return None
        others = [kind for kind in kinds if kind is not NoneType]
        for kind in others[:-1]:
            try:
                return self._field(path, data, kind)
            except InvalidGraphError:
                continue
        return self._field(path, data, others[-1])

    def _plain(self, path: str, data: Any, annotation: Any) -> Any:
        whole = isinstance(data, int) and not isinstance(data, bool)
        if annotation is bool:
            if not isinstance(data, bool):
                self._wrong(path, data, "true or false")
        elif annotation is int or (annotation is float and whole):
            if not whole or abs(data) > _LARGEST_NUMBER:
                self._wrong(path, data, f"a whole number of at most {_LARGEST_NUMBER}")
        elif annotation is float:
            if not isinstance(data, float) or not isfinite(data):
                self._wrong(path, data, "a finite number")
        elif annotation is str:
            if not isinstance(data, str) or len(data) > _LONGEST_NAME:
                self._wrong(path, data, f"a text of at most {_LONGEST_NAME} characters")
        else:
            self._fail(f"has a field {path!r} of a type that cannot travel: {annotation}")
        return data

    def _count(self, path: str, shape: tuple[int, ...]) -> None:
        """Refuse extents below one, and graphs larger than a machine would hold."""
        if len(shape) > _MOST_AXES or any(extent < 1 for extent in shape):
            self._wrong(path, list(shape), f"at most {_MOST_AXES} extents of 1 or more")
        self._elements += prod(shape)
        if self._elements > _MOST_ELEMENTS:
            self._fail(f"brings the elements in all above {_MOST_ELEMENTS} by the field {path!r}")

    def _wrong(self, path: str, data: object, wanted: str) -> NoReturn:
        self._fail(f"has {_shown(data)} in the field {path!r}; it takes {wanted}")

    def _fail(self, what: str) -> NoReturn:
        msg = f"{self._where} {what}"
        raise InvalidGraphError(msg)


def _shown(data: object) -> str:
    """A value as a message may hold it: short, and never raw."""
    text = repr(data)
    return text if len(text) <= 80 else f"{text[:77]}…"
