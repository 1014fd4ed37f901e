"""How near int8 is to its source network on sequences that it was not calibrated on: docs/results/quantization.md.

    python benchmarks/quantization.py --shared ../shared [--network nanotrack-v2 ...] [--format onnx ...]

Calibrated on 150 crops of two clips; measured on 56 crops of each of the ten annotated sequences, all different,
teacher-forced. The default recipe of each format is measured, without a search. Crops are kept in --work, and each
network and format is written when it is done, so that the table can be made in parts.
"""

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from quantization_crops import crops_of
from script import RESULTS, parser, run, write_results
from this_machine import conditions, processor

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.checkpoints.reading import default_weights, load_network
from siamedge.export.families.source import SourceNetwork
from siamedge.export.families.torch_session import one_torch_thread
from siamedge.export.formats.census import take_census
from siamedge.export.formats.converters import ConvertedPair, make_converter
from siamedge.export.formats.opened import opened
from siamedge.export.quantization.recipes import recipe_for
from siamedge.export.verification.score_threshold import moved_threshold, threshold_crops
from siamedge.export.verification.tensors import Reference, compute, reference_of, verify_pair
from siamedge.runtime.backends.backend import FORMATS, Format
from siamedge.runtime.bundles.records import plain
from siamedge.runtime.tracking.responses import score_map

CHECKPOINTS = {
    "dart": None,
    "nanotrack-v2": "models/nanotrack/nanotrackv2.pth",
    "nanotrack-v3": "models/nanotrack/nanotrackv3.pth",
    "siamfc-alexnet": "models/siamfc/siamfc_alexnet_untrained.pth",
}
HEADING = """# int8 on sequences that it was not calibrated on

Made by `python benchmarks/quantization.py`: the default recipe of each format, calibrated on 150 crops of two clips of
`videos`, measured teacher-forced on crops of the ten `sequences`. `peak` counts cells that the source ranks alike to
0.05 logits as one; `strict` does not. `size` is that of both graphs against fp32. `products` are those in int8. `ms` is
CPU time of the search graph, one thread, while other work may have run: it tells an order of magnitude. `lost below` is
the score threshold of the artifact and of the source network.

| network | format | products | crops | peak | strict | box px | size | ms fp32 | ms int8 | lost below | budget | CPU |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("--shared", type=Path, required=True)
    found.add_argument("--network", action="append", choices=list(CHECKPOINTS))
    found.add_argument("--format", action="append", choices=FORMATS)
    found.add_argument("--work", type=Path, default=Path("out/quantization"))
    found.add_argument("--out", type=Path, default=RESULTS)
    return found.parse_args()


def size_of(pair: ConvertedPair) -> int:
    return sum(len(graph.content) + len(graph.weights) for graph in (pair.template, pair.search))


def strict_agreement(ours: Reference, source: Reference) -> float:
    pairs = zip(ours.outputs, source.outputs, strict=True)
    return float(np.mean([score_map(a).argmax() == score_map(b).argmax() for a, b in pairs]))


def measure(name: Format, network: SourceNetwork, calibration: CalibrationSet, source: Reference) -> dict[str, object]:
    """One row."""
    converter = make_converter(name, network)
    whole, pair = converter.convert("fp32"), converter.convert("int8", calibration)
    with opened(whole, (name, "fp32")) as sessions:
        fp32 = verify_pair(*sessions, network, source, (name, "fp32"))
    threshold = reference_of(network, threshold_crops(source.crops))
    with opened(pair, (name, "int8")) as sessions:
        int8 = verify_pair(*sessions, network, source, (name, "int8"))
        strict = strict_agreement(compute(*sessions, source.crops), source)
        below = network.params.lost_below
        moved = None if below is None else moved_threshold(below, threshold, compute(*sessions, threshold.crops))
    census = take_census(name, pair.search)
    return {
        "recipe": recipe_for(name, network.arch).name,
        "verification": plain(int8.verification),
        "strict": strict,
        "int8": len(census.int8),
        "products": len(census.int8) + len(census.floating),
        "size": size_of(pair) / size_of(whole),
        "ms": [fp32.latency_ms, int8.latency_ms],
        "lost_below": [moved, below],
        "processor": processor(),
        "conditions": conditions(),
    }


def row(network: str, name: str, found: dict[str, Any]) -> str:
    checked, (fp32, int8) = found["verification"], found["ms"]
    box = "-" if checked["box_px"] is None else f"{checked['box_px']:.2f}"
    ours, source = found["lost_below"]
    below = "-" if ours is None else f"{ours:.3f}, {source:g}"
    return (
        f"| {network} | {name} | {found['int8']} of {found['products']} | {checked['crops']} "
        f"| {checked['peak_agreement']:.1%} | {found['strict']:.1%} | {box} | {found['size']:.1%} | {fp32:.2f} "
        f"| {int8:.2f} | {below} | {checked['reason']} | {found['processor']} |"
    )


def page(table: Mapping[str, Mapping[str, dict[str, Any]]]) -> str:
    lines = [row(network, name, found) for network, forms in table.items() for name, found in forms.items()]
    return HEADING + "\n".join(lines) + "\n"


def main() -> None:
    given = arguments()
    kept = given.out / "quantization.json"
    for network_name in given.network or CHECKPOINTS:
        relative = CHECKPOINTS[network_name]
        weights = given.shared / relative if relative else default_weights()
        network = load_network(weights)
        with one_torch_thread():
            calibration, measuring = crops_of(weights, network, given.shared, given.work)
            source = reference_of(network, measuring)
            for name in given.format or FORMATS:
                found = measure(name, network, calibration, source)
                table = json.loads(kept.read_text()) if kept.exists() else {}
                table.setdefault(network_name, {})[name] = found
                write_results(given.out, "quantization", page(table), table)


if __name__ == "__main__":
    run(main)
