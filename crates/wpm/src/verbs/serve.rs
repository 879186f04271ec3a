//! `wpm serve`: serves a folder over HTTP as an app.
//!
//! Starts `wpm __serve` like any other program. Invariant: unless it was asked for, nothing outside this
//! machine can connect; under the name of pm2 it was, as that is what the word means there.

use wpm_proto::request::Op;

use super::Outcome;
use super::targets::Waiting;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::options::AppOptions;
use crate::outcome::{Words, carry_out};
use crate::pages;
use crate::pm2;
use crate::target::{Caller, absolute, resolve};

pub(crate) const VERB: Verb = Verb {
    name: "serve",
    aliases: &["expose"],
    about: "Serve the files of a folder over HTTP, as an app",
    examples: "  wpm serve build                     http://127.0.0.1:8080\n  \
               wpm serve build 3000 --spa          every path that is no file gives index.html\n  \
               wpm serve build 80 --host 0.0.0.0   for the network",
    args: <Serve as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Serve {
    /// Folder
    #[arg(value_name = "PATH", default_value = ".")]
    path: String,
    /// Port [default: 8080]
    #[arg(value_name = "PORT")]
    port: Option<u16>,
    /// The same as an option
    #[arg(long = "port", value_name = "PORT", conflicts_with = "port")]
    named_port: Option<u16>,
    /// Address to listen on; 0.0.0.0 is all of the network
    #[arg(long, value_name = "ADDRESS")]
    host: Option<std::net::IpAddr>,
    /// Give index.html for every path that is no file
    #[arg(long)]
    spa: bool,
    /// Ask for this user name
    #[arg(long, value_name = "NAME", requires = "basic_auth_password")]
    basic_auth_username: Option<String>,
    /// Ask for this password; better in the variable WPM_SERVE_PASSWORD, as others see arguments
    #[arg(long, value_name = "PASSWORD", env = pages::PASSWORD, hide_env_values = true)]
    basic_auth_password: Option<String>,
    /// Name of the app [default: static-page-server-PORT]
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    #[arg(long, hide = true, value_name = "TYPE", num_args = 0..=1)]
    monitor: Option<Option<String>>,
    #[arg(long, hide = true)]
    ftp: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// pm2's port.
const PORT: u16 = 8080;

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let serve: Serve = arguments(matches)?;
    let caller = Caller::of_this_process()?;
    let folder = absolute(&serve.path, &caller.cwd, &caller.env);
    if !folder.is_dir() {
        return Err(Failure::new(Code::NoTarget, format!("there is no folder {}", folder.display())));
    }
    if serve.ftp {
        return Err(Failure::new(Code::Usage, "wpm lists no folders: --ftp is not there")
            .help("`wpm start \"python3 -m http.server\"` does"));
    }
    let port = serve.port.or(serve.named_port).unwrap_or(PORT);
    let all = std::net::IpAddr::from([0, 0, 0, 0]);
    let own = std::net::IpAddr::from([127, 0, 0, 1]);
    let host = serve.host.unwrap_or(if pm2::speaks() { all } else { own });
    let program = std::env::current_exe().map_err(|cause| {
        Failure::new(Code::Storage, format!("cannot tell where this program is: {cause}"))
    })?;
    let place = std::net::SocketAddr::new(host, port);
    let mut args = vec!["__serve".to_owned(), folder.display().to_string(), place.to_string()];
    args.extend(serve.spa.then(|| pages::SPA.to_owned()));
    let mut env = std::collections::BTreeMap::new();
    if let Some(password) = serve.basic_auth_password {
        env.insert(pages::PASSWORD.to_owned(), password);
        env.insert(pages::USERNAME.to_owned(), serve.basic_auth_username.unwrap_or_default());
    }
    let options = AppOptions {
        script: Some(program.display().to_string()),
        interpreter: Some("none".to_owned()),
        name: Some(serve.name.unwrap_or_else(|| format!("static-page-server-{port}"))),
        cwd: Some(folder.display().to_string()),
        args: Some(args),
        env: Some(env),
        ready: (port != 0).then(|| format!("port:{port}")),
        ..AppOptions::default()
    };
    let app = resolve(options, &caller.cwd, &caller)?;
    let op = Op::Start { apps: vec![app], force: false, rise: None, wait: !serve.waiting.no_wait };
    let words = Words { doing: "starting", noun: "start asked for", hints: true };
    let mut client = context.daemon()?;
    let code = carry_out(context, &mut client, op, words, Some(1), serve.waiting.quiet)?;
    if code == wpm_proto::ExitCode::Ok {
        context.note(&format!("serving {} at http://{place}", folder.display()));
    }
    Ok(code)
}
