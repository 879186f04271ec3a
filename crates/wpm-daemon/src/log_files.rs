//! What the daemon does about log files: has them emptied, rotated and opened anew. The bytes are the shims'.

use wpm_core::InstanceId;
use wpm_proto::response::Body;
use wpm_sys::contract::ToShim;

use crate::daemon::Daemon;

impl Daemon {
    /// Empties the log files of these apps, in a thread of its own.
    pub(crate) fn flush(&mut self, targets: &[String]) -> Body {
        let ids: Vec<InstanceId> = if targets.is_empty() {
            self.core.instances().map(|i| i.id).collect()
        } else {
            match self.selected(targets) {
                Ok(ids) => ids,
                Err(body) => return body,
            }
        };
        let mut files = Vec::new();
        for id in ids {
            let Some(i) = self.core.instance(id) else { continue };
            if let Some(run) = i.run() {
                let run = run.id;
                self.send(run, &ToShim::Flush);
            } else if let Some(app) = self.core.app(i.app) {
                let f = crate::launch::files(&self.home, &app.spec, i.index);
                files.extend([f.out, f.err].into_iter().chain(f.both).filter(|p| !p.is_empty()));
            }
        }
        if !files.is_empty() {
            let _detached = tokio::task::spawn_blocking(move || {
                for path in files {
                    // Only what is there: a file that was never written stays absent.
                    if let Ok(file) = std::fs::File::options().write(true).open(&path)
                        && let Err(error) = file.set_len(0)
                    {
                        tracing::warn!(%error, %path, "cannot empty a log file");
                    }
                }
            });
        }
        Body::Outcomes { outcomes: vec![], remarks: vec![] }
    }

    /// Has the log files of an instance rotated, if it runs. Instances that share a file rotate it once.
    pub(crate) fn rotate_logs(&mut self, id: InstanceId) {
        if let Some(run) = self.core.instance(id).and_then(|i| i.run()).map(|run| run.id) {
            self.send(run, &ToShim::Rotate);
        }
    }

    /// Has every log file opened again.
    pub(crate) fn reopen_logs(&mut self) {
        let runs: Vec<_> = self.runs.keys().copied().collect();
        for run in runs {
            self.send(run, &ToShim::Reopen);
        }
    }
}
