//! `wpm doctor`: looks at everything that wpm needs and says what is wrong with it, and what helps.
//!
//! Changes nothing and starts nothing.

mod checks;

use wpm_proto::ExitCode;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::output;
use crate::render::style::{self, paint};

pub(crate) const VERB: Verb = Verb {
    name: "doctor",
    aliases: &[],
    about: "Check everything that wpm needs, and say what to do",
    examples: "  wpm doctor\n  wpm doctor --json",
    args: <Doctor as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Doctor {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Doubtful,
    Bad,
}

/// One line.
#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    text: String,
    fix: Option<String>,
}

impl Finding {
    fn good(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, text: text.into(), fix: None }
    }
    fn doubtful(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Doubtful, text: text.into(), fix: Some(fix.into()) }
    }
    fn bad(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, text: text.into(), fix: Some(fix.into()) }
    }
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Doctor { json } = arguments(matches)?;
    let findings = checks::all(context);
    let worst_is_bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    if json {
        let word = |verdict| match verdict {
            Verdict::Good => "ok",
            Verdict::Doubtful => "warning",
            Verdict::Bad => "error",
        };
        let list: Vec<_> = findings
            .iter()
            .map(|it| serde_json::json!({ "verdict": word(it.verdict), "text": it.text, "fix": it.fix }))
            .collect();
        output::json(&serde_json::json!({ "schema": 1, "findings": list }))?;
    } else {
        let text: String = findings.iter().map(line).collect();
        output::data(&text)?;
        let bad = findings.iter().filter(|finding| finding.verdict != Verdict::Good).count();
        context.note(&match bad {
            0 => "all is well".to_owned(),
            1 => "one thing to look at".to_owned(),
            bad => format!("{bad} things to look at"),
        });
    }
    Ok(if worst_is_bad { ExitCode::Failed } else { ExitCode::Ok })
}

fn line(finding: &Finding) -> String {
    let (sign, plain, style) = match finding.verdict {
        Verdict::Good => ("✓", "ok  ", style::GOOD),
        Verdict::Doubtful => ("!", "warn", style::WARNING),
        Verdict::Bad => ("✗", "FAIL", style::ERROR),
    };
    let sign = paint(style, if output::is_utf8() { sign } else { plain });
    match &finding.fix {
        Some(fix) => format!("{sign} {}\n    {}: {fix}\n", finding.text, paint(style::HELP, "help")),
        None => format!("{sign} {}\n", finding.text),
    }
}
