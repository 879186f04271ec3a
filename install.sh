#!/bin/sh
# Installs wpm for one user, or for all under a prefix; needs no root and never asks for it.
#
# Run from a checkout it builds that checkout; piped into a shell it fetches a release, checks its
# SHA-256 and unpacks it. Everything that it writes is named in a receipt, and `--uninstall` removes
# exactly that. See `install.sh --help`.
#
# Only functions stand before the last line, and the last line is one braced group: a download that
# was cut off runs nothing.

REPOSITORY=https://github.com/wpm-rs/wpm

usage() {
    cat <<'USAGE'
Installs wpm, a process manager.

Usage: install.sh [OPTIONS]
       curl -fsSL URL/install.sh | sh -s -- [OPTIONS]

In a checkout of wpm the checkout is built (needs Rust); elsewhere a release is fetched.

  --prefix DIR        install under DIR (default ~/.local, or $WPM_PREFIX)
  --bin-dir DIR       put the program into DIR (default PREFIX/bin, or $WPM_INSTALL_DIR)
  --version V         fetch release V instead of the newest, or of building the checkout ($WPM_VERSION)
  --from-source       build from source, also where a release could be fetched
  --features LIST     features of the build
  --offline           build without network (after `cargo fetch --locked`, or with vendored crates)
  --no-completions    install no completions for bash, zsh and fish
  --no-man            install no manual pages
  --modify-path       add the program's folder to PATH in your shell's start file (default: say how)
  --dry-run           say what would be done
  --uninstall         remove what was installed
  --purge             with --uninstall: remove the state and logs in ~/.wpm (or $WPM_HOME) too
  -q, --quiet         print errors only
  -h, --help          print this

Environment: WPM_PREFIX, WPM_INSTALL_DIR, WPM_VERSION as above; WPM_DOWNLOAD_URL, a folder (https:// or
file://) that holds SHA256SUMS and wpm-VERSION-TARGET.tar.gz, in place of the project's releases.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something needed is missing, 4 checksum does not match.
USAGE
}

say() { [ "$quiet" = yes ] || printf '%s\n' "$@" >&2; }
fail() { # code, message...
    fail_code=$1
    shift
    printf 'install.sh: error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit "$fail_code"
}
has() { command -v "$1" >/dev/null 2>&1; }
need() { has "$1" || fail 3 "\`$1\` is needed and was not found" "$2"; }

absolute() { # path -> the same from the root, without touching the disk
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s/%s\n' "$(pwd)" "$1" ;;
    esac
}

# shellcheck disable=SC2317 # called by the trap
cleanup() {
    [ -z "$staged" ] || rm -f -- "$staged"
    [ -n "$tmp" ] || return 0
    # Folders made for an installation that did not come about.
    [ ! -f "$tmp/made" ] || remove_dirs "$tmp/made"
    rm -rf -- "$tmp"
}

parse_options() {
    while [ $# -gt 0 ]; do
        option=$1
        shift
        case $option in
            --*=*)
                value=${option#*=}
                option=${option%%=*}
                set -- "$value" "$@"
                case $option in
                    --prefix | --bin-dir | --version | --features) ;;
                    *) fail 2 "$option takes no value" ;;
                esac
                ;;
        esac
        case $option in
            --prefix | --bin-dir | --version | --features)
                [ -n "${1:-}" ] || fail 2 "$option needs a value"
                case $option in
                    --prefix) prefix=$1 ;;
                    --bin-dir) bin_dir=$1 ;;
                    --version) version=${1#v} ;;
                    --features) features=$1 ;;
                esac
                shift
                ;;
            --from-source) from_source=yes ;;
            --offline) offline=yes ;;
            --no-completions) completions=no ;;
            --no-man) man=no ;;
            --modify-path) modify_path=yes ;;
            --dry-run) dry_run=yes ;;
            --uninstall) uninstall=yes ;;
            --purge) purge=yes ;;
            -q | --quiet) quiet=yes ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) fail 2 "unknown option \`$option\`" "see --help" ;;
        esac
    done
    [ "$purge" = no ] || [ "$uninstall" = yes ] || fail 2 "--purge goes with --uninstall"
    [ -z "$version" ] || [ "$from_source" = no ] || [ -z "$checkout" ] ||
        fail 2 "--version names a release and --from-source builds this checkout" "give one of them"
    if [ -z "$prefix" ]; then
        [ -n "${HOME:-}" ] || fail 2 "HOME is not set" "say where with --prefix DIR"
        prefix=$HOME/.local
    fi
    prefix=$(absolute "$prefix")
    bin_dir=$(absolute "${bin_dir:-$prefix/bin}")
    case $prefix$bin_dir in
        *'
