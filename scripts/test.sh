#!/usr/bin/env bash
# Set up an environment and run every check: format, lint, types, tests, and the built wheel in an environment of its own.
# As root on Debian it first installs the system packages that some tests need; without them those tests say so and skip.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
packages=(
    openssh-client openssh-server                                 # flash, against a server on the loopback
    mtools fdisk dosfstools                                       # card and image
    qemu-user-static mmdebstrap arch-test                         # the payload under emulated aarch64
    chromium chromium-driver                                      # the page
    mosquitto                                                     # MQTT
    python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly # RTSP
)
echo "== system packages"
bash scripts/packages.sh "${packages[@]}"

echo "== environment in .venv-test"
"$python" -c 'import ensurepip' 2>/dev/null || bash scripts/packages.sh python3-venv
[ -x .venv-test/bin/pip ] || "$python" -m venv --clear .venv-test
.venv-test/bin/pip install -qq --upgrade pip
.venv-test/bin/pip install -qq '.[dev]'
export PATH="$PWD/.venv-test/bin:$PATH"

echo "== format and lint"
ruff format --check .
ruff check .
echo "== types"
scripts/types.sh
echo "== tests"
# A process each: the native libraries of all converters and runtimes together crashed one that also forked data loaders.
# The longest first, as many at once as there are processors; what a part prints comes in one piece when it has ended.
run_part() {
    local output status=0
    echo "-- begun: $*"
    output=$(pytest -q "$@" 2>&1) || status=$?
    printf -- '-- ended: %s\n%s\n' "$*" "$output"
    return "$status"
}
export -f run_part
parts=(tests/devices tests/export tests/training tests/web tests/runtime tests/cli tests/evaluation tests/benchmarks 'tests/test_*.py')
printf '%s\n' "${parts[@]}" | xargs -P "$(nproc)" -I{} bash -c 'run_part {}'
echo "== wheel in an environment of its own"
scripts/wheel.sh
