#!/usr/bin/env bash
# The test command: installs what the tests need, then runs every check and test of wpm.
#
# Usage: tests/check.sh [--no-install] [STEP...]
#
#   --no-install   install nothing; say what is missing and stop
#   STEP           only these: fmt clippy test nodes doc deny scripts repository reference budgets install
#
# Needs a Rust toolchain and, for the rest, Debian's packages: missing ones are installed with apt-get by
# root or through sudo. Nothing is retried. The last line reads `N passed, N failed`; the exit code is 0
# when nothing failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# Programs inherit which signals their caller ignores: under nohup a test that hangs up would wait for ever.
if (($((16#$(awk '/^SigIgn:/ { print $2 }' /proc/$$/status))) & 1)); then
    exec env --default-signal=HUP tests/check.sh "$@"
fi

all_steps="fmt clippy test nodes doc deny scripts repository reference budgets install"
steps=
install=yes
for word in "$@"; do
    case $word in
        --no-install) install=no ;;
        -h | --help)
            sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *)
            case " $all_steps " in
                *" $word "*) steps="$steps $word" ;;
                *)
                    echo "unknown step \`$word\`; there are: $all_steps" >&2
                    exit 2
                    ;;
            esac
            ;;
    esac
done
steps=${steps:-$all_steps}

# What the tests start must not meet what the caller runs.
for name in ${!WPM_@} ${!PM2_@}; do
    [ "$name" = WPM_TEST_SEED ] || unset "$name"
done

# ---- what the tests need -----------------------------------------------------------------------------

has() { command -v "$1" >/dev/null 2>&1; }

missing=()
want() { # command, Debian package
    has "$1" || missing+=("$2")
}

look_for_tools() {
    missing=()
    want cc gcc
    want node nodejs
    want npm npm
    want python3 python3
    # On Debian `venv` is there without `ensurepip`, and makes no environment then.
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
    # Debian keeps these two where the PATH of a user may not look.
    PATH=$PATH:/usr/sbin want redis-server redis-server
    PATH=$PATH:/usr/sbin want nginx nginx
    want strace strace
    want systemd-analyze systemd
    want shellcheck shellcheck
    want curl curl
    want busybox busybox
    want tmux tmux
}

install_tools() {
    if ! has cargo || ! has rustc; then
        echo "cargo was not found: install Rust from https://rustup.rs, then try again" >&2
        exit 1
    fi
    look_for_tools
    [ ${#missing[@]} -gt 0 ] || return 0
    local as=()
    if [ "$(id -u)" != 0 ]; then as=(sudo -n); fi
    local by_hand="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    if [ "$install" = no ] || ! has apt-get || { [ ${#as[@]} -gt 0 ] && ! "${as[@]}" true 2>/dev/null; }; then
        echo "the tests need these packages, which cannot be installed from here: ${missing[*]}" >&2
        echo "as root: $by_hand" >&2
        exit 1
    fi
    echo "installing ${missing[*]}"
    # Without the services that some of them would start.
    "${as[@]}" apt-get update -q &&
        "${as[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get install -y -q --no-install-recommends "${missing[@]}" || exit 1
    look_for_tools
    if [ ${#missing[@]} -gt 0 ]; then
        echo "still missing after the installation: ${missing[*]}" >&2
        exit 1
    fi
}

# ---- the steps ---------------------------------------------------------------------------------------

passed=0
failed=0
failures=()
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
trap 'exit 130' INT TERM

# Adds up what a step printed: libtest's results, or `NAME: N passed, N failed`.
count() { # word
    awk -v word="$1" '
        /^test result:/ || /^[a-z]+: [0-9]+ passed, [0-9]+ failed$/ {
            for (i = 2; i <= NF; i++) if ($i ~ "^" word) sum += $(i - 1)
        }
        END { print sum + 0 }' "$log/step"
}

step() { # name, command...
    local name=$1 began=$SECONDS good bad
    shift
    case " $steps " in
        *" $name "*) ;;
        *) return 0 ;;
    esac
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" 2>&1 | tee "$log/step"
    local code=${PIPESTATUS[0]}
    good=$(count passed)
    bad=$(count failed)
    # A step without tests of its own is one; one that fails without a failed test is one failure.
    if [ "$code" = 0 ] && [ "$good" = 0 ] && [ "$bad" = 0 ]; then good=1; fi
    if [ "$code" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    passed=$((passed + good))
    failed=$((failed + bad))
    if [ "$code" != 0 ] || [ "$bad" != 0 ]; then failures+=("$name"); fi
    printf '== %s: %d passed, %d failed, %d s\n' "$name" "$good" "$bad" $((SECONDS - began))
}

deny() {
    if has cargo-deny; then
        # Advisories need a copy of the database, which a machine without network lacks.
        cargo deny --all-features check bans licenses sources
    else
        echo "cargo-deny is not installed; licences and bans are not checked"
    fi
}

scripts() {
    shellcheck -s dash install.sh tests/install/test.sh && shellcheck tests/*.sh tests/machine/*.sh tests/machine/guest/*.sh .ci/*
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
}

# The oldest Node that is supported and the newest, beside the one that is installed.
nodes() {
    local folder=target/tmp/nodes version
    if [ ! -e "$folder/installed" ]; then
        mkdir -p "$folder" &&
            npm install --no-audit --no-fund --loglevel=error --prefix "$folder" \
                node-16@npm:node@16 node-26@npm:node@26 && touch "$folder/installed" || return 1
    fi
    for version in 16 26; do
        echo "with Node $version"
        WPM_TEST_NODE=$PWD/$folder/node_modules/node-$version/bin/node \
            cargo test -p wpm-cluster --locked --test node || return 1
    done
}

# Path of a program as the tests use it: another selection of packages would build it anew.
tested() { # name
    cargo test --workspace --locked --no-run --message-format json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\/'"$1"'\)".*/\1/p' | tail -n 1
}

# docs/commands.md is what the program says of itself.
reference() {
    local program
    program=$(tested wpm)
    [ -x "$program" ] || return 1
    if ! diff -u <(sed '1,/^<!-- What follows/d' docs/commands.md) <(.ci/reference "$program"); then
        echo "docs/commands.md is not what wpm says of itself: .ci/reference $program --write"
        return 1
    fi
}

# System calls of everyday acts: a count does not depend on how busy the machine is.
budgets() {
    local program puppet
    program=$(tested wpm)
    puppet=$(tested wpm-puppet)
    [ -x "$program" ] && [ -x "$puppet" ] || return 1
    tests/bench/budgets.py --wpm "$program" --puppet "$puppet"
}

install_tools
PATH=$PATH:/usr/sbin
step fmt cargo fmt --all --check
step scripts scripts
step repository tests/repository.sh
step clippy cargo clippy --workspace --all-targets --locked -- -D warnings
step test cargo test --workspace --locked --no-fail-fast
step nodes nodes
step reference reference
step budgets budgets
step doc docs
step deny deny
step install tests/install/test.sh

echo
if [ ${#failures[@]} -gt 0 ]; then echo "failed: ${failures[*]}"; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ ${#failures[@]} = 0 ]