'*) fail 2 "a path with a line break cannot be written into the receipt" ;;
    esac
    receipt=$prefix/share/wpm/receipt
}

# The folder of this script where it is a checkout of wpm; nothing where the script came through a pipe.
find_checkout() {
    [ -f "$1" ] || return 0
    folder=$(CDPATH='' cd -- "$(dirname -- "$1")" && pwd -P) || return 0
    [ -f "$folder/Cargo.lock" ] && [ -f "$folder/crates/wpm/Cargo.toml" ] || return 0
    printf '%s\n' "$folder"
}

# ---- getting the program -----------------------------------------------------------------------------

check_toolchain() { # file with rust-version, or nothing
    for tool in cargo rustc; do
        has "$tool" || fail 3 "building needs Rust, and $tool was not found" \
            "install it from https://rustup.rs, then open a new shell"
    done
    [ -n "$1" ] || return 0
    wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$1" | sed -n 1p)
    found=$(cd "$(dirname "$1")" && rustc --version 2>"$tmp/rustc.err" | sed -n 's/^rustc \([0-9][0-9.]*\).*/\1/p')
    [ -n "$found" ] || fail 3 "\`rustc --version\` does not run" "$(sed -n 1p "$tmp/rustc.err")"
    printf '%s %s\n' "$wanted" "$found" | awk '{
        split($1, w, "."); split($2, f, ".")
        for (i = 1; i <= 3; i++) if (f[i] + 0 != w[i] + 0) exit (f[i] + 0 < w[i] + 0)
    }' || fail 3 "wpm needs Rust $wanted or newer, and rustc is $found" "\`rustup update stable\`"
}

build_failed() {
    has cc || has gcc || has clang ||
        fail 3 "the build failed, and no C compiler to link with was found" "Debian: apt-get install gcc libc6-dev"
    if [ "$offline" = yes ]; then
        fail 1 "the build failed" \
            "offline, every crate must be here already: \`cargo fetch --locked\` once, where there is a network"
    fi
    fail 1 "the build failed" \
        "if it was the network: \`cargo fetch --locked\` once where there is one, then --offline"
}

build_checkout() {
    check_toolchain "$checkout/Cargo.toml"
    say "building wpm in $checkout"
    set -- build --release --locked --package wpm --bin wpm --message-format json-render-diagnostics
    [ "$offline" = no ] || set -- "$@" --offline
    [ "$quiet" = no ] || set -- "$@" --quiet
    [ -z "$features" ] || set -- "$@" --features "$features"
    (cd "$checkout" && cargo "$@") >"$tmp/build.json" || build_failed
    # Cargo says where the program is; the folder depends on the target and on the user's settings.
    program=$(sed -n 's/.*"executable":"\(.*[^\\]\)","fresh".*/\1/p' "$tmp/build.json" | sed -n '$p' |
        sed 's/\\\([\\"]\)/\1/g')
    [ -f "$program" ] || fail 1 "cargo built wpm, but did not say where it is"
}

build_repository() {
    check_toolchain ''
    say "building wpm from $REPOSITORY"
    set -- install --locked --git "$REPOSITORY" --root "$tmp/root" --bin wpm wpm
    [ -z "$version" ] || set -- "$@" --tag "v$version"
    [ "$offline" = no ] || set -- "$@" --offline
    [ -z "$features" ] || set -- "$@" --features "$features"
    cargo "$@" >&2 || build_failed
    program=$tmp/root/bin/wpm
}

