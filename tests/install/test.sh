#!/bin/sh
# Tests install.sh under every POSIX shell of this machine.
#
# Usage: [WPM_TEST_ONLY=PATTERN] tests/install/test.sh
#
# Everything happens in one temporary folder, with `env -i` and an empty HOME. The tests named `built_*`
# build the checkout; the others install a stand-in for the program, so that they take no time.
set -u
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

real_home=${HOME:-/root}
cargo_home=${CARGO_HOME:-$real_home/.cargo}
rustup_home=${RUSTUP_HOME:-$real_home/.rustup}
target_dir=${CARGO_TARGET_DIR:-$top/target}

# ---- what the tests stand on ---------------------------------------------------------------------------

# Runs the installer: from the checkout (a file), or piped. $shell may be two words (busybox sh).
run_file() {
    # shellcheck disable=SC2086
    env -i PATH="${path:-$PATH}" HOME="$home" SHELL=/bin/bash TMPDIR="$tmpdir" CARGO_HOME="$cargo_home" \
        RUSTUP_HOME="$rustup_home" CARGO_TARGET_DIR="$target_dir" ${set_env:-_=_} \
        $shell "$top/install.sh" "$@"
}
run_piped() {
    # shellcheck disable=SC2086
    env -i PATH="${path:-$PATH}" HOME="$home" SHELL=/bin/bash TMPDIR="$tmpdir" \
        WPM_DOWNLOAD_URL="${url:-file://$mirror}" ${set_env:-_=_} \
        $shell -s -- "$@" <"${script:-$top/install.sh}"
}
expect() { # code, command...
    wanted=$1
    shift
    got=0
    "$@" 2>"$here/stderr" || got=$?
    cat "$here/stderr"
    [ "$got" = "$wanted" ] || { echo "exit code $got instead of $wanted: $*"; return 1; }
}
said() { grep -qF -- "$1" "$here/stderr" || { echo "not said: $1"; return 1; }; }
is_empty() { # folder
    left=$(cd "$1" && find . ! -name .)
    [ -z "$left" ] || { echo "left in $1:"; echo "$left"; return 1; }
}
matches_receipt() {
    sed -n -e 's/^program //p' -e 's/^file //p' "$1/share/wpm/receipt" | sed 's/ /  /' >"$here/sums"
    if [ ! -s "$here/sums" ]; then echo "the receipt is empty"; return 1; fi
    sha256sum -c --quiet "$here/sums"
}

# A stand-in that knows what the installer asks of wpm: `pretend VERSION FILE`.
pretend() {
    cat >"$2" <<STUB
#!/bin/sh
if [ -n "\${COMPLETE:-}" ]; then echo "# \$COMPLETE"; exit 0; fi
case "\${1:-}" in
    --version) echo "wpm $1" ;;
    __man) echo .TH WPM 1 >"\$2/wpm.1" ;;
    *) exit 2 ;;
esac
STUB
    chmod 755 "$2"
}
release() { # version [folder]: puts a release of the stand-in into the mirror
    pretend "$1" "$here/program"
    "$top/.ci/dist" "$here/program" "${2:-$mirror}" >/dev/null
}

# ---- a checkout ----------------------------------------------------------------------------------------

test_built_install_twice_and_uninstall() {
    expect 0 run_file --prefix "$here/a prefix"
    program=$here/a\ prefix/bin/wpm
    env -i "$program" --version | grep -q '^wpm [0-9]'
    said "installed wpm"
    said 'export PATH="'
    grep -q '^export PATH=' "$here/stderr"
    matches_receipt "$here/a prefix"
    expect 0 run_file --prefix "$here/a prefix" --quiet
    [ ! -s "$here/stderr" ] || { echo "--quiet speaks"; return 1; }
    matches_receipt "$here/a prefix"
    [ -z "$(find "$here/a prefix" -name '.wpm.tmp*')" ]
    for file in bash-completion/completions/wpm zsh/site-functions/_wpm fish/vendor_completions.d/wpm.fish; do
        [ -s "$here/a prefix/share/$file" ] || { echo "no $file"; return 1; }
    done
    expect 0 run_file --prefix "$here/a prefix" --uninstall
    [ ! -e "$here/a prefix" ]
    is_empty "$home"
    is_empty "$tmpdir"
}

