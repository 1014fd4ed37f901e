#!/bin/sh
# Make a machine for the tests: machine_image.sh FOLDER CAMERA. FOLDER gets os.img (a FAT boot partition with cmdline.txt,
# as Raspberry Pi OS has it, and an ext4 root with Debian 12 for arm64 and systemd), kernel, initrd, host.pub and id (the
# key of root). CAMERA holds machine_camera.py, machine_camera.service and clip.raw.
# Needs root, for the owners of the files; mounts nothing and runs no foreign program.
set -eu
folder=$1
camera=$(cd "$2" && pwd)
suite=bookworm
boot_start=8192 boot_sectors=786432
root_start=794624 root_mib=1600
packages=systemd,systemd-sysv,udev,dbus,libnss-systemd,kmod,iproute2,util-linux,mount,base-files,base-passwd,passwd,login
packages=$packages,bash,dash,coreutils,debianutils,sed,grep,findutils,tar,gzip,procps,libc-bin,openssh-server,v4l-utils
packages=$packages,python3-minimal,python3,libstdc++6,libgomp1,busybox-static,linux-image-arm64

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
tree=$folder/tree
rm -rf "$tree" "$folder/initrd.d"
mmdebstrap --quiet --arch=arm64 --variant=extract "--include=$packages" "$suite" "$tree" >/dev/null

# Users and groups, which the packages' scripts would have made.
cp "$tree/usr/share/base-passwd/passwd.master" "$tree/etc/passwd"
cp "$tree/usr/share/base-passwd/group.master" "$tree/etc/group"
printf '%s\n' 'sshd:x:101:65534::/run/sshd:/usr/sbin/nologin' 'messagebus:x:102:102::/nonexistent:/usr/sbin/nologin' \
    >>"$tree/etc/passwd"
printf '%s\n' messagebus:x:102: render:x:110: kvm:x:111: input:x:112: sgx:x:113: systemd-journal:x:114: \
    >>"$tree/etc/group"
cut -d: -f1 "$tree/etc/passwd" | sed 's/$/:*:19000:0:99999:7:::/' >"$tree/etc/shadow"
chmod 640 "$tree/etc/shadow"
printf 'passwd: files systemd\ngroup: files systemd\nshadow: files\nhosts: files\n' >"$tree/etc/nsswitch.conf"
ln -sf dash "$tree/bin/sh"

# ssh for root with a key that is made here.
rm -f "$folder/id" "$folder/id.pub"
ssh-keygen -q -t ed25519 -N '' -C machine -f "$folder/id"
rm -f "$tree"/etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C host -f "$tree/etc/ssh/ssh_host_ed25519_key"
cp "$tree/etc/ssh/ssh_host_ed25519_key.pub" "$folder/host.pub"
mkdir -p "$tree/root/.ssh"
cp "$folder/id.pub" "$tree/root/.ssh/authorized_keys"
chmod 700 "$tree/root/.ssh"
printf '%s\n' 'HostKey /etc/ssh/ssh_host_ed25519_key' 'PasswordAuthentication no' 'UsePAM no' \
    'PermitRootLogin prohibit-password' >"$tree/etc/ssh/sshd_config"

# Only the services that are needed: every other one costs seconds under emulation.
units=$tree/etc/systemd/system
mkdir -p "$units/multi-user.target.wants" "$tree/boot/firmware"
ln -sf /lib/systemd/system/ssh.service "$units/multi-user.target.wants/ssh.service"
ln -sf /lib/systemd/system/multi-user.target "$units/default.target"
for unit in systemd-firstboot serial-getty@ttyAMA0 getty@tty1 systemd-logind systemd-timesyncd e2scrub_reap \
    systemd-networkd-wait-online; do
    ln -sf /dev/null "$units/$unit.service"
done
for unit in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim; do
    ln -sf /dev/null "$units/$unit.timer"
done
echo 0123456789abcdef0123456789abcdef >"$tree/etc/machine-id"
echo machine >"$tree/etc/hostname"
# A machine that is emulated on a busy computer may need minutes for what a board does in a second.
patience=x-systemd.device-timeout=20min,x-systemd.mount-timeout=20min
printf '/dev/vda2 / ext4 defaults 0 0\n/dev/vda1 /boot/firmware vfat %s 0 0\n' "$patience" >"$tree/etc/fstab"
mkdir -p "$tree/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultTimeoutStartSec=20min\n' >"$tree/etc/systemd/system.conf.d/patience.conf"

# The flashed unit as it is, but for its time to start, which counts on a board.
mkdir -p "$units/siamedge.service.d"
printf '[Service]\nTimeoutStartSec=20min\n' >"$units/siamedge.service.d/patience.conf"