target_triple() {
    system=$(uname -s)
    machine=$(uname -m)
    case $system in
        Linux) ;;
        *) fail 1 "there are no binaries for $system" "wpm is built for Linux" ;;
    esac
    case $machine in
        x86_64 | amd64) machine=x86_64 ;;
        aarch64 | arm64) machine=aarch64 ;;
        *) fail 1 "there are no binaries for $machine" "build it: --from-source (needs Rust)" ;;
    esac
    if has getconf && [ "$(getconf LONG_BIT 2>/dev/null)" = 32 ]; then
        fail 1 "there are no binaries for 32-bit systems" "build it: --from-source (needs Rust)"
    fi
    # The program is linked statically: the same one serves glibc and musl systems.
    printf '%s-unknown-linux-gnu\n' "$machine"
}

fetch() { # url, file
    case $1 in
        file://*) cp -- "${1#file://}" "$2" 2>"$tmp/fetch.err" ;;
        https://*)
            if has curl; then
                curl --proto '=https' --proto-redir '=https' --tlsv1.2 -fsSL -o "$2" "$1" 2>"$tmp/fetch.err"
            elif has wget; then
                wget -q --https-only -O "$2" "$1" 2>"$tmp/fetch.err"
            else
                fail 3 "curl or wget is needed and was not found"
            fi
            ;;
        *) fail 2 "$1 is neither https:// nor file://" ;;
    esac || fail 1 "cannot fetch $1" "$(sed -n 1p "$tmp/fetch.err")"
}

sha256() { # file -> its checksum
    if has sha256sum; then
        sha256sum <"$1" | cut -d ' ' -f 1
    elif has shasum; then
        shasum -a 256 <"$1" | cut -d ' ' -f 1
    elif has openssl; then
        openssl dgst -sha256 -r <"$1" | cut -d ' ' -f 1
    else
        fail 3 "sha256sum, shasum or openssl is needed and none was found"
    fi
}

download() {
    need tar "Debian: apt-get install tar"
    need gzip "Debian: apt-get install gzip"
    has sha256sum || has shasum || has openssl ||
        fail 3 "sha256sum, shasum or openssl is needed to check the download, and none was found"
    target=$(target_triple)
    if [ -n "${WPM_DOWNLOAD_URL:-}" ]; then
        url=${WPM_DOWNLOAD_URL%/}
    elif [ -n "$version" ]; then
        url=$REPOSITORY/releases/download/v$version
    else
        url=$REPOSITORY/releases/latest/download
    fi
    fetch "$url/SHA256SUMS" "$tmp/SHA256SUMS"
    awk -v head="wpm-$version" -v tail="-$target.tar.gz" '
        { name = $2; sub(/^\*/, "", name) }
        NF == 2 && index(name, head) == 1 && name !~ /\// &&
            substr(name, length(name) - length(tail) + 1) == tail { print $1, name }
    ' "$tmp/SHA256SUMS" >"$tmp/chosen"
    if [ -n "$version" ]; then
        awk -v name="wpm-$version-$target.tar.gz" '$2 == name' "$tmp/chosen" >"$tmp/exact"
        mv -f "$tmp/exact" "$tmp/chosen"
    fi
    case $(wc -l <"$tmp/chosen" | tr -d ' ') in
        0) fail 1 "$url has no wpm${version:+ $version} for $target" "build it: --from-source (needs Rust)" ;;
        1) ;;
        *) fail 2 "$url holds several versions" "choose one with --version" ;;
    esac
    read -r expected archive <"$tmp/chosen"
    say "fetching $url/$archive"
    fetch "$url/$archive" "$tmp/$archive"
    actual=$(sha256 "$tmp/$archive")
    [ "$actual" = "$expected" ] || fail 4 "$archive is not what SHA256SUMS promises; nothing was installed" \
        "expected $expected" "found    $actual"
    tar -xzf "$tmp/$archive" -C "$tmp" || fail 1 "cannot unpack $archive"
    program=$tmp/${archive%.tar.gz}/wpm
    [ -f "$program" ] || fail 1 "$archive holds no wpm"
}

