"""Regenerate every speed figure of docs/results with one command.

    python benchmarks/speed.py --v2 v2.siamedge --default dart.siamedge --sequence ../shared/sequences/VOT15_bag
        --backbone backbone.onnx --head head.onnx [--core 0]

The machine should be idle: scripts that can tell write into their table when it was not.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--v2", type=Path, required=True, help="bundle of NanoTrack v2")
    parser.add_argument("--default", type=Path, required=True, help="bundle of the default network")
    for name in ("sequence", "backbone", "head"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--core", default="0")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser.parse_args()


def main() -> None:
    options = arguments()
    common = ["--core", options.core, "--out", str(options.out)]
    rivals = ["--sequence", str(options.sequence), "--backbone", str(options.backbone), "--head", str(options.head)]
    bundles = ["--bundle", str(options.v2), "--bundle", str(options.default)]
    commands = [
        ["against_opencv.py", *bundles, *rivals],
        ["outside_network.py", str(options.v2)],
        ["multi_target.py", str(options.v2)],
        ["cold_start.py", str(options.v2)],
    ]
    for script, *rest in commands:
        print(f"== {script}", flush=True)
        subprocess.run([sys.executable, str(HERE / script), *rest, *common], check=True)


if __name__ == "__main__":
    main()