# A camera that shows what is written to /dev/video1: vivid's loop from its HDMI output to its HDMI input.
echo vivid >"$tree/etc/modules-load.d/vivid.conf"
echo 'options vivid n_devs=1 node_types=0x101 num_inputs=1 input_types=0x3 num_outputs=1 output_types=0x1' \
    >"$tree/etc/modprobe.d/vivid.conf"
mkdir -p "$tree/opt/camera"
cp "$camera/machine_camera.py" "$camera/clip.raw" "$tree/opt/camera/"
cp "$camera/machine_camera.service" "$units/"
ln -sf ../machine_camera.service "$units/multi-user.target.wants/machine_camera.service"

# The kernel beside the image, as QEMU wants it, and of its modules only those that this machine uses.
version=$(basename "$(echo "$tree"/lib/modules/*)")
cp "$tree/boot/vmlinuz-$version" "$folder/kernel"
modules=$tree/usr/lib/modules/$version
[ -d "$modules" ] || modules=$tree/lib/modules/$version
mv "$modules" "$folder/modules"
depmod_tree=$folder/modules
mkdir -p "$modules/kernel"
cp "$depmod_tree"/modules.builtin "$depmod_tree"/modules.order "$depmod_tree"/modules.builtin.modinfo "$modules/"
for part in drivers/media drivers/virtio drivers/block/virtio_blk.ko drivers/net/virtio_net.ko drivers/net/net_failover.ko \
    drivers/video/fbdev drivers/gpu/drm net/core fs/ext4 fs/jbd2 fs/mbcache.ko fs/fat fs/nls lib crypto arch; do
    [ -e "$depmod_tree/kernel/$part" ] || continue
    mkdir -p "$modules/kernel/$(dirname "$part")"
    cp -r "$depmod_tree/kernel/$part" "$modules/kernel/$(dirname "$part")/"
done
rm -rf "$depmod_tree" "$tree"/boot/vmlinuz* "$tree"/boot/config* "$tree"/boot/System.map*
/sbin/depmod -b "$tree" "$version"

# An initrd that loads the disk and the network, mounts the root and leaves.
early=$folder/initrd.d
mkdir -p "$early/bin" "$early/proc" "$early/sys" "$early/dev" "$early/root" "$early/modules"
cp "$tree/bin/busybox" "$early/bin/"
number=10
for module in virtio_pci virtio_blk virtio_net ext4; do
    /sbin/modprobe -d "$tree" -S "$version" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' >"$folder/early"
while read -r path; do
    cp "$path" "$early/modules/$number-$(basename "$path")"
    number=$((number + 1))
done <"$folder/early"
cat >"$early/init" <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
$B mount -t devtmpfs dev /dev; $B mount -t proc proc /proc; $B mount -t sysfs sys /sys
for module in /modules/*; do $B insmod $module; done
until [ -b /dev/vda2 ]; do $B sleep 0.1; done
$B mount -t ext4 -o rw /dev/vda2 /root
$B ip link set lo up; $B ip link set eth0 up; $B ip addr add 10.0.2.15/24 dev eth0; $B ip route add default via 10.0.2.2
$B umount /proc /sys; $B mount --move /dev /root/dev
exec $B switch_root /root /sbin/init
INIT
chmod 755 "$early/init"
(cd "$early" && find . | cpio -o -H newc --quiet | gzip -1) >"$folder/initrd"

# The image: partition table, boot partition, root.
rm -f "$folder/os.img" "$folder/boot.fat"
truncate -s "$(((root_start / 2048 + root_mib + 1)))M" "$folder/os.img"
printf 'label: dos\nstart=%s, size=%s, type=c\nstart=%s, type=83\n' "$boot_start" "$boot_sectors" "$root_start" |
    /sbin/sfdisk -q "$folder/os.img"
truncate -s "$((boot_sectors / 2))K" "$folder/boot.fat"
/sbin/mkfs.vfat -F 32 -n BOOTFS "$folder/boot.fat" >/dev/null
echo 'console=ttyAMA0 root=/dev/vda2 rw quiet loglevel=4 systemd.show_status=1' >"$folder/cmdline.txt"
mcopy -i "$folder/boot.fat" "$folder/cmdline.txt" ::
dd if="$folder/boot.fat" of="$folder/os.img" bs=512 seek="$boot_start" conv=notrunc,sparse status=none
rm -f "$folder/boot.fat" "$folder/cmdline.txt" "$folder/early"
/sbin/mke2fs -q -t ext4 -d "$tree" -L rootfs -E "offset=$((root_start * 512))" "$folder/os.img" "${root_mib}M"
rm -rf "$tree" "$folder/initrd.d"
