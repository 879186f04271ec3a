#!/usr/bin/env bash
# Checks of the repository itself: what no compiler and no test would notice.
#
# Usage: tests/repository.sh
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# Packages in Cargo.lock. Raising it is a decision: docs/dependencies.md says what each one is for.
package_budget=250

passed=0
failed=0
# Passes when the command prints nothing; what it prints are the offenders.
check() { # what must be true, command...
    local what=$1 found
    shift
    found=$("$@" 2>&1)
    if [ -z "$found" ]; then
        passed=$((passed + 1))
        echo "ok      $what"
    else
        failed=$((failed + 1))
        echo "FAILED  $what"
        printf '%s\n' "$found" | sed 's/^/        /'
    fi
}

rust_files() { find crates tests -name '*.rs' | sort; }
pages() { find . -name '*.md' -not -path './target/*' -not -path '*/node_modules/*' | sort; }

readme_is_short() {
    local lines
    lines=$(wc -l <README.md)
    [ "$lines" -gt 0 ] || echo "README.md is empty"
    [ "$lines" -le 200 ] || echo "README.md has $lines lines"
}

lock_is_small() {
    local packages
    packages=$(grep -c '^\[\[package\]\]' Cargo.lock)
    [ "$packages" -le "$package_budget" ] || echo "Cargo.lock has $packages packages, the budget is $package_budget"
}

# A file under tests/ that no crate declares is never compiled, and nobody notices.
every_file_is_compiled() {
    local roots file folder stem
    roots=$(cargo metadata --no-deps --offline --locked --format-version 1 |
        grep -o '"src_path":"[^"]*"' | cut -d '"' -f 4 | xargs -r realpath)
    [ -n "$roots" ] || { echo "cargo metadata names no targets"; return; }
    rust_files | while read -r file; do
        if grep -qxF "$(realpath "$file")" <<<"$roots"; then continue; fi
        folder=$(dirname "$file")
        stem=$(basename "$file" .rs)
        if [ "$stem" = mod ]; then
            stem=$(basename "$folder")
            folder=$(dirname "$folder")
        fi
        # Declared in a file of its folder, or in the module file beside the folder.
        grep -qE "^ *(pub(\([a-z]+\))? )?mod $stem;" "$folder"/*.rs "$folder.rs" 2>/dev/null ||
            grep -qE "path *= *\"[^\"]*$(basename "$file")\"" "$folder"/*.rs "$folder"/../*.rs "$folder.rs" 2>/dev/null ||
            echo "$file is part of no target"
    done
}

# Lines of test code: whole files under tests/ and named tests.rs, and everything after `#[cfg(test)]`.
test_lines() { # pattern
    rust_files | while read -r file; do
        awk -v file="$file" -v pattern="$1" '
            BEGIN { test = file ~ /(^|\/)tests(\/|\.rs$)/ }
            /#\[cfg\(test\)\]/ { test = 1 }
            test && $0 !~ /^ *\/\// && $0 ~ pattern { print file ":" FNR ": " $0 }' "$file"
    done
}
# Programs that tests drive may wait: it is what is tested about them.
tests_do_not_sleep() { test_lines '(thread|time)::sleep *\\(|[^_a-z]sleep\\(' | grep -v '^tests/puppet/'; }
tests_are_not_ignored() { test_lines '#\\[ignore'; }

# ... and in the program that tests drive, which misbehaves in ways that safe code cannot.
unsafe_is_in_sys() {
    rust_files | grep -vE '^(crates/wpm-sys|tests/puppet)/' |
        xargs grep -nE '\bunsafe *(\{|fn|impl|extern)|(allow|expect)\(unsafe_code' | grep -vE ':[0-9]+: *//'
}

exceptions_have_reasons() {
    rust_files | xargs grep -nE '#!?\[allow\(|\b(todo|unimplemented)!\('
}

crates_depend_as_designed() {
    local crate allowed dependency
    while read -r crate allowed; do
        [ -f "crates/$crate/Cargo.toml" ] || continue
        sed -n '/^\[dependencies\]/,/^\[/s/^\(wpm-[a-z]*\).*/\1/p' "crates/$crate/Cargo.toml" |
            while read -r dependency; do
                case " $allowed " in
                    *" $dependency "*) ;;
                    *) echo "$crate depends on $dependency" ;;
                esac
            done
    done <<'ALLOWED'
wpm-core
wpm-proto
wpm-sys
wpm-cluster
wpm-client wpm-proto
wpm-keeper wpm-sys
wpm-daemon wpm-core wpm-proto wpm-cluster wpm-sys
wpm wpm-client wpm-cluster wpm-daemon wpm-keeper wpm-proto
ALLOWED
}

links_lead_somewhere() {
    pages | while read -r page; do
        grep -oE '\]\([^)# ]+' "$page" | sed 's/^](//' | grep -vE '^[a-z]+:' | while read -r target; do
            [ -e "$(dirname "$page")/$target" ] || echo "$page: $target"
        done
    done
}

