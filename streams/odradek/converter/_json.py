"""JSON text to and from plain values, fast: encoders are built once, decoding goes through msgspec.

The text is what the Temporal Python SDK writes: compact, keys sorted, ASCII. Must never accept
less than `json.loads` does.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime

# the stubs do not know c_make_encoder, json itself imports it like this
from json.encoder import (  # type: ignore[attr-defined]
    c_make_encoder,
    encode_basestring,
    encode_basestring_ascii,
)
from typing import Any

import msgspec

_CACHE_LIMIT = 4096
_field_names: dict[type, tuple[str, ...]] = {}


def _dataclass_to_dict(value: Any) -> dict[str, Any]:
    # One level only: the encoder comes back for what is nested. `dataclasses.asdict` would copy
    # every leaf.
    cls = type(value)
    names = _field_names.get(cls)
    if names is None:
        if len(_field_names) >= _CACHE_LIMIT:
            _field_names.clear()
        names = _field_names[cls] = tuple(field.name for field in dataclasses.fields(cls))
    return {name: getattr(value, name) for name in names}


class AdvancedJSONEncoder(json.JSONEncoder):
    """JSON encoder that also takes datetimes (ISO 8601), dataclasses, UUIDs, objects with a
    `dict()` method, and any iterable as a list.
    """

    def default(self, o: Any) -> Any:
        """See `json.JSONEncoder.default`."""
        if hasattr(type(o), "__dataclass_fields__"):
            return _dataclass_to_dict(o)
        if isinstance(o, datetime):
            return o.isoformat()
        if isinstance(o, uuid.UUID):
            return str(o)
        as_dict = getattr(o, "dict", None)
        if callable(as_dict):
            return as_dict()
        if isinstance(o, Iterable):
            return list(o)
        return super().default(o)


def make_encode(encoder_class: type[json.JSONEncoder] | None) -> Callable[[Any], bytes]:
    """A function from value to JSON bytes, for an encoder class (`None`: the plain one).

    `json.dumps(cls=...)` makes an encoder, and the C encoder behind it, for each call. Here both
    are made once, unless the class has its own way of encoding as a whole. The C encoder is
    built without its markers for circular references, which are not safe to share between
    threads; a circular value therefore ends in RecursionError, and is then given to the class
    itself for the proper error.
    """
    cls = encoder_class or json.JSONEncoder
    encoder = cls(separators=(",", ":"), sort_keys=True)
    standard = (
        cls.encode is json.JSONEncoder.encode and cls.iterencode is json.JSONEncoder.iterencode
    )
    if c_make_encoder is None or not standard or encoder.indent is not None:
        return lambda value: encoder.encode(value).encode()

    escape = encode_basestring_ascii if encoder.ensure_ascii else encode_basestring
    chunks_of = c_make_encoder(
        None,
        encoder.default,
        escape,
        None,
        encoder.key_separator,
        encoder.item_separator,
        encoder.sort_keys,
        encoder.skipkeys,
        encoder.allow_nan,
    )

    def encode(value: Any) -> bytes:
        try:
            return "".join(chunks_of(value, 0)).encode()
        except RecursionError:
            return cls(separators=(",", ":"), sort_keys=True).encode(value).encode()

    return encode


_decode = msgspec.json.Decoder().decode


def loads(data: bytes) -> Any:
    """The value of JSON bytes, as `json.loads` gives it. `RuntimeError` when they are not JSON."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What json.loads takes beyond the standard: NaN, Infinity, numbers out of range, lone
        # surrogates, UTF-16.
        return loads_with(None, data)


def loads_with(decoder_class: type[json.JSONDecoder] | None, data: bytes) -> Any:
    """The same through a decoder class."""
    try:
        return json.loads(data, cls=decoder_class)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as err:
        raise RuntimeError("Failed parsing") from err
