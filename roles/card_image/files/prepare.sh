#!/bin/sh
# Installs packages, files and container images into a copy of a raw OS image, without booting it.
#
# usage: prepare.sh inspect SOURCE                       prints the architecture of its programs, as `uname -m` does
#        prepare.sh prepare SOURCE INPUTS MIB RESULT     MIB is what the container images need in the root file system
#
# To be run as root in mount and process namespaces of its own, which end with it, so that no mount and no process outlives it:
#   unshare --mount --pid --fork --kill-child --mount-proc sh prepare.sh ...
# INPUTS is a directory:
#   root/        files to copy to the same place; links are followed
#   modes        lines with the mode and the path of such a file
#   packages     Debian packages to install
#   downloads    Debian packages to download only
#   masked       units to mask, before anything is installed
#   enabled      units to enable
#   archives/    tars of container images for the containerd of root/usr/local/bin/k3s, also compressed
#   label        label of those images
#   data_dir     where k3s keeps its data
# Exit code 3: it cannot be done on this machine; standard error says why.
set -eu
command=$1 source=$2

cannot() {
    echo "$*" >&2
    exit 3
}

[ "$(id -u)" = 0 ] || cannot "only root can mount the image"
for program in chroot dumpe2fs e2fsck fstrim losetup partx resize2fs sfdisk truncate zstd; do
    command -v $program > /dev/null || cannot "the program $program is not installed on the control node"
done
start=$(partx --raw --noheadings --nr 2 --output START "$source" 2> /dev/null) || cannot "the image has no second partition"
offset=$((start * 512))
root=$(realpath "$(mktemp -d)")
image=
# A failure leaves no image that is half done.
trap 'umount --recursive --lazy "$root" 2> /dev/null || true; rmdir "$root"; [ -z "$image" ] || rm -f "$image"' EXIT

attach() {
    losetup --find --show --offset $offset "$@" || cannot "no loop device can be used here"
}

if [ "$command" = inspect ]; then
    loop=$(attach --read-only "$source")
    mounted=$(mount -o ro,noload "$loop" "$root" 2>&1) || mounted=no
    # The device ends with its last user.
    losetup --detach "$loop"
    [ -z "$mounted" ] || cannot "its second partition has no file system that can be mounted here"
    # Byte 18 of an ELF file is its machine.
    case $(od --address-radix=n --skip-bytes=18 --read-bytes=2 --format=u2 "$root/usr/bin/env" | tr -d ' ') in
        62) machine=x86_64 ;;
        183) machine=aarch64 ;;
        *) cannot "its programs are neither for x86_64 nor for aarch64" ;;
    esac
    # Not as root: the operator may not want this image to be prepared.
    chroot --userspec=65534:65534 "$root" /usr/bin/env true 2> /dev/null ||
        cannot "programs for $machine do not run on this $(uname -m) machine: install qemu-user-static and binfmt-support"
    echo "$machine"
    exit
fi

inputs=$3 mib=$4 result=$5
image=$result.part
words() {
    cat "$inputs/$1" 2> /dev/null || true
}

cp --sparse=always "$source" "$image"
# Packages take 200 MiB, and k3s unpacks its programs and images beside what it is installed from.
mib=$((mib + 400 + 4 * $(du --dereference --summarize --block-size=1M "$inputs/root" | cut -f1)))
truncate --size=+${mib}M "$image"
echo ',+' | sfdisk --quiet --no-reread --partno 2 "$image"
loop=$(attach "$image")
# Its exit code is 1 when it corrected something.
e2fsck -f -p "$loop" || [ $? = 1 ]
resize2fs "$loop"
mount -o discard "$loop" "$root"
losetup --detach "$loop"

