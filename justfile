# Short names for what contributors do; `just` lists them.

default:
    @just --list

# Everything: what CI runs.
check *ARGS:
    tests/check.sh {{ARGS}}

# Format, lint, and the tests of one crate.
crate NAME:
    cargo fmt --package {{NAME}}
    cargo clippy --package {{NAME}} --all-targets -- -D warnings
    cargo test --package {{NAME}}

# Build what is shipped.
build:
    cargo build --release --locked --package wpm

# Install this checkout for yourself.
install *ARGS:
    ./install.sh {{ARGS}}

# Pack a release into target/dist.
dist:
    ./install.sh --prefix target/dist/root --no-man --no-completions --quiet
    .ci/dist target/dist/root/bin/wpm target/dist

# Licences, bans and sources of the dependencies (needs cargo-deny).
deny:
    cargo deny --all-features check bans licenses sources
