"""Conversion of user data: values to payloads, exceptions to failures, and codecs around them.

Names and semantics are the Temporal Python SDK's; payloads and failures are the wire's own
records. The protobuf converters are here only where `google.protobuf` is installed. Nothing here
talks to Kafka, and without a codec nothing here is asynchronous.
"""

import importlib.util

from odradek.converter._context import (
    ActivitySerializationContext,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from odradek.converter._data_converter import DataConverter, default
from odradek.converter._encodings import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    JSONPlainPayloadConverter,
)
from odradek.converter._failure_converter import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
)
from odradek.converter._json import AdvancedJSONEncoder
from odradek.converter._payload_codec import PayloadCodec
from odradek.converter._payload_converter import (
    CompositePayloadConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    PayloadConverter,
)
from odradek.converter._payload_validation_error import create_payload_validation_error
from odradek.converter._search_attributes import (
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attribute_values,
    encode_search_attributes,
    encode_typed_search_attribute_value,
)
from odradek.converter._transfer_types import TransferTypeConverter, transfer_type_convertible
from odradek.converter._type_hints import (
    JSONTypeConverter,
    JSONTypeConverterUnhandled,
    value_to_type,
)

DefaultPayloadConverter.default_encoding_payload_converters = (
    BinaryNullPayloadConverter(),
    BinaryPlainPayloadConverter(),
    JSONPlainPayloadConverter(),  # last: it takes, or refuses, whatever is left
)

__all__ = [
    "ActivitySerializationContext",
    "AdvancedJSONEncoder",
    "BinaryNullPayloadConverter",
    "BinaryPlainPayloadConverter",
    "CompositePayloadConverter",
    "DataConverter",
    "DefaultFailureConverter",
    "DefaultFailureConverterWithEncodedAttributes",
    "DefaultPayloadConverter",
    "EncodingPayloadConverter",
    "FailureConverter",
    "JSONPlainPayloadConverter",
    "JSONTypeConverter",
    "JSONTypeConverterUnhandled",
    "PayloadCodec",
    "PayloadConverter",
    "SerializationContext",
    "TransferTypeConverter",
    "WithSerializationContext",
    "WorkflowSerializationContext",
    "create_payload_validation_error",
    "decode_search_attributes",
    "decode_typed_search_attributes",
    "default",
    "encode_search_attribute_values",
    "encode_search_attributes",
    "encode_typed_search_attribute_value",
    "transfer_type_convertible",
    "value_to_type",
]


def _protobuf_installed() -> bool:
    try:
        return importlib.util.find_spec("google.protobuf") is not None
    except ModuleNotFoundError:  # no package named google at all
        return False


if _protobuf_installed():
    from odradek.converter._protobuf import BinaryProtoPayloadConverter, JSONProtoPayloadConverter

    _null, _plain, _json = DefaultPayloadConverter.default_encoding_payload_converters
    DefaultPayloadConverter.default_encoding_payload_converters = (
        _null,
        _plain,
        JSONProtoPayloadConverter(),
        BinaryProtoPayloadConverter(),
        _json,
    )
    __all__ += ["BinaryProtoPayloadConverter", "JSONProtoPayloadConverter"]

DataConverter.default = DataConverter()
PayloadConverter.default = DataConverter.default.payload_converter
FailureConverter.default = DataConverter.default.failure_converter
