"""Export every known network to every format and precision and write the table of docs/results/networks.md.

    python benchmarks/networks.py --models ../shared/models --calibration VIDEO [--calibration VIDEO ...] [--out DIR]
        [--network nanotrack-v3 ...]

With --network only those are exported; the rows of the others stay as they stand in DIR.

Latencies are CPU milliseconds of the search graph on one thread; nothing else depends on the speed of the machine.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

from machine import processor

from siamedge.export.int8.gate import ATTEMPTS, QUICK_ATTEMPTS, Effort
from siamedge.export.pipeline import ExportRequest, ExportResult, export_bundle
from siamedge.runtime.bundles.records import plain

CHECKPOINTS = {
    "dart (default)": None,
    "nanotrack-v1": "nanotrack/nanotrackv1.pth",
    "nanotrack-v2": "nanotrack/nanotrackv2.pth",
    "nanotrack-v3": "nanotrack/nanotrackv3.pth",
    "siamfc-alexnet": "siamfc/siamfc_alexnet_untrained.pth",
}
HEADING = """# Five networks, three formats, three precisions

Made by `python benchmarks/networks.py`. Each row compares an exported pair with its source network in PyTorch, crop by
crop (docs/bundle.md says what the columns mean). `ms` is CPU time of the search graph on one thread of {machine}; the
machine was {load}. The SiamFC checkpoint is untrained (its batch norm statistics are fitted), so its response is flat
and its peak says little, by which its int8 is held to a budget: how many of its layers are in int8 hangs on the clips.
int8 of a NanoTrack is mixed: its backbone computes in float, its weights stored in int8.

| network | format | KiB | max diff | cosine | peak | box px | ms | verdict |
|---|---|---|---|---|---|---|---|---|
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--calibration", action="append", required=True)
    parser.add_argument("--network", action="append", choices=list(CHECKPOINTS))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--bundles", type=Path, default=Path("out/networks"), help="where the bundles are kept")
    parser.add_argument("--load", default="idle", help="what else the machine did, for the heading")
    parser.add_argument("--quick", action="store_true", help="try fewer int8 recipes")
    return parser.parse_args()


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
            f"| {v.peak_agreement:.0%} | {box} | {item.latency_ms:.2f} | {verdict} |"
        )


def kept_lines(table: Path, network: str) -> list[str]:
    """The rows of a network that stand in a table."""
    lines = table.read_text().splitlines() if table.exists() else []
    return [line for line in lines if line.startswith(f"| {network} |")]


def export_network(network: str, given: argparse.Namespace) -> ExportResult:
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
    given.bundles.mkdir(parents=True, exist_ok=True)
    given.out.mkdir(parents=True, exist_ok=True)
    table, kept = given.out / "networks.md", given.out / "networks.json"
    records = json.loads(kept.read_text()) if kept.exists() else {}
    lines = []
    for network in CHECKPOINTS:
        if given.network and network not in given.network:
            lines += kept_lines(table, network)
            continue
        begin = time.monotonic()
        result = export_network(network, given)
        seconds = time.monotonic() - begin
        print(f"{network}: {seconds:.0f} s")
        lines += rows(network, result)
        records[network] = {"seconds": seconds, "measured": [plain(item) for item in result.measured]}
    heading = HEADING.format(machine=processor(), load=given.load)
    table.write_text(heading + "\n".join(lines) + "\n")
    kept.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
