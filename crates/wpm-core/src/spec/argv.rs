//! The argument vector of an app.
//!
//! It looks nothing up: a program without a slash is found by the daemon, in the app's own PATH.

use crate::Spec;

impl Spec {
    /// The arguments of `execve`, the program itself first.
    ///
    /// A command line goes to its shell as one argument; arguments given beside it follow the line
    /// as they are, never read by the shell.
    pub fn argv(&self) -> Vec<String> {
        let mut argv: Vec<String> = Vec::new();
        if let Some(interpreter) = &self.interpreter {
            argv.push(interpreter.clone());
            argv.extend(self.interpreter_args.iter().cloned());
        }
        if !self.shell {
            argv.push(self.script.clone());
            argv.extend(self.args.iter().cloned());
            return argv;
        }
        argv.push("-c".to_owned());
        if self.args.is_empty() {
            argv.push(self.script.clone());
        } else {
            argv.push(format!("{} \"$@\"", self.script));
            argv.push(self.interpreter.clone().unwrap_or_else(|| "sh".to_owned()));
            argv.extend(self.args.iter().cloned());
        }
        argv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_order_in_which_they_are_executed() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        spec.args = vec!["a b".to_owned(), "--x".to_owned()];
        assert_eq!(spec.argv(), ["/srv/web", "a b", "--x"]);
        spec.interpreter = Some("node".to_owned());
        spec.interpreter_args = vec!["--inspect".to_owned()];
        assert_eq!(spec.argv(), ["node", "--inspect", "/srv/web", "a b", "--x"]);
    }

    #[test]
    fn a_command_line_is_one_argument() {
        let mut spec = Spec::new("web", "npm run x | tee y", "/srv");
        spec.shell = true;
        spec.interpreter = Some("bash".to_owned());
        assert_eq!(spec.argv(), ["bash", "-c", "npm run x | tee y"]);
        spec.args = vec!["$HOME; rm".to_owned()];
        assert_eq!(spec.argv(), ["bash", "-c", "npm run x | tee y \"$@\"", "bash", "$HOME; rm"]);
    }
}