# ---- the pages say what the code says ----------------------------------------------------------------

exit_codes_are_documented() {
    local source=crates/wpm-proto/src/error.rs
    awk '
        /^    [A-Z][A-Za-z]* = [0-9]+,$/ { sub(",", "", $3); number[$1] = $3 }
        /^        \(Self::/ {
            name = $1; gsub(/\(Self::|,/, "", name)
            text = $0; sub(/^[^"]*"/, "", text); sub(/".*$/, "", text)
            print "| " number[name] " | " text " |"
        }' "$source" | while read -r row; do
        grep -qF -- "$row" docs/exit-codes.md || echo "docs/exit-codes.md lacks: $row"
    done
}

variables_are_documented() {
    sed -n 's/^pub const [A-Z_]*: &str = "\([A-Z_]*\)";.*/\1/p' crates/wpm-proto/src/env.rs | while read -r name; do
        grep -qF "\`$name\`" docs/environment.md || echo "docs/environment.md lacks $name"
    done
}

# A row of the failure table that names a test that is not there proves nothing.
named_tests_exist() {
    local functions
    # file:name, gathered once: there are hundreds of each.
    functions=$(rust_files | xargs grep -oE 'fn [a-z0-9_]+\(' | sed 's/:fn /:/; s/($//'
        grep -oE '^it_[a-z_]+\(' tests/machine/guest/*.sh | sed 's/($//')
    # shellcheck disable=SC2016
    grep -oE '`[a-z0-9]+(_[a-z0-9]+){2,}`' docs/reliability.md | tr -d '`' | sort -u |
        awk -F: 'NR == FNR { known[$2]; next } !($1 in known) { print "docs/reliability.md names " $1 }' \
            <(printf '%s\n' "$functions") -
    # In the tables of pm2 tests are named with their file: `file::function`.
    grep -oE '\b[a-z0-9_]+::[a-z0-9_]+' docs/pm2.md | sort -u |
        awk -F: '
            NR == FNR {
                count = split($1, part, "/")
                # A file, and the folders that it lies in.
                for (at = 1; at <= count; at++) { sub(/\.rs$/, "", part[at]); known[part[at], $2] }
                next
            }
            !(($1, $3) in known) { print "docs/pm2.md names " $0 }' <(printf '%s\n' "$functions") -
}

# Names in the table of keys: all of KEYS and KEPT, aliases included.
keys_are_documented() {
    local source=crates/wpm/src/appfile/table.rs
    [ -f "$source" ] || { echo "$source is not there"; return; }
    { sed -n '/^pub(super) const KEYS/,/^];/p' "$source" | tr '\n' ' ' | grep -oE '&\[[^]]*\]'
      sed -n '/^pub(super) const KEPT/,/^];/p' "$source"
    } | grep -oE '"[a-z0-9_]+"' | tr -d '"' | grep -vx max | while read -r key; do
        for page in docs/configuration.md docs/pm2.md; do
            grep -qF "\`$key\`" "$page" || echo "$page lacks $key"
        done
    done
}

home_is_documented() {
    sed -n 's/.*join("\([^"]*\)").*/\1/p' crates/wpm-proto/src/home.rs | while read -r name; do
        grep -qF "$name" docs/home.md || echo "docs/home.md lacks $name"
    done
}

dependencies_are_argued() {
    { sed -n '/^\[workspace.dependencies\]/,/^$/p;/^\[workspace.dependencies\]/,/^\[/p' Cargo.toml
      sed -n '/^\[\(dev-\|build-\)\{0,1\}dependencies\]/,/^\[/p' crates/*/Cargo.toml
    } | sed -n 's/^\([a-z][a-z0-9_-]*\)\(\.workspace\)\{0,1\} *=.*/\1/p' | grep -v '^wpm-' | sort -u |
        while read -r name; do
            grep -qF "\`$name\`" docs/dependencies.md || echo "docs/dependencies.md gives no reason for $name"
        done
}

check "README.md can be read in two minutes (200 lines)" readme_is_short
check "Cargo.lock stays within $package_budget packages" lock_is_small
check "every Rust file belongs to a target" every_file_is_compiled
check "no test sleeps" tests_do_not_sleep
check "no test is ignored" tests_are_not_ignored
check "unsafe code is in wpm-sys alone" unsafe_is_in_sys
check "no allow without a reason, nothing left to do" exceptions_have_reasons
check "crates depend on each other as docs/architecture.md says" crates_depend_as_designed
check "links in the documentation lead to files" links_lead_somewhere
check "docs/exit-codes.md has every exit code" exit_codes_are_documented
check "docs/environment.md has every variable" variables_are_documented
check "docs/configuration.md and docs/pm2.md have every key of an app file" keys_are_documented
check "docs/reliability.md and docs/pm2.md name tests that exist" named_tests_exist
check "docs/home.md has every file of a home" home_is_documented
check "docs/dependencies.md has a reason for every dependency" dependencies_are_argued
echo "repository: $passed passed, $failed failed"
[ "$failed" = 0 ]