# A link of the image that begins with / leads to this machine's files while it is mounted here.
for path in dev proc sys run tmp etc/ssh etc/machine-id usr/sbin/policy-rc.d var/lib/systemd var/cache/apt etc/.updated var/.updated \
    $(cd "$inputs/root" && find . -mindepth 1); do
    case $(realpath --canonicalize-missing "$root/$path") in
        "$root"/*) ;;
        *) cannot "/${path#./} of the image leads over a link out of the image" ;;
    esac
done

# It may be a link to a file that is made at boot.
has_resolver() {
    [ -L "$1" ] || [ -e "$1" ]
}
! has_resolver "$root/etc/resolv.conf" || mv "$root/etc/resolv.conf" "$root/etc/resolv.conf.image"
cp --dereference /etc/resolv.conf "$root/etc/resolv.conf"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"

# Nothing that is installed is started.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cp "$root/etc/machine-id" "$root/tmp/machine-id"

for unit in $(words masked); do
    chroot "$root" systemctl --quiet mask "$unit"
done
cp --recursive --dereference --preserve=mode --no-target-directory "$inputs/root" "$root"
words modes | while read -r mode path; do
    [ -z "$path" ] || chmod "$mode" "$root$path"
done

export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt_get() {
    # The image is deleted if this fails: dpkg need not wait for the disk.
    chroot "$root" apt-get --quiet --assume-yes --no-install-recommends -o Dpkg::Options::=--force-unsafe-io "$@" < /dev/null
}
if [ -n "$(words packages)" ]; then
    apt_get update
    # shellcheck disable=SC2046 # words
    apt_get install $(words packages)
    # shellcheck disable=SC2046
    [ -z "$(words downloads)" ] || apt_get --download-only install $(words downloads)
fi
for unit in $(words enabled); do
    chroot "$root" systemctl --quiet enable "$unit"
done

if [ -n "$(ls "$inputs/archives")" ]; then
    data=$(words data_dir)
    # k3s unpacks its programs when one of them is used.
    K3S_DATA_DIR=$data chroot "$root" /usr/local/bin/k3s ctr --help > /dev/null
    bin=$data/data/current/bin
    chroot "$root" "$bin/containerd" --root "$data/agent/containerd" --state /run/containerd --address /run/containerd.sock \
        > "$inputs/containerd.log" 2>&1 &
    containerd=$!
    ctr() {
        chroot "$root" "$bin/ctr" --address /run/containerd.sock --namespace k8s.io "$@"
    }
    tries=0
    until ctr version > /dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 120 ]; then
            echo "containerd did not start within a minute:" >&2
            tail -20 "$inputs/containerd.log" >&2
            exit 1
        fi
        sleep 0.5
    done
    for archive in "$inputs/archives"/*; do
        zstd --decompress --stdout --quiet --force "$archive" | ctr images import --local --label "$(words label)" -
    done
    kill $containerd
    wait $containerd || true
fi

rm "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf"
! has_resolver "$root/etc/resolv.conf.image" || mv "$root/etc/resolv.conf.image" "$root/etc/resolv.conf"
# What no two boards may share.
cat "$root/tmp/machine-id" > "$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_*_key* "$root"/var/lib/systemd/random-seed "$root"/var/cache/apt/*.bin
# An image that has these marks says that nothing is to be updated at its first boot; installing packages has done it again.
for mark in etc/.updated var/.updated; do
    [ ! -e "$root/$mark" ] || touch "$root/$mark"
done
fstrim "$root"
umount --recursive "$root"

loop=$(attach "$image")
e2fsck -f -p "$loop" || [ $? = 1 ]
resize2fs -M "$loop"
sectors=$(dumpe2fs -h "$loop" 2> /dev/null | awk '/^Block count:/ {count = $3} /^Block size:/ {size = $3} END {printf "%d", count * size / 512}')
losetup --detach "$loop"
echo ",$sectors" | sfdisk --quiet --no-reread --partno 2 "$image"
truncate --size=$((offset + sectors * 512)) "$image"
chown --reference="$inputs" "$image"
sync "$image"
mv "$image" "$result"
