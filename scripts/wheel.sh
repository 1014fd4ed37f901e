#!/usr/bin/env bash
# Build the wheel, install it with one backend as on a device, and track with a bundle made by the development environment.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python -m build --outdir "$work/dist" . >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
python -m venv "$work/env"
"$work/env/bin/pip" install -qq "$(echo "$work"/dist/*.whl)[onnx]"
"$work/env/bin/siamedge" --version
siamedge export --formats onnx -o "$work/default.siamedge"
"$work/env/bin/siamedge" track "$work/default.siamedge" --source 'synthetic:?frames=60' --json >"$work/track.jsonl"
test "$(wc -l <"$work/track.jsonl")" = 60
echo "the wheel tracks without the export libraries"