test_built_release_from_a_mirror() {
    expect 0 run_file --prefix "$here/from" --no-man --no-completions
    [ ! -e "$here/from/share/man" ]
    "$top/.ci/dist" "$here/from/bin/wpm" "$mirror" >/dev/null
    expect 0 run_piped --prefix "$here/to"
    cmp "$here/from/bin/wpm" "$here/to/bin/wpm"
    is_empty "$home"
}

test_a_release_for_another_processor_is_named_by_it() {
    machine=aarch64
    code='\0267'
    if [ "$(uname -m)" = aarch64 ]; then
        machine=x86_64
        code='\0076'
    fi
    # As much of an ELF file as tells what it is for.
    printf '\177ELF12345678901234%b\000' "$code" >"$here/foreign"
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml")
    "$top/.ci/dist" "$here/foreign" "$mirror" >/dev/null
    tar -xOf "$mirror/wpm-$version-$machine-unknown-linux-gnu.tar.gz" --wildcards '*/wpm' | cmp - "$here/foreign"
    printf '\177ELF12345678901234\001\002' >"$here/foreign"
    ! "$top/.ci/dist" "$here/foreign" "$mirror" >/dev/null 2>&1
}

test_relative_prefix() {
    cd "$here"
    release 1.2.3
    expect 0 run_piped --prefix p
    [ "$(p/bin/wpm --version)" = "wpm 1.2.3" ]
    grep -q "^program [0-9a-f]\{64\} $here/p/bin/wpm$" p/share/wpm/receipt
}

# ---- a release -----------------------------------------------------------------------------------------

test_mirror_installs_and_uninstall_leaves_nothing() {
    release 1.2.3
    expect 0 run_piped --prefix "$here/p"
    said "installed wpm 1.2.3"
    matches_receipt "$here/p"
    [ -s "$here/p/share/man/man1/wpm.1" ]
    expect 0 run_piped --prefix "$here/p" --uninstall
    [ ! -e "$here/p" ]
    is_empty "$home"
    is_empty "$tmpdir"
}

test_default_prefix_is_in_home() {
    release 1.2.3
    expect 0 run_piped
    [ -x "$home/.local/bin/wpm" ]
    expect 0 run_piped --uninstall
    is_empty "$home"
}

test_folders_that_were_there_stay() {
    release 1.2.3
    mkdir -p "$here/p/bin"
    expect 0 run_piped --prefix "$here/p"
    expect 0 run_piped --prefix "$here/p"
    expect 0 run_piped --prefix "$here/p" --uninstall
    [ -d "$here/p/bin" ]
    [ ! -e "$here/p/share" ]
}

test_options_and_environment_choose_the_folders() {
    release 1.2.3
    expect 0 run_piped --prefix="$here/p" --bin-dir="$here/b"
    [ -x "$here/b/wpm" ]
    [ ! -e "$here/p/bin" ]
    expect 0 run_piped --prefix "$here/p" --uninstall
    [ ! -e "$here/b" ]
    [ ! -e "$here/p" ]
    set_env="WPM_PREFIX=$here/q WPM_INSTALL_DIR=$here/c"
    expect 0 run_piped
    [ -x "$here/c/wpm" ]
    [ -s "$here/q/share/wpm/receipt" ]
}

test_update_replaces_and_drops_what_is_gone() {
    release 1.2.3
    expect 0 run_piped --prefix "$here/p"
    release 1.3.0
    expect 2 run_piped --prefix "$here/p"
    said "several versions"
    expect 0 run_piped --prefix "$here/p" --version v1.3.0 --no-man
    [ "$("$here/p/bin/wpm" --version)" = "wpm 1.3.0" ]
    [ ! -e "$here/p/share/man/man1/wpm.1" ]
    expect 0 run_piped --prefix "$here/p" --uninstall
    [ ! -e "$here/p" ]
}

