//! How the program is linked.
//!
//! Says one thing: where it is static on Linux it is at a fixed address. A program that may stand anywhere
//! writes some 22 000 pointers into 90 pages of its own before its first instruction, at each start of a
//! command; the keeper and the daemon keep theirs, and every fork copies them. What is given up is that the code
//! stands elsewhere each time; stack, heap and mappings still do. docs/performance.md says what it brings.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
    let fixed = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if fixed && features.split(',').any(|feature| feature == "crt-static") {
        // The compiler asks the linker for a static program that may stand anywhere; the last word counts.
        println!("cargo::rustc-link-arg-bin=wpm=-no-pie");
        println!("cargo::rustc-link-arg-bin=wpm=-static");
    }
}
