#!/usr/bin/env bash
# Tests wpm on a machine of its own: systemd as the first process, control groups of version 2, three boots.
#
# Usage: tests/machine/run.sh [--wpm PROGRAM] [--arch ARCH] [--suite SUITE] [--accel ACCEL] [--only PATTERN]
#                             [--keep]
#
#   --wpm PROGRAM    the program to test [default: the debug build of this checkout]
#   --arch ARCH      amd64 or arm64, for which the program is [default: amd64]
#   --suite SUITE    release of Debian on the machine [default: trixie]
#   --accel ACCEL    what runs it, as QEMU names it [default: tcg, which emulates it and works everywhere]
#   --only PATTERN   of the first boot, only the checks whose names match, and no other boot
#   --keep           leave the disk, the console and the results in target/tmp/machine
#
# Root makes a file system of Debian's packages with mmdebstrap, from the mirror that apt of this machine
# uses; it is kept in target/tmp/machine for the next time. For arm64 the packages qemu-user-static and
# arch-test run what the packages want to be run. QEMU boots it from there, on a copy, with what
# stands in tests/machine/guest. The last line reads `machine: N passed, N failed`; where the machine cannot be
# had, it says `not run` and why, and the exit code is 3.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin

# What is on the machine: enough for sessions of users, nothing for wpm.
packages=systemd,systemd-sysv,dbus,libpam-systemd,dbus-user-session,passwd
# Longest that one boot may take, in seconds. On a machine that is not busy none takes a tenth of it.
patience=1800

program=
arch=amd64
suite=trixie
accel=tcg
only=
keep=no
while [ $# -gt 0 ]; do
    case $1 in
        --wpm | --arch | --suite | --accel | --only)
            [ $# -gt 1 ] || { echo "$1 needs a value" >&2; exit 2; }
            case $1 in
                --wpm) program=$2 ;;
                --arch) arch=$2 ;;
                --suite) suite=$2 ;;
                --accel) accel=$2 ;;
                --only) only=$2 ;;
            esac
            shift 2
            ;;
        --keep) keep=yes; shift ;;
        -h | --help)
            sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *)
            echo "unknown option $1; --help tells those that there are" >&2
            exit 2
            ;;
    esac
done

not_run() {
    echo "machine: not run: $1"
    exit 3
}

[ "$(id -u)" = 0 ] || not_run "only root can make a file system for it"
# What differs between processors: names, and the second serial port, of which arm64 has none without a card.
case $arch in
    amd64)
        machine=x86_64
        emulator='qemu-system-x86_64:qemu-system-x86'
        board=()
        console=ttyS0
        port=ttyS1
        results=(-serial 'chardev:results')
        ;;
    arm64)
        machine=aarch64
        emulator='qemu-system-aarch64:qemu-system-arm'
        board=(-machine virt)
        console=ttyAMA0
        port=ttyS0
        results=(-device 'pci-serial,chardev=results')
        ;;
    *)
        echo "there is no machine for --arch $arch: amd64 or arm64" >&2
        exit 2
        ;;
esac
for tool in "$emulator" mmdebstrap:mmdebstrap mke2fs:e2fsprogs; do
    command -v "${tool%%:*}" >/dev/null || not_run "${tool%%:*} is not installed (Debian package ${tool##*:})"
done
if [ -z "$program" ]; then
    program=$(find "$top"/target -path "*/$machine-*/debug/wpm" -type f -printf '%T@ %p\n' 2>/dev/null |
        sort -rn | head -n 1 | cut -d ' ' -f 2-)
fi
[ -x "$program" ] || {
    echo "there is no program to test: cargo build -p wpm --target $machine-unknown-linux-gnu, or --wpm PROGRAM" >&2
    exit 2
}