test_corrupted_release_is_refused() {
    release 1.2.3
    expect 0 run_piped --prefix "$here/p"
    before=$(cd "$here/p" && find . -type f -exec sha256sum {} + | sort)
    printf x >>"$(echo "$mirror"/wpm-*.tar.gz)"
    expect 4 run_piped --prefix "$here/p"
    said "nothing was installed"
    [ "$before" = "$(cd "$here/p" && find . -type f -exec sha256sum {} + | sort)" ]
    expect 4 run_piped --prefix "$here/q"
    [ ! -e "$here/q" ]
    is_empty "$tmpdir"
}

test_program_that_does_not_run_replaces_nothing() {
    release 1.2.3
    expect 0 run_piped --prefix "$here/p"
    rm "$mirror"/*
    printf '#!/bin/sh\nexit 1\n' >"$here/program"
    mkdir "$here/wpm-9.9.9-$triple"
    cp "$here/program" "$here/wpm-9.9.9-$triple/wpm"
    tar -C "$here" -czf "$mirror/wpm-9.9.9-$triple.tar.gz" "wpm-9.9.9-$triple"
    (cd "$mirror" && sha256sum ./*.tar.gz | sed 's| \./| |' >SHA256SUMS)
    expect 1 run_piped --prefix "$here/p"
    said "does not run here"
    [ "$("$here/p/bin/wpm" --version)" = "wpm 1.2.3" ]
    expect 1 run_piped --prefix "$here/q"
    [ ! -e "$here/q" ]
}

test_nothing_for_this_machine() {
    echo "0000  wpm-1.0.0-vax-unknown-netbsd.tar.gz" >"$mirror/SHA256SUMS"
    expect 1 run_piped --prefix "$here/p"
    said "--from-source"
    [ ! -e "$here/p" ]
}

test_only_https_and_files() {
    url=http://127.0.0.1/wpm expect 2 run_piped --prefix "$here/p"
    url=file://$here/missing expect 1 run_piped --prefix "$here/p"
    said "cannot fetch"
    [ ! -e "$here/p" ]
}

test_http_server_is_not_followed_by_curl_or_wget() {
    # Options that keep a download on https must reach the tools.
    mkdir "$here/bin"
    for tool in curl wget; do
        # shellcheck disable=SC2016
        printf '#!/bin/sh\necho "$0 $*" >>"%s/called"\nexit 22\n' "$here" >"$here/bin/$tool"
        chmod 755 "$here/bin/$tool"
    done
    url=https://example.invalid path=$here/bin:$PATH expect 1 run_piped --prefix "$here/p"
    grep -q -- "--proto =https --proto-redir =https --tlsv1.2" "$here/called"
    rm "$here/bin/curl"
    tools "$here/few" cat cut dirname mkdir mktemp mv pwd rm rmdir sed sort awk uname tar gzip sha256sum getconf
    url=https://example.invalid path=$here/bin:$here/few expect 1 run_piped --prefix "$here/p"
    grep -q -- "wget .*--https-only" "$here/called"
}

# ---- what is missing or wrong --------------------------------------------------------------------------

tools() { # folder, names...: a PATH with these and no others
    folder=$1
    shift
    mkdir -p "$folder"
    for tool in "$@" env dash bash busybox sh; do
        found=$(command -v "$tool" 2>/dev/null) || continue
        case $found in /*) ln -sf "$found" "$folder/$tool" ;; esac
    done
}

test_missing_tools_are_named() {
    release 1.2.3
    tools "$here/none" cat cut dirname mkdir mktemp mv pwd rm rmdir sed sort awk uname
    path=$here/none expect 3 run_piped --prefix "$here/p"
    said "\`tar\` is needed"
    path=$here/none expect 3 run_file --prefix "$here/p"
    said "cargo was not found"
    [ ! -e "$here/p" ]
}

test_old_rust_is_refused() {
    mkdir "$here/bin"
    printf '#!/bin/sh\necho "rustc 1.60.0 (7737e0b5c 2022-04-04)"\n' >"$here/bin/rustc"
    printf '#!/bin/sh\necho built >"%s/built"\n' "$here" >"$here/bin/cargo"
    chmod 755 "$here"/bin/*
    path=$here/bin:$PATH expect 3 run_file --prefix "$here/p"
    said "rustup update"
    [ ! -e "$here/built" ]
    [ ! -e "$here/p" ]
}

test_failed_build_says_what_to_do() {
    mkdir "$here/bin"
    printf '#!/bin/sh\nexit 101\n' >"$here/bin/cargo"
    chmod 755 "$here/bin/cargo"
    path=$here/bin:$PATH expect 1 run_file --prefix "$here/p" --offline
    said "cargo fetch --locked"
    [ ! -e "$here/p" ]
}

test_wrong_usage() {
    for words in --bogus "--prefix" "--purge" "--quiet=1" "extra" "--features x"; do
        # shellcheck disable=SC2086
        expect 2 run_piped $words
    done
    expect 2 run_file --from-source --version 1.0.0
    expect 0 run_file --help
    is_empty "$home"
}

test_dry_run_changes_nothing() {
    release 1.2.3
    expect 0 run_piped --dry-run --prefix "$here/p"
    expect 0 run_file --dry-run --prefix "$here/p"
    [ ! -e "$here/p" ]
    expect 0 run_piped --prefix "$here/p"
    expect 0 run_piped --prefix "$here/p" --uninstall --dry-run
    said "$here/p/bin/wpm"
    [ -x "$here/p/bin/wpm" ]
}

# ---- PATH and removing ---------------------------------------------------------------------------------

test_modify_path_once_and_back() {
    release 1.2.3
    echo 'alias ll="ls -l"' >"$home/.bashrc"
    cp "$home/.bashrc" "$here/bashrc"
    expect 0 run_piped --prefix "$here/a prefix" --modify-path
    expect 0 run_piped --prefix "$here/a prefix" --modify-path
    [ "$(grep -c 'installer of wpm' "$home/.bashrc")" = 1 ]
    # shellcheck disable=SC2016
    [ "$(env -i HOME="$home" PATH=/usr/bin:/bin bash -c '. "$HOME/.bashrc"; command -v wpm')" = "$here/a prefix/bin/wpm" ]
    # Found in PATH now: nothing more to say, and the note about the file stays in the receipt.
    path="$here/a prefix/bin:$PATH" expect 0 run_piped --prefix "$here/a prefix"
    expect 0 run_piped --prefix "$here/a prefix" --uninstall
    cmp "$home/.bashrc" "$here/bashrc"
}

test_changed_file_is_kept() {
    release 1.2.3
    expect 0 run_piped --prefix "$here/p"
    echo mine >>"$here/p/share/man/man1/wpm.1"
    expect 1 run_piped --prefix "$here/p" --uninstall
    said "kept, because it was changed"
    [ ! -e "$here/p/bin" ]
    [ -s "$here/p/share/man/man1/wpm.1" ]
}

test_uninstall_removes_its_own_unit_alone() {
    release 1.2.3
    expect 0 run_piped --prefix "$here/p"
    # The stand-in does not know `unstartup`: whether it was asked is seen by the complaint.
    mkdir -p "$home/.config/systemd/user"
    echo "ExecStart=/usr/bin/wpm" >"$home/.config/systemd/user/wpm.service"
    expect 0 run_piped --prefix "$here/p" --uninstall
    ! grep -q "start-up unit" "$here/stderr" || return 1
    expect 0 run_piped --prefix "$here/p"
    echo "ExecStart=$here/p/bin/wpm" >"$home/.config/systemd/user/wpm.service"
    expect 0 run_piped --prefix "$here/p" --uninstall
    said "the start-up unit was not removed"
}

test_uninstall_without_install() {
    expect 1 run_file --prefix "$here/p" --uninstall
    said "nothing is installed"
}

test_purge_takes_only_a_home_of_wpm() {
    release 1.2.3
    mkdir "$home/.wpm" "$here/documents"
    echo thesis >"$here/documents/thesis"
    : >"$home/.wpm/daemon.lock"
    # A pid that somebody else has got meanwhile, then a daemon that lives.
    echo $$ >"$home/.wpm/daemon.pid"
    expect 0 run_piped --prefix "$here/p"
    ! grep -q "goes on" "$here/stderr" || return 1
    mkfifo "$here/fifo"
    echo 'read -r _' >"$here/daemon"
    sh "$here/daemon" __daemon "$home/.wpm" <"$here/fifo" &
    exec 9>"$here/fifo"
    echo $! >"$home/.wpm/daemon.pid"
    expect 0 run_piped --prefix "$here/p"
    said "goes on"
    expect 1 run_piped --prefix "$here/p" --uninstall --purge
    said "wpm kill"
    [ -x "$here/p/bin/wpm" ]
    exec 9>&-
    wait
    set_env="WPM_HOME=$here/documents" expect 1 run_piped --prefix "$here/p" --uninstall --purge
    [ -s "$here/documents/thesis" ]
    expect 0 run_piped --prefix "$here/p"
    expect 0 run_piped --prefix "$here/p" --uninstall --purge
    [ ! -e "$home/.wpm" ]
}

# ---- a cut download ------------------------------------------------------------------------------------

test_cut_script_runs_nothing() {
    release 1.2.3
    size=$(wc -c <"$top/install.sh" | tr -d ' ')
    seed=${WPM_TEST_SEED:-$$}
    echo "WPM_TEST_SEED=$seed"
    # At random, and at each of the last 40 bytes but the final line break.
    awk -v seed="$seed" -v size="$size" 'BEGIN {
        srand(seed)
        for (i = 0; i < 40; i++) print 1 + int(rand() * (size - 2))
        for (i = size - 40; i < size - 1; i++) print i
    }' >"$here/cuts"
    while read -r cut; do
        head -c "$cut" "$top/install.sh" >"$here/cut.sh"
        script=$here/cut.sh run_piped --prefix "$here/p" >"$here/out" 2>&1 || :
        [ ! -e "$here/p" ] || { echo "cut after $cut bytes, it installed"; return 1; }
        ! grep -qE 'installed|fetching|building' "$here/out" || { echo "cut after $cut bytes, it ran"; return 1; }
    done <"$here/cuts"
    is_empty "$home"
    is_empty "$tmpdir"
}

# ---- running them --------------------------------------------------------------------------------------

run_test() {
    here=$work/$count
    home=$here/home
    tmpdir=$here/tmp
    mirror=$here/mirror
    mkdir -p "$here" "$home" "$tmpdir" "$mirror"
    chmod 755 "$home"
    # Not in a condition: there `set -e` would be off.
    (set -e && "test_$1") >"$here.log" 2>&1
    result=$?
}

shells=
for candidate in dash bash "busybox sh"; do
    # shellcheck disable=SC2086
    set -- $candidate
    # shellcheck disable=SC2086
    command -v "$1" >/dev/null && $candidate -c : 2>/dev/null && shells="$shells,$candidate"
done
shells=${shells#,}
triple=$(uname -m)-unknown-linux-gnu
names=$(sed -n 's/^test_\([a-z_]*\)() {$/\1/p' "$0")
count=0
passed=0
failed=0
old_ifs=$IFS
IFS=,
for shell in $shells; do
    IFS=$old_ifs
    for name in $names; do
        if [ -n "${WPM_TEST_ONLY:-}" ] && ! printf '%s' "$name" | grep -q -- "$WPM_TEST_ONLY"; then continue; fi
        count=$((count + 1))
        run_test "$name"
        if [ "$result" = 0 ]; then
            passed=$((passed + 1))
            echo "ok      $shell: $name"
        else
            failed=$((failed + 1))
            echo "FAILED  $shell: $name"
            sed 's/^/        /' "$here.log"
        fi
    done
done
echo "install: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
