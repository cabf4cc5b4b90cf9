//! A place on another machine, through SSH.
//!
//! One connection carries everything: at its far end the runner's program stands as an agent ([`crate::place::agent`]) and
//! takes orders as messages, so there is no remote command line into which anything of a pod could be written. The connection
//! is made by OpenSSH's own client, as a process: it knows what sites demand (jump hosts, certificates, hardware keys,
//! post-quantum key exchange), is kept up to date by the machine's owner, and costs no dependency. The host's key is pinned in
//! the configuration; no other is accepted, and nothing of the user's own SSH configuration is read.

mod config;
mod connection;
mod link;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dte_base::tasks::Tasks;
use tokio::sync::broadcast;
use uuid::Uuid;

pub use config::SshConfig;

use crate::place::{BIN, Order, Place, RunnerProgram, Told};
use crate::site::SiteError;
use link::Link;

/// A folder of a machine that is reached through SSH.
pub struct SshPlace {
    base: PathBuf,
    runner: PathBuf,
    link: Arc<Link>,
}

impl SshPlace {
    /// Makes ready to connect, which happens with the first order. `runner`: the program for the far machine, if not our own.
    pub async fn open(
        config: SshConfig,
        base: &Path,
        runner: Option<PathBuf>,
        data_dir: &Path,
        site: &str,
        tasks: &Tasks,
    ) -> Result<Arc<SshPlace>, SiteError> {
        config.check(site)?;
        let folder = data_dir.join("sites");
        let known_hosts = folder.join(format!(".known-host-of-{site}"));
        let line = config.known_host();
        let program = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(&known_hosts), line)?;
            Ok((RunnerProgram::read(runner.as_deref())?, known_hosts))
        });
        let read = program.await.map_err(std::io::Error::other).and_then(|outcome: std::io::Result<_>| outcome);
        let (program, known_hosts) = read.map_err(SiteError::io(format!("the runner of site {site}")))?;
        let runner = base.join(BIN).join(&program.name);
        let link = Link::new(config, known_hosts, base.to_path_buf(), program, tasks.clone());
        Ok(Arc::new(SshPlace { base: base.to_path_buf(), runner, link }))
    }
}

impl Place for SshPlace {
    fn ask(&self, order: Order, body: Vec<u8>) -> Told<'_> {
        Box::pin(self.link.ask(order, body))
    }

    fn ended(&self) -> broadcast::Receiver<Uuid> {
        self.link.ended.subscribe()
    }

    fn base(&self) -> &Path {
        &self.base
    }

    fn runner(&self) -> &Path {
        &self.runner
    }

    fn is_local(&self) -> bool {
        false
    }
}
