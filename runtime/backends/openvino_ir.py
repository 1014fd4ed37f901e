"""Changes of OpenVINO's XML as a model is loaded."""

from xml.etree import ElementTree

PLAIN_PRODUCTS = {"name": "primitives_priority", "version": "0", "value": "cpu:gemm_acl"}
"""The attribute by which OpenVINO's CPU takes one of its ways to compute before all others."""


def with_plain_products(content: bytes) -> bytes:
    """Have OpenVINO on ARM compute convolutions as matrix products, not by Winograd's algorithm.

    What is no XML comes back as it is: OpenVINO says what is wrong with it.

    Winograd's divides weights by 6, 12 and 24, so that sums of integers come out inexact; a matrix product adds them up
    as they are.

    Args:
        content: An OpenVINO model's XML.
    """
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return content
    for layer in root.iter("layer"):
        if layer.get("type") == "Convolution":
            ElementTree.SubElement(_info_of(layer), "attribute", PLAIN_PRODUCTS)
    return ElementTree.tostring(root)


def _info_of(layer: ElementTree.Element) -> ElementTree.Element:
    """The layer's element for such attributes; its place is behind the layer's own."""
    if (found := layer.find("rt_info")) is not None:
        return found
    info = ElementTree.Element("rt_info")
    layer.insert(1 if layer.find("data") is not None else 0, info)
    return info
