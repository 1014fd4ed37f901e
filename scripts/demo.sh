#!/usr/bin/env bash
# Set up an environment, export the default tracker to all formats, and follow a target in a drawn scene.
# Everything it makes lies in out/; run it again and only the last two steps are repeated.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
if [ ! -x .venv/bin/siamedge ]; then
    echo "== installing into .venv (about 2.6 GB, once)"
    "$python" -c 'import ensurepip' 2>/dev/null || bash scripts/packages.sh python3-venv
    [ -x .venv/bin/pip ] || "$python" -m venv --clear .venv
    .venv/bin/pip install -qq --upgrade pip
    .venv/bin/pip install -qq '.[export-tflite]'
fi
mkdir -p out
echo "== exporting the default tracker"
.venv/bin/siamedge export -o out/default.siamedge
echo "== tracking a drawn scene whose true boxes are known"
.venv/bin/siamedge track out/default.siamedge --source synthetic: --output out/track.mp4 --json >out/track.jsonl
echo "== done: the bundle is out/default.siamedge, the video out/track.mp4, the boxes out/track.jsonl"
