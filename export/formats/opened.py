"""Loads the two graphs of a conversion as the runtime will."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from siamedge.export.formats.converters import ConvertedPair, model_path
from siamedge.runtime.backends.backend import Format, Precision, Session, get_backend, template_precision

BACKEND_OF: Mapping[Format, str] = {"onnx": "onnxruntime", "tflite": "tflite", "openvino": "openvino"}


@contextmanager
def opened(pair: ConvertedPair, kind: tuple[Format, Precision]) -> Iterator[tuple[Session, Session]]:
    """Give the template and the search session, one thread each, until the end of the block."""
    backend = get_backend(BACKEND_OF[kind[0]])
    names = {role: "/".join(model_path(*kind, role, 0).split("/")[1:]) for role in ("template", "search")}
    template = backend.load(
        pair.template.as_model(names["template"], template_precision(kind[1])), device="CPU", threads=1
    )
    try:
        search = backend.load(pair.search.as_model(names["search"], kind[1]), device="CPU", threads=1)
        try:
            yield template, search
        finally:
            search.close()
    finally:
        template.close()
