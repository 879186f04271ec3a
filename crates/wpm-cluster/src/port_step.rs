//! A port of its own for each instance of a Node program that carries its port as a literal.
//!
//! Only the text and the environment are made here; the caller writes the file. Invariant: only the
//! named ports are moved, each by the instance's number.

/// File name for the preload.
pub const FILE_NAME: &str = "port-step.cjs";
/// The preload, CommonJS; it is loaded before programs of either module system.
pub const PRELOAD: &str = include_str!("../assets/port-step.cjs");

/// Variables for the instance `index`: `NODE_OPTIONS`, with what the program has of it already, and
/// the ports to move. `preload` is the absolute path of the file with [`PRELOAD`].
pub fn environment(
    preload: &str,
    bases: &[u16],
    index: u32,
    node_options: Option<&str>,
) -> [(&'static str, String); 2] {
    let list = bases.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    // Node reads double quotes and backslashes in this variable.
    let quoted = preload.replace('\\', "\\\\").replace('"', "\\\"");
    let own = node_options.map(str::trim).filter(|options| !options.is_empty());
    let options =
        format!("{}{}--require \"{quoted}\"", own.unwrap_or(""), if own.is_some() { " " } else { "" });
    [("NODE_OPTIONS", options), ("WPM_PORT_STEP", format!("{list}+{index}"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_program_are_kept() {
        let [options, ports] = environment("/a b/\"x\".cjs", &[3001, 4000], 2, Some("--trace-warnings "));
        assert_eq!(options.1, r#"--trace-warnings --require "/a b/\"x\".cjs""#);
        assert_eq!(ports, ("WPM_PORT_STEP", "3001,4000+2".to_owned()));
        assert_eq!(environment("/x", &[1], 0, None)[0].1, "--require \"/x\"");
    }
}
