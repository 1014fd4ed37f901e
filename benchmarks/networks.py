"""Export every known network to every format and precision and write the table of docs/results/networks.md.

    python benchmarks/networks.py --models ../shared/models --calibration VIDEO [--calibration VIDEO ...] [--out DIR]
        [--network nanotrack-v3 ...]

With --network only those are exported; the rows of the others stay as they stand in DIR. Each network is written when
it is done, so that the table can be made in parts.

Latencies are CPU milliseconds of the search graph on one thread; nothing else depends on the speed of the machine.
"""

import json
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

from script import RESULTS, parser, run, write_results
from this_machine import conditions, processor

from siamedge.export.int8.gate import ATTEMPTS, QUICK_ATTEMPTS, Effort
from siamedge.export.pipeline import ExportRequest, ExportResult, export_bundle
from siamedge.runtime.bundles.records import plain
from siamedge.runtime.places import make_folder

CHECKPOINTS = {
    "dart (default)": None,
    "nanotrack-v1": "nanotrack/nanotrackv1.pth",
    "nanotrack-v2": "nanotrack/nanotrackv2.pth",
    "nanotrack-v3": "nanotrack/nanotrackv3.pth",
    "siamfc-alexnet": "siamfc/siamfc_alexnet_untrained.pth",
}
HEADING = """# Five networks, three formats, three precisions

Made by `python benchmarks/networks.py`. Each row compares an exported pair with its source network in PyTorch, crop by
crop (docs/bundle.md says what the columns mean). `ms` is CPU time of the search graph on one thread of CPU; what
else the machine did: {load}. The SiamFC checkpoint is untrained (its batch norm statistics are fitted), so its response
is flat and its peak says little, by which its int8 is held to a budget: how many of its layers are in int8 hangs on the
clips. int8 of a NanoTrack is mixed: its backbone computes in float, its weights stored in int8.

| network | format | KiB | max diff | cosine | peak | box px | ms | verdict | CPU |
|---|---|---|---|---|---|---|---|---|---|
"""


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("--models", type=Path, required=True)
    found.add_argument("--calibration", action="append", required=True)
    found.add_argument("--network", action="append", choices=list(CHECKPOINTS))
    found.add_argument("--out", type=Path, default=RESULTS)
    found.add_argument("--bundles", type=Path, default=Path("out/networks"), help="where the bundles are kept")
    found.add_argument("--load", default="not looked at", help="what else the machine did, for the heading")
    found.add_argument("--quick", action="store_true", help="try fewer int8 recipes")
    return found.parse_args()


def rows(network: str, result: ExportResult) -> Iterator[str]:
    manifest = result.manifest
    for item in result.measured:
        v = item.verification
        artifacts = [a for a in manifest.artifacts if (a.format, a.precision) == (v.format, v.precision)]
        size = sum(entry.bytes for artifact in artifacts for entry in artifact.files) / 1024
        outputs = [v.differences[output.name] for a in artifacts if a.role == "search" for output in a.outputs]
        worst, cosine = max(d.max_abs for d in outputs), min(d.cosine for d in outputs)
        box = "-" if v.box_px is None else f"{v.box_px:.2f}"
        verdict = v.verdict if v.verdict == "pass" else f"{v.verdict}: {v.reason}"
        yield (
            f"| {network} | {v.format} {v.precision} | {size:.0f} | {worst:.2g} | {cosine:.5f} "
            f"| {v.peak_agreement:.0%} | {box} | {item.latency_ms:.2f} | {verdict} | {processor()} |"
        )


def kept_lines(table: Path, network: str) -> list[str]:
    """The rows of a network that stand in a table."""
    lines = table.read_text().splitlines() if table.exists() else []
    return [line for line in lines if line.startswith(f"| {network} |")]


def loads(records: Mapping[str, Mapping[str, object]]) -> str:
    """What else the machine did, in a word if it was the same for all networks."""
    told = {network: str(record["load"]) for network, record in records.items()}
    same = set(told.values())
    return same.pop() if len(same) == 1 else ", ".join(f"{load} ({network})" for network, load in told.items())


def export_network(network: str, given: Namespace) -> ExportResult:
    relative = CHECKPOINTS[network]
    request = ExportRequest(
        out=given.bundles / f"{network.split(maxsplit=1)[0]}.siamedge",
        checkpoint=given.models / relative if relative else None,
        calibration=tuple(given.calibration) if relative else (),
        effort=Effort(QUICK_ATTEMPTS if given.quick else ATTEMPTS),
    )
    return export_bundle(request)


def main() -> None:
    given = arguments()
    make_folder(given.bundles, "--bundles")
    table, kept = given.out / "networks.md", given.out / "networks.json"
    records = json.loads(kept.read_text()) if kept.exists() else {}
    lines = {network: kept_lines(table, network) for network in CHECKPOINTS}
    for network in given.network or CHECKPOINTS:
        begin = time.monotonic()
        result = export_network(network, given)
        seconds = time.monotonic() - begin
        print(f"{network}: {seconds:.0f} s", flush=True)
        lines[network] = list(rows(network, result))
        measured = [plain(item) for item in result.measured]
        records[network] = {"seconds": seconds, "measured": measured, "conditions": conditions(), "load": given.load}
        page = (
            HEADING.format(load=loads(records)) + "\n".join(line for found in lines.values() for line in found) + "\n"
        )
        write_results(given.out, "networks", page, records)


if __name__ == "__main__":
    run(main)