# ---- installing --------------------------------------------------------------------------------------
# The receipt has one line for each thing: its kind (program, file, dir, path), its SHA-256 or `-`, its path.

make_dir() { # creates the folder and notes each one that was not there
    [ ! -d "$1" ] || return 0
    make_dir "$(dirname -- "$1")"
    mkdir -- "$1" || fail 1 "cannot create the folder $1"
    printf 'dir - %s\n' "$1" >>"$tmp/made"
}

stage() { # source, destination, mode: a copy beside the destination
    make_dir "$(dirname -- "$2")"
    staged=$(dirname -- "$2")/.wpm.tmp.$$
    cp -- "$1" "$staged" || fail 1 "cannot write $staged"
    chmod "$3" "$staged"
}

commit() { # kind, destination: never a half-written file under the final name
    mv -f -- "$staged" "$2" || fail 1 "cannot write $2"
    staged=
    sum=$(sha256 "$2")
    printf '%s %s %s\n' "$1" "$sum" "$2" >>"$tmp/receipt"
}

place() { # source, destination
    stage "$1" "$2" 644
    commit file "$2"
}

place_program() {
    stage "$program" "$bin_dir/wpm" 755
    installed_version=$("$staged" --version 2>"$tmp/run.err") ||
        fail 1 "the new wpm does not run here; nothing was replaced" "$(sed -n 1p "$tmp/run.err")"
    commit program "$bin_dir/wpm"
}

# The files ask the program itself at each completion, so that they never go stale.
place_completions() {
    mkdir -p "$tmp/completions"
    if ! COMPLETE=bash "$bin_dir/wpm" >"$tmp/completions/probe" 2>/dev/null || [ ! -s "$tmp/completions/probe" ]; then
        say "completions: this wpm has none"
        return 0
    fi
    cat >"$tmp/completions/bash" <<'STUB'
# Installed by wpm's install.sh; the program writes its own completion.
source <(COMPLETE=bash wpm)
STUB
    cat >"$tmp/completions/zsh" <<'STUB'
#compdef wpm
# Installed by wpm's install.sh; the program writes its own completion.
source <(COMPLETE=zsh wpm)
(( $+functions[_clap_dynamic_completer_wpm] )) && _clap_dynamic_completer_wpm "$@"
STUB
    cat >"$tmp/completions/fish" <<'STUB'
# Installed by wpm's install.sh; the program writes its own completion.
COMPLETE=fish wpm | source
STUB
    place "$tmp/completions/bash" "$prefix/share/bash-completion/completions/wpm"
    place "$tmp/completions/zsh" "$prefix/share/zsh/site-functions/_wpm"
    place "$tmp/completions/fish" "$prefix/share/fish/vendor_completions.d/wpm.fish"
}

