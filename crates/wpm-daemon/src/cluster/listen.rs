//! The sockets of `--listen`: bound once for an app, by whatever name its runtime finds them.

use std::net::IpAddr;
use std::rc::Rc;

use rustix::io::Errno;
use wpm_cluster::activation::{Listen, ListenTo};
use wpm_cluster::primary::BindTo;
use wpm_core::App;

use super::{Fd, LISTEN_MARK, bind, key};
use crate::daemon::Daemon;

/// Queue of connections of a `--listen` socket, as Node has it.
const BACKLOG: u32 = 511;

impl Daemon {
    /// The sockets that an app's instances share by `--listen`, bound once.
    pub(crate) fn listen_sockets(&mut self, app: &App) -> Result<Vec<Fd>, Errno> {
        if app.spec.listen.is_empty() {
            return Ok(vec![]);
        }
        let name = app.spec.name.clone();
        let cluster = self.cluster(app);
        if cluster.listen.is_empty() {
            let mut bound = Vec::new();
            for (i, listen) in (0_u64..).zip(app.spec.listen.iter().filter_map(|t| t.parse::<Listen>().ok()))
            {
                let held = self.clusters.held.remove(&key(&name, LISTEN_MARK | i));
                let fd = match held {
                    Some(fd) => fd,
                    None => {
                        let fd = Rc::new(bind::make(&to_bind(&listen, &app.spec.cwd), BACKLOG)?);
                        // As systemd hands them down: blocking. The flag is shared by all holders.
                        rustix::io::ioctl_fionbio(&*fd, false)?;
                        fd
                    }
                };
                self.keep(key(&name, LISTEN_MARK | i), &fd);
                bound.push((listen, fd));
            }
            self.cluster(app).listen = bound;
        }
        Ok(self.cluster(app).listen.iter().map(|(_, fd)| Rc::clone(fd)).collect())
    }
}

fn to_bind(listen: &Listen, cwd: &str) -> BindTo {
    match &listen.to {
        ListenTo::Tcp { host, .. } => {
            let ip = host.as_deref().and_then(|h| match h {
                "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
                h => h.parse().ok(),
            });
            listen.to.to_bind(ip)
        }
        ListenTo::Unix { path } => BindTo::Path {
            path: std::path::Path::new(cwd).join(path).to_string_lossy().into_owned(),
            add_mode: 0,
        },
    }
}