cache=$top/target/tmp/machine/$suite-$arch
work=$(mktemp -d)
qemu=
finish() {
    if [ -n "$qemu" ]; then kill "$qemu" 2>/dev/null || :; fi
    if [ "$keep" = yes ]; then
        cp "$work"/disk.img "$work"/console* "$work"/results* "$top/target/tmp/machine/" 2>/dev/null || :
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# ---- the file system of the machine ------------------------------------------------------------------

# Only what concerns the system itself: what this machine has beside Debian's is none of the test's business.
mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(SITE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
        awk '$2 == "main" && $3 == "Debian" && $1 !~ /security/ { print $1; exit }'
}

make_root() {
    local from
    from=$(mirror)
    [ -n "$from" ] || not_run "apt of this machine knows no mirror of Debian"
    echo "making a file system of Debian $suite for $arch"
    rm -rf "$cache"
    mkdir -p "$cache"
    # Beside it, its kernel: one that finds its disk by itself, so that nothing but it is needed.
    cat >"$cache/kernel" <<'HOOK'
#!/bin/sh
set -eu
cd "$2"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
export APT_CONFIG
image=$(apt-cache depends "linux-image-cloud-$3" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
apt-get download -q "$image"
dpkg-deb --fsys-tarfile ./linux-image-*.deb | tar -x --wildcards '*/boot/vmlinuz-*' '*/boot/config-*'
grep -q '^CONFIG_BLK_DEV_NVME=y' boot/config-*
mv boot/vmlinuz-* vmlinuz
rm -rf boot ./*.deb
HOOK
    chmod 755 "$cache/kernel"
    mmdebstrap --quiet --mode=root --architectures="$arch" --variant=essential --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook="$cache/kernel \"\$1\" $cache $arch" \
        "$suite" "$cache/root" "deb $from $suite main" >"$cache/log" 2>&1 || {
        tail -n 5 "$cache/log"
        rm -rf "$cache"
        not_run "Debian $suite for $arch cannot be had from the mirror of this machine"
    }
    # What boots look at to see whether anything was installed since.
    touch "$cache/root/etc/.updated" "$cache/root/var/.updated"
    touch "$cache/made"
}

[ -e "$cache/made" ] || make_root

# ---- the test, put into it ---------------------------------------------------------------------------

cp -a "$cache/root" "$work/root"
mkdir -p "$work/root/opt/machine" "$work/root/usr/local/bin"
cp "$here"/guest/* "$work/root/opt/machine/"
"$machine-linux-gnu-strip" -o "$work/root/usr/local/bin/wpm" "$program" 2>/dev/null ||
    cp "$program" "$work/root/usr/local/bin/wpm"
chmod 755 "$work/root/usr/local/bin/wpm" "$work"/root/opt/machine/*
cat >"$work/root/etc/systemd/system/machine.service" <<UNIT
[Unit]
Description=Tests of wpm
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/opt/machine/boot.sh
StandardOutput=file:/dev/$port
StandardError=inherit
TimeoutStartSec=infinity
UNIT
mkdir -p "$work/root/etc/systemd/system/multi-user.target.wants"
ln -s ../machine.service "$work/root/etc/systemd/system/multi-user.target.wants/"
chroot "$work/root" useradd --create-home --shell /bin/sh web
truncate -s 2G "$work/disk.img"
mke2fs -q -t ext4 -d "$work/root" "$work/disk.img"
rm -rf "$work/root"

# ---- its boots ---------------------------------------------------------------------------------------

# One, until the machine goes down or resets itself; the next continues on the same disk.
boot() { # number
    local began=$SECONDS
    "${emulator%%:*}" "${board[@]}" -accel "$accel" -cpu max -smp 1 -m 1024 -display none -nodefaults -no-user-config \
        -no-reboot -serial "file:$work/console$1" -chardev "file,id=results,path=$work/results$1" "${results[@]}" \
        -drive "if=none,id=disk,file=$work/disk.img,format=raw,cache=unsafe" -device nvme,drive=disk,serial=disk \
        -kernel "$cache/vmlinuz" \
        -append "root=/dev/nvme0n1 rw console=$console quiet panic=-1 systemd.show_status=0 systemd.getty_auto=0 systemd.mask=getty@tty1.service systemd.mask=systemd-modules-load.service wpm.boot=$1 wpm.only=$only" \
        >"$work/qemu$1" 2>&1 &
    qemu=$!
    while kill -0 "$qemu" 2>/dev/null && [ $((SECONDS - began)) -lt "$patience" ]; do
        sleep 0.2
    done
    local late=no
    if kill -0 "$qemu" 2>/dev/null; then
        late=yes
        kill "$qemu"
    fi
    wait "$qemu" || :
    qemu=
    sed 's/\r$//' "$work/results$1" | grep -v '^boot .* is done$' || :
    if ! grep -q "^boot $1 is done" "$work/results$1"; then
        if [ $late = yes ]; then late=" within $patience s"; else late=; fi
        echo "FAILED  boot $1: it did not come to its end$late"
        tail -n 20 "$work/qemu$1" "$work/console$1" | tr -d '\033' | sed 's/^/        /'
        return 1
    fi
    echo "        boot $1: $((SECONDS - began)) s"
}

{
    if boot 1 && [ -z "$only" ] && boot 2; then boot 3 || :; fi
} | tee "$work/all"
passed=$(grep -c '^ok ' "$work/all" || :)
failed=$(grep -c '^FAILED ' "$work/all" || :)
echo "machine: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
