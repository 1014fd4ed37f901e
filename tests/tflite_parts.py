"""Parts of the TFLite models that tests build by the schema."""

from collections.abc import Mapping
from typing import Any

from siamedge.runtime.backends.tflite_file import schema


def operator_code(name: str, version: int) -> Any:
    """A type of operator, as the schema's BuiltinOperator calls it."""
    code = schema().OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema().BuiltinOperator, name)
    code.version = version
    return code


def signature_of(inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
    """The signature that sessions look for, of tensors by name."""
    signature = schema().SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.inputs, signature.outputs = ([_entry(*item) for item in ends.items()] for ends in (inputs, outputs))
    return signature


def _entry(name: str, tensor: int) -> Any:
    entry = schema().TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), tensor
    return entry
