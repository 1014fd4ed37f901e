#!/bin/sh
# Print what siamedge wants to know of a device, as text. Reads only; plain sh, no Python needed.
# $1: put before every path (empty on a real device), $2: folder whose free space matters, ~ for that of a user's service.
# A file is "== PATH", its lines indented by one blank; a node "== PATH MODE OWNER GROUP"; a command "== $ COMMAND".
root=$1
folder=$2
[ "$folder" != '~' ] || folder=$HOME/.local/share/siamedge
LC_ALL=C
export LC_ALL

text() {
    for f in "$@"; do
        if [ ! -f "$f" ] || [ ! -r "$f" ]; then continue; fi
        printf '== %s\n' "${f#"$root"}"
        head -c 20000 "$f" 2>/dev/null | tr '\0' '\n' | sed 's/^/ /'
        echo
    done
}

nodes() {
    for f in "$@"; do
        [ -e "$f" ] || continue
        printf '== %s %s\n' "${f#"$root"}" "$(stat -c '%a %U %G' "$f")"
    done
}

output() {
    printf '== $ %s\n' "$*"
    "$@" 2>/dev/null </dev/null | head -c 20000 | sed 's/^/ /'
    echo
}

pythons() {
    for name in python3 python3.10 python3.11 python3.12 python3.13 python3.14; do
        path=$(command -v "$name") || continue
        "$path" -IS -c 'import sys
version = "%d.%d.%d" % sys.version_info[:3]
print(sys.executable, version, sys.implementation.name, sys.maxsize.bit_length() + 1)'
    done
}

tools() {
    for name in ssh-keygen systemctl systemd-run sudo loginctl flock; do
        command -v "$name"
    done
    [ ! -d /run/systemd/system ] || echo /run/systemd/system
}

home() {
    printf '%s\n' "$HOME"
}

bases_with() {
    for base in "$HOME/.local/share/siamedge" /opt/siamedge; do
        [ ! -x "$base/$1" ] || printf '%s\n' "$base"
    done
}

installed() {
    bases_with current/python
}

kept() {
    bases_with layers
}

existing() {
    d=$1
    while [ ! -d "$d" ] && [ "$d" != / ]; do d=$(dirname "$d"); done
    if [ -w "$d" ]; then printf '%s writable\n' "$d"; else printf '%s not-writable\n' "$d"; fi
    df -Pk "$d" | tail -n 1
}

text "$root/etc/os-release" "$root/etc/nv_tegra_release" "$root/etc/group"
text "$root/proc/device-tree/model" "$root/proc/device-tree/compatible"
text "$root/proc/cpuinfo" "$root/proc/meminfo" "$root/proc/mounts" "$root/proc/uptime"
text "$root/sys/devices/system/cpu/online"
text "$root/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
text "$root/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
text "$root/sys/class/dmi/id/sys_vendor" "$root/sys/class/dmi/id/product_name"
text "$root"/sys/bus/pci/devices/*/uevent
text "$root"/sys/class/drm/card[0-9]/device/uevent
text "$root"/sys/class/thermal/thermal_zone*/type "$root"/sys/class/thermal/thermal_zone*/temp
text "$root"/sys/class/hwmon/hwmon*/name "$root"/sys/class/hwmon/hwmon*/in0_lcrit_alarm
text "$root"/sys/devices/platform/soc/soc:firmware/get_throttled
text "$root"/sys/class/video4linux/*/name
nodes "$root"/dev/video* "$root"/dev/accel/accel* "$root"/dev/dri/renderD*
nodes "$root"/dev/nvhost-gpu "$root"/dev/nvgpu/igpu0/ctrl "$root"/dev/nvmap "$root"/lib/ld-musl-*
[ -z "$root" ] || exit 0
output uname -m
output uname -r
output getconf GNU_LIBC_VERSION
output getconf LONG_BIT
output id -un
output id -u
output id -nG
output date +%s
output home
output pythons
output tools
output installed
output kept
output systemctl --version
output existing "$folder"
