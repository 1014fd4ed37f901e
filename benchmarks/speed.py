"""Make the speed tables of docs/results with one command: against_opencv, outside_network, multi_target, cold_start.

    python benchmarks/speed.py --v2 v2.siamedge --default dart.siamedge --sequence ../shared/sequences/VOT15_bag
        --backbone backbone.onnx --head head.onnx [--core 0]

The machine should be idle: each table says where it was not. The columns `ms` of networks.md and quantization.md are
made with the rest of those tables, by networks.py and quantization.py.
"""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from script import RESULTS, add_core, parser, run

HERE = Path(__file__).parent


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("--v2", type=Path, required=True, help="bundle of NanoTrack v2")
    found.add_argument("--default", type=Path, required=True, help="bundle of the default network")
    found.add_argument("--sequence", type=Path, required=True, help="folder with img/ and groundtruth.txt")
    found.add_argument("--backbone", type=Path, required=True, help="of cv2.TrackerNano")
    found.add_argument("--head", type=Path, required=True, help="of cv2.TrackerNano")
    add_core(found)
    found.add_argument("--out", type=Path, default=RESULTS)
    return found.parse_args()


def commands(options: Namespace) -> list[list[str]]:
    """Each script and its arguments."""
    common = ["--core", str(options.core), "--out", str(options.out)]
    rivals = ["--sequence", str(options.sequence), "--backbone", str(options.backbone), "--head", str(options.head)]
    bundles = ["--bundle", str(options.v2), "--bundle", str(options.default)]
    return [
        ["against_opencv.py", *bundles, *rivals, *common],
        ["outside_network.py", str(options.v2), *common],
        ["multi_target.py", str(options.v2), *common],
        ["cold_start.py", str(options.v2), *common],
    ]


def main() -> None:
    for script, *rest in commands(arguments()):
        print(f"== {script}", flush=True)
        code = subprocess.run([sys.executable, str(HERE / script), *rest], check=False).returncode
        if code != 0:
            sys.exit(f"speed.py: {script} ended with {code}; its table and those after it are as they were")


if __name__ == "__main__":
    run(main)
