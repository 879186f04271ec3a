# What the checks stand on. Read by boot.sh, which runs them.
# shellcheck shell=bash
# Others set what it uses, and use what it sets.
# shellcheck disable=SC2154,SC2034

# Services have neither of them; who logs in has both.
export HOME=/root LC_ALL=C.UTF-8
cd /root || exit 1
here=/opt/machine
unit=wpm-root.service
apps=$here/apps.pl

# Runs a check, named by a function, and says how it came out. Later ones build on earlier ones.
check() { # function
    local began=$SECONDS result
    # Not in a condition: there `set -e` would be off.
    (set -eEx -o pipefail && "$1") >/tmp/check.log 2>&1
    result=$?
    if [ "$result" = 0 ]; then
        echo "ok      boot $boot: ${1//_/ } ($((SECONDS - began)) s)"
    else
        echo "FAILED  boot $boot: ${1//_/ } ($((SECONDS - began)) s)"
        tail -n 60 /tmp/check.log | cut -c 1-300 | sed 's/^/        /'
        { systemctl status -n 20 --no-pager "$unit"; tail -n 20 /root/.wpm/daemon.log; } 2>&1 |
            cut -c 1-300 | sed 's/^/        | /'
    fi
}

# Waits until a command succeeds. The deadline is one for a machine that is emulated on a busy one.
await() { # command...
    local until=$((SECONDS + 120)) traced=$-
    set +x
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$until" ]; then
            echo "in vain for 120 s: $*"
            return 1
        fi
        sleep 0.1
    done
    [[ $traced != *x* ]] || set -x
}

same() { # what is, what should be
    [ "$1" = "$2" ] || {
        echo "\"$1\" is not \"$2\""
        return 1
    }
}
says() { # pattern, command...
    local pattern=$1 text
    shift
    text=$("$@" 2>&1) || :
    grep -qE -- "$pattern" <<<"$text" || {
        echo "$* does not say $pattern but: $text"
        return 1
    }
}

property() { # name [unit]
    systemctl show --value -p "$1" "${2:-$unit}"
}
is() { # name of a property, value
    [ "$(property "$1")" = "$2" ]
}
main_process() { property MainPID; }
# Live processes of apps; what is down has the number 0.
pids() { # [app]
    wpm pid "$@" | grep -vx 0
}
daemon_process() { cat "$HOME/.wpm/daemon.pid"; }

# Processes of wpm itself, by the names that they give themselves.
wpm_processes() { # kind: keeper, daemon or shim; none = all
    local file name
    for file in /proc/[0-9]*/comm; do
        { read -r name <"$file"; } 2>/dev/null || continue
        case $name in
            wpm-keeper | wpm-daemon) name=${name#wpm-} ;;
            wpm:*) name=shim ;;
            *) continue ;;
        esac
        if [ "${1:-$name}" = "$name" ]; then echo "${file//[^0-9]/}"; fi
    done
}
has_processes() { # kind, how many
    [ "$(wpm_processes "$1" | wc -l)" = "$2" ]
}
lives() { kill -0 "$1" 2>/dev/null; }
dead() { ! lives "$1"; }
group_of() { sed -n 's/^0:://p' "/proc/$1/cgroup"; }
# Folder of the control group of an app with one instance.
folder_of() { echo "/sys/fs/cgroup$(group_of "$(wpm pid "$1")")"; }
number() { wpm list "$1" --json | grep -o "\"$2\": *[0-9]*" | head -n 1 | tr -dc 0-9; } # app, name in its JSON
restarts() { number "$1" restarts; }
shim_of() { number "$1" shim_pid; }
online() { # app...
    local app
    for app in "$@"; do
        wpm list "$app" --json | grep -o '"status": *"[a-z ]*"' | sort -u | tr -d '"' | grep -qx 'status: *online' ||
            return 1
    done
}

# What must be as it was, whatever happens to wpm: who runs, and how often it was restarted.
standing() {
    wpm pid | sort -n
    wpm list --json | grep -oE '"(restarts|status)":[^,}]*'
}
# The unit heals it, with no help of a command, and has touched nothing.
untouched() { # what `standing` said
    await healed
    await wpm ping
    same "$(standing)" "$1"
}
# All of wpm is there, in the unit.
healed() {
    is ActiveState active && [ "$(wpm_processes keeper)" = "$(main_process)" ] && has_processes daemon 1
}

# Each run of the writer has printed every number once and in order.
nothing_is_lost() {
    perl -e '
        my (%last, $bad);
        while (<>) {
            next unless /^run (\d+) line (\d+)$/;
            if ($2 != ($last{$1} // 0) + 1) { print "after $last{$1} of $1: $_"; $bad = 1; }
            $last{$1} = $2;
        }
        exit($bad || !%last);
    ' "$1"
}
