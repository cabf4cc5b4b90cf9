//! Changes of accounts, clients and bans: made in one transaction with their audit records, in force here at once and in
//! other processes within seconds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dte_store::Tx;
use tokio::sync::watch;

use crate::audit::Entry;
use crate::context::OpenError;
use crate::directory::Directory;
use crate::issue::Error;
use crate::{Identity, store};

/// How often a process looks whether another changed accounts or bans.
const LOOK: Duration = Duration::from_secs(2);

impl Identity {
    /// A number that grows whenever accounts or bans change: those who keep long work going for somebody ask
    /// [`Identity::is_welcome`] again then.
    pub fn watch_changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Makes a change with its audit records in one transaction, then lets it take effect here.
    pub(crate) async fn change<F>(&self, entries: Vec<Entry>, change: F) -> Result<(), Error>
    where
        F: Fn(&mut Tx<'_>) -> Result<(), Error> + Send + 'static,
    {
        let audit = self.audit().clone();
        let directory = self.0.store.write(move |tx| {
            change(tx)?;
            audit.append(tx, &entries)?;
            store::bump_version(tx)?;
            Directory::load(tx).map_err(Error::from)
        });
        self.install(directory.await?);
        Ok(())
    }

    /// Puts a directory in place if it is newer than the one that is there, and forgets what was verified before.
    fn install(&self, directory: Directory) {
        {
            let mut current = self.0.directory.write();
            if directory.version <= current.version {
                return;
            }
            *current = Arc::new(directory);
        }
        self.forget_verified();
    }

    /// Reads accounts, clients and bans again, after a change that was made elsewhere than in [`Identity::change`].
    pub(crate) async fn reload_accounts(&self) -> Result<(), dte_store::Error> {
        let directory = self.0.store.read(Directory::load).await?;
        self.install(directory);
        Ok(())
    }

    /// Sessions have ended: whoever came by one of them is looked at again.
    pub(crate) fn sessions_ended(&self) {
        self.0.changed.send_modify(|_| {});
    }

    /// Rights have changed: what was verified before is verified again.
    pub(crate) fn forget_verified(&self) {
        let generation = self.0.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.0.changed.send_replace(generation);
    }

    pub(crate) async fn watch_other_processes(self, tasks: dte_base::tasks::Tasks) {
        let mut last_error = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = tasks.stopping() => return,
            }
            match self.look().await {
                Ok(()) => last_error = None,
                Err(error) => {
                    // A store that is away for long would fill the log: one line a minute.
                    if last_error.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(60)) {
                        tracing::warn!(%error, "accounts and bans could not be read again");
                        last_error = Some(Instant::now());
                    }
                }
            }
        }
    }

    async fn look(&self) -> Result<(), OpenError> {
        self.policy_refresh().await?;
        let known = self.directory().version;
        if self.0.store.read(store::version).await? == known {
            return Ok(());
        }
        self.install_keys().await?;
        let directory = self.0.store.read(Directory::load).await?;
        self.install(directory);
        Ok(())
    }
}