place_man() {
    mkdir -p "$tmp/man"
    if ! "$bin_dir/wpm" __man "$tmp/man" >/dev/null 2>&1; then
        say "manual pages: this wpm has none"
        return 0
    fi
    for page in "$tmp"/man/*.1; do
        [ -f "$page" ] || continue
        place "$page" "$prefix/share/man/man1/$(basename -- "$page")"
    done
}

# What an earlier installation left: its notes about folders and PATH stay true, its other files go.
merge_old_receipt() {
    [ ! -f "$tmp/made" ] || cat "$tmp/made" >>"$tmp/receipt"
    [ -f "$receipt" ] || return 0
    cut -d ' ' -f 3- "$tmp/receipt" >"$tmp/names"
    while read -r kind sum file; do
        ! grep -qxF -- "$file" "$tmp/names" || continue
        case $kind in
            dir | path) printf '%s %s %s\n' "$kind" "$sum" "$file" >>"$tmp/receipt" ;;
            *) remove_file "$sum" "$file" || : ;;
        esac
    done <"$receipt"
}

remove_file() { # checksum, path: says so and fails where a person changed the file
    [ -f "$2" ] || return 0
    if [ "$1" = - ] || [ "$(sha256 "$2")" = "$1" ]; then
        rm -f -- "$2" || fail 1 "cannot remove $2"
    else
        say "kept, because it was changed: $2"
        return 1
    fi
}

shell_file() {
    case $(basename -- "${SHELL:-sh}") in
        zsh) printf '%s\n' "${ZDOTDIR:-$HOME}/.zshrc" ;;
        bash) printf '%s\n' "$HOME/.bashrc" ;;
        fish) printf '%s\n' "${XDG_CONFIG_HOME:-$HOME/.config}/fish/config.fish" ;;
        *) printf '%s\n' "$HOME/.profile" ;;
    esac
}

# shellcheck disable=SC2016 # $PATH is for the shell that reads the line.
path_line() {
    quoted=$(printf '%s\n' "$bin_dir" | sed 's/[\\"$`]/\\&/g')
    case $(basename -- "${SHELL:-sh}") in
        fish) printf 'fish_add_path "%s"\n' "$quoted" ;;
        *) printf 'export PATH="%s:$PATH"\n' "$quoted" ;;
    esac
}

mark='# added by the installer of wpm'

offer_path() {
    case :$PATH: in
        *:"$bin_dir":*) return 0 ;;
    esac
    if [ "$modify_path" = no ] || [ -z "${HOME:-}" ]; then
        say "$bin_dir is not in PATH; add it with:" "" "$(path_line)"
        return 0
    fi
    file=$(shell_file)
    if ! grep -qF -- "$mark" "$file" 2>/dev/null; then
        mkdir -p -- "$(dirname -- "$file")"
        printf '%s %s\n' "$(path_line)" "$mark" >>"$file" || fail 1 "cannot write $file"
    fi
    printf 'path - %s\n' "$file" >>"$tmp/receipt"
    say "PATH is extended in $file; open a new shell"
}

wpm_home() { printf '%s\n' "${WPM_HOME:-${HOME:-}/.wpm}"; }

# Pid of a daemon of this user's home that lives. The file may be older than the present owner of the pid.
daemon_pid() {
    pid=$(sed -n 1p "$(wpm_home)/daemon.pid" 2>/dev/null) || return 1
    case $pid in
        '' | *[!0-9]*) return 1 ;;
    esac
    tr '\000' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "__daemon $(wpm_home)" || return 1
    printf '%s\n' "$pid"
}

install() {
    if [ "$dry_run" = yes ]; then
        if [ -n "$checkout" ] && [ -z "$version" ]; then
            say "would build $checkout (release)"
        elif [ "$from_source" = yes ]; then
            say "would build $REPOSITORY"
        else
            say "would fetch ${WPM_DOWNLOAD_URL:-$REPOSITORY/releases}: wpm ${version:-newest} for $(target_triple)"
        fi
        say "would install $bin_dir/wpm, shared files under $prefix/share, the receipt $receipt"
        return 0
    fi
    [ -z "$features" ] || [ "$from_source" = yes ] || { [ -n "$checkout" ] && [ -z "$version" ]; } ||
        fail 2 "--features is for building; a release is already built" "add --from-source"
    if [ -n "$checkout" ] && [ -z "$version" ]; then
        build_checkout
    elif [ "$from_source" = yes ]; then
        build_repository
    else
        download
    fi
    : >"$tmp/receipt"
    place_program
    # From here on a failure leaves a working program and the old receipt.
    [ "$completions" = no ] || place_completions
    [ "$man" = no ] || place_man
    offer_path
    make_dir "$(dirname -- "$receipt")"
    merge_old_receipt
    { cp -- "$tmp/receipt" "$receipt.tmp" && mv -f -- "$receipt.tmp" "$receipt"; } || fail 1 "cannot write $receipt"
    rm -f "$tmp/made"
    say "installed $installed_version: $bin_dir/wpm"
    if pid=$(daemon_pid); then
        say "the daemon (pid $pid) goes on with the program that it was started from; your apps are not touched"
        if "$bin_dir/wpm" update --help >/dev/null 2>&1; then
            say "\`wpm update\` hands over to the new one"
        else
            say "the new one takes over after \`wpm save\`, \`wpm kill\` (stops the apps) and \`wpm resurrect\`"
        fi
    fi
}

# ---- removing ----------------------------------------------------------------------------------------

remove() {
    [ -f "$receipt" ] || fail 1 "$receipt is not there: nothing is installed under $prefix" "say where with --prefix DIR"
    if [ "$dry_run" = yes ]; then
        say "would remove:" "$(sed -n -e 's/^program [^ ]* //p' -e 's/^file [^ ]* //p' "$receipt")" "$receipt"
        [ "$purge" = no ] || say "would remove $(wpm_home)"
        return 0
    fi
    if pid=$(daemon_pid); then
        [ "$purge" = no ] || fail 1 "a daemon (pid $pid) still uses $(wpm_home)" \
            "end it and its apps with \`wpm kill\`, then try again"
        say "a daemon (pid $pid) goes on, with its apps; to end them, install wpm again and run \`wpm kill\`"
    fi
    program=$(sed -n 's/^program [^ ]* //p' "$receipt")
    if is_started_at_boot "$program"; then
        "$program" unstartup >&2 || say "the start-up unit was not removed; see above"
    fi
    kept=no
    cp -- "$receipt" "$tmp/receipt"
    while read -r kind sum file; do
        case $kind in
            # It may have been replaced by a newer one since.
            program) remove_file - "$file" ;;
            file) remove_file "$sum" "$file" || kept=yes ;;
            path) restore_shell_file "$file" ;;
        esac
    done <"$tmp/receipt"
    rm -f -- "$receipt"
    remove_dirs "$tmp/receipt"
    say "removed wpm from $prefix"
    [ "$purge" = no ] || purge_home
    [ "$kept" = no ]
}

# Whether a unit that `wpm startup` wrote runs this program; another installation's unit is not ours to remove.
is_started_at_boot() {
    for unit in "${XDG_CONFIG_HOME:-${HOME:-}/.config}"/systemd/user/wpm*.service \
        /etc/systemd/system/wpm*.service /etc/init.d/wpm*; do
        if [ -f "$unit" ] && grep -qF -- "$1" "$unit"; then return 0; fi
    done
    return 1
}

remove_dirs() { # receipt: those of its folders in which nothing is left, the deepest first
    sed -n 's/^dir - //p' "$1" | sort -r | while read -r folder; do
        rmdir -- "$folder" 2>/dev/null || :
    done
}

restore_shell_file() {
    grep -qF -- "$mark" "$1" 2>/dev/null || return 0
    grep -vF -- "$mark" "$1" >"$tmp/shell" || :
    # Not moved into place: it may be a link, and its mode is the user's.
    cat "$tmp/shell" >"$1"
}

purge_home() {
    state=$(wpm_home)
    [ -d "$state" ] || return 0
    # A wrong WPM_HOME must not cost somebody a folder that was never wpm's.
    [ -f "$state/daemon.lock" ] || [ -f "$state/state.json" ] ||
        fail 1 "$state does not look like a home of wpm and is left alone"
    say "removing state, saved lists and logs: $state"
    rm -rf -- "$state"
}

main() {
    set -eu
    umask 022
    quiet=no
    tmp=
    staged=
    prefix=${WPM_PREFIX:-}
    bin_dir=${WPM_INSTALL_DIR:-}
    version=${WPM_VERSION:-}
    features=
    from_source=no
    offline=no
    completions=yes
    man=yes
    modify_path=no
    dry_run=no
    uninstall=no
    purge=no
    checkout=$(find_checkout "$0")
    parse_options "$@"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    tmp=$(mktemp -d) || fail 1 "cannot create a temporary folder" "is \$TMPDIR writable?"
    if [ "$uninstall" = yes ]; then remove; else install; fi
}

{ main "$@"; exit $?; }
