//! App files in JavaScript: `ecosystem.config.js`, `.cjs`, `.mjs`, `.ts`.
//!
//! A file that is one literal behind its export is read as one, and nothing is executed. Any other file
//! is a program: the caller's own node (or bun) runs it, in the client, with the caller's environment and
//! permissions. Invariant: what the program prints never becomes part of its value.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Code, Failure};
use crate::target::on_path;

/// Time that a configuration may take to run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Programs that can run one, in the order of preference.
const RUNTIMES: [&str; 2] = ["node", "bun"];

/// Prints the value of a module behind a mark. What the module prints by itself goes to stderr, or
/// stands before the mark.
const PROGRAM: &str = r"
const [file, mark] = process.argv.slice(-2);
console.log = console.info = console.debug = console.error;
import(require('url').pathToFileURL(file).href).then(async (module) => {
  let value = module.default ?? module;
  if (value && value.__esModule && value.default) value = value.default;
  if (typeof value === 'function') value = await value();
  require('fs').writeSync(1, mark + JSON.stringify(await value));
  process.exit(0);
}).catch((error) => {
  require('fs').writeSync(2, String(error && error.stack || error) + '\n');
  process.exit(1);
});
";

/// The value that a file exports.
pub(super) fn read(
    text: &str,
    path: &Path,
    shown: &str,
    env: &BTreeMap<String, String>,
) -> Result<Value, Failure> {
    match literal(text) {
        Some(value) => Ok(value),
        None => run(path, shown, env),
    }
}

/// The exported object, where a file consists of nothing else.
///
/// What stands before or after the export could change the environment that the object is made from
/// (`require('dotenv').config()`), so that such a file is a program.
fn literal(text: &str) -> Option<Value> {
    let mut rest = text.trim_start_matches('\u{feff}');
    loop {
        rest = rest.trim_start();
        rest = if let Some(comment) = rest.strip_prefix("//") {
            comment.split_once('\n')?.1
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/")?.1
        } else if let Some(after) = rest.strip_prefix("'use strict'").or(rest.strip_prefix("\"use strict\""))
        {
            after.trim_start().trim_start_matches(';')
        } else {
            break;
        };
    }
    let value = match rest.strip_prefix("export default") {
        Some(value) => value,
        None => {
            let exported = rest.strip_prefix("module.exports").or_else(|| rest.strip_prefix("exports ="))?;
            exported.trim_start().trim_start_matches('=')
        }
    };
    json5::from_str(value.trim_end().trim_end_matches(';')).ok().filter(|value: &Value| !value.is_null())
}

/// Runs a file and takes the value that it exports.
fn run(path: &Path, shown: &str, env: &BTreeMap<String, String>) -> Result<Value, Failure> {
    let cwd = path.parent().unwrap_or(Path::new("/"));
    let failed =
        |why: String| Failure::new(Code::AppFile, format!("cannot read the app file {shown}: {why}"));
    let runtime = RUNTIMES.iter().find_map(|name| on_path(name, env, cwd)).ok_or_else(|| {
        failed("it is a program, and neither node nor bun is on PATH to run it".to_owned())
            .help("write it as TOML, YAML or JSON; where node is there, `wpm import FILE` does so")
    })?;
    let mark = format!("\n--- value of the module {} ---\n", std::process::id());
    let mut child = Command::new(&runtime)
        .args(["-e", PROGRAM, "--"])
        .arg(path)
        .arg(&mark)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| failed(format!("{} could not be executed: {cause}", runtime.display())))?;
    let (printed, said) = outputs(&mut child)?;
    let status = child.wait()?;
    let value = printed.rsplit_once(&mark).map(|(_, value)| value);
    if let Some(value) = value.filter(|_| status.success()) {
        return serde_json::from_str(value)
            .map_err(|_| failed("it exports nothing that is an object or a list".to_owned()));
    }
    let failure = match value {
        None if status.success() => failed("it ended before it had exported anything".to_owned()),
        _ if std::os::unix::process::ExitStatusExt::signal(&status).is_some() => {
            failed(format!("it did not end within {} s", PATIENCE.as_secs()))
        }
        _ => failed(format!("{} could not run it", runtime.display())),
    };
    let last: Vec<String> = said.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    Err(failure.excerpt(last.into_iter().take(12).collect()))
}

/// What a child prints to both streams until it closes them; it is killed when that takes too long.
fn outputs(child: &mut Child) -> Result<(String, String), Failure> {
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let pid = rustix::process::Pid::from_child(child);
    let (ended, end) = channel::<()>();
    let read = |stream: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            // What was read until an error is as good as it gets.
            drop(stream.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let both = std::thread::scope(|scope| {
        // The child is not waited for before this has ended, so the pid is its own.
        scope.spawn(move || {
            if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // It may just have ended, which is as good.
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        let errors = scope.spawn(move || read(stderr.as_mut().map(|it| it as &mut dyn Read)));
        let printed = read(stdout.as_mut().map(|it| it as &mut dyn Read));
        let said = errors.join().unwrap_or_default();
        drop(ended);
        (printed, said)
    });
    Ok(both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_literal_is_read_without_running_anything() {
        for text in [
            "module.exports = { apps: [{ name: 'a', script: 'a.js', }] };\n",
            "// pm2\n/* more */\n'use strict';\nmodule.exports={apps:[{name:\"a\",script:\"a.js\"}]}",
            "export default {\n  apps: [{ name: 'a', /* here */ script: 'a.js' }],\n};",
        ] {
            assert_eq!(literal(text), Some(json!({"apps": [{"name": "a", "script": "a.js"}]})), "{text}");
        }
    }

    #[test]
    fn what_has_to_be_run_is_no_literal() {
        for text in [
            "require('dotenv').config();\nmodule.exports = { apps: [] };",
            "module.exports = { apps: [{ name: 'a', script: 'a', env: { B: process.env.B } }] };",
            "module.exports = () => ({ apps: [] });",
            "module.exports = { apps: [...others] };",
            "module.exports = { apps: [] }; module.exports.apps.push({});",
            "const a = 1;",
        ] {
            assert_eq!(literal(text), None, "{text}");
        }
    }
}
