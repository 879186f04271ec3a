#!/usr/bin/env bash
# Run by machine.service at each boot of the machine: the checks of this boot, then its end.
#
# Prints to the second serial port, where run.sh reads; the first has the console.
# shellcheck disable=SC1091,SC2154
set -uo pipefail
boot=$(sed -n 's/.*wpm\.boot=\([0-9]*\).*/\1/p' /proc/cmdline)
only=$(sed -n 's/.*wpm\.only=\([^ ]*\).*/\1/p' /proc/cmdline)
. /opt/machine/common.sh

# Checks are the functions of a file whose names begin with `it_`, in the order in which they stand there.
checks() { # file
    local name
    # shellcheck disable=SC1090
    . "$here/$1"
    while read -r name <&3; do
        if [ -z "$only" ] || grep -qE "$only" <<<"$name"; then check "$name"; fi
    done 3< <(sed -n 's/^\(it_[a-z_]*\)() {.*/\1/p' "$here/$1")
}

done_with() {
    echo "boot $boot is done"
    sync
}

case $boot in
    1)
        checks unit.sh
        checks groups.sh
        checks user.sh
        checks leaving.sh
        done_with
        systemctl poweroff
        ;;
    2)
        checks again.sh
        done_with
        # What no caller was told to be durable may be lost now, and nothing else.
        cut_the_power
        ;;
    *)
        checks last.sh
        done_with
        systemctl poweroff
        ;;
esac
