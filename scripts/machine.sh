#!/usr/bin/env bash
# A whole emulated arm64 machine: image, first boot, service, kill -9, watchdog, new release, rollback, uninstall.
# As root on Debian, which gets the packages that it needs; some ten minutes on two idle cores, nothing to answer.
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/packages.sh qemu-system-arm mmdebstrap arch-test mtools fdisk dosfstools e2fsprogs kmod cpio openssh-client
python=${PYTHON:-python3}
"$python" -c 'import pytest' 2>/dev/null || python=.venv-test/bin/python
[ -x "$(command -v "$python")" ] || { echo "no pytest: run scripts/test.sh first, which makes .venv-test" >&2; exit 1; }
SIAMEDGE_MACHINE=1 exec "$python" -m pytest -q -s tests/devices/test_machine.py "$@"
