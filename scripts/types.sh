#!/usr/bin/env bash
# Check types as users of the installed packages see them: the folders under their names in the siamedge namespace; and
# those of the benchmarks, which import each other and the tests' camera server.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
names=$(mktemp -d)
trap 'rm -rf "$names"' EXIT
mkdir "$names/siamedge"
for package in cli devices export runtime training; do ln -s "$root/$package" "$names/siamedge/$package"; done
ln -s "$root/benchmarks" "$names/benchmarks"
cd "$names"
MYPYPATH=$names mypy --strict --cache-dir "$root/.mypy_cache" -p siamedge
MYPYPATH=$names:$root/tests mypy --strict --cache-dir "$root/.mypy_cache" benchmarks/*.py
