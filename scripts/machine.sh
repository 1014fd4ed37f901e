#!/usr/bin/env bash
# A whole emulated arm64 machine: image, first boot, service, kill -9, watchdog, new release, rollback, uninstall.
# As root on Debian, which gets the packages that it needs; some ten minutes on two idle cores, nothing to answer.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(qemu-system-arm mmdebstrap arch-test mtools fdisk dosfstools e2fsprogs kmod cpio openssh-client)
missing=()
for package in "${packages[@]}"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
SIAMEDGE_MACHINE=1 exec "${PYTHON:-python3}" -m pytest -q -s tests/devices/test_machine.py "$@"
