//! What a service gets when it opens.

use std::path::PathBuf;
use std::sync::Arc;

use dte_base::config::{BadConfig, Document};
use dte_base::tasks::Tasks;
use dte_http::Client;
use dte_store::Store;
use url::Url;

use crate::Identity;

/// What is there before identity is: the ground that all services stand on.
#[derive(Clone)]
pub struct Foundation {
    pub store: Store,
    pub client: Client,
    pub tasks: Tasks,
    pub config: Arc<Document>,
    pub data_dir: PathBuf,
    pub public_url: Url,
}

impl Foundation {
    /// What services get; see [`ServiceContext::for_service`].
    pub fn context(&self, identity: &Identity) -> ServiceContext {
        ServiceContext {
            store: self.store.clone(),
            client: self.client.clone(),
            identity: identity.clone(),
            tasks: self.tasks.clone(),
            config: Arc::clone(&self.config),
            data_dir: self.data_dir.clone(),
            public_url: self.public_url.clone(),
            service: "engine",
        }
    }
}

/// Everything that a service needs to open. Cheap to clone.
#[derive(Clone)]
pub struct ServiceContext {
    pub store: Store,
    /// The way out, and to other services.
    pub client: Client,
    pub identity: Identity,
    pub tasks: Tasks,
    pub config: Arc<Document>,
    /// What is local to this process.
    pub data_dir: PathBuf,
    pub public_url: Url,
    /// Whose context it is.
    pub service: &'static str,
}

impl ServiceContext {
    /// The same for the service of this name.
    pub fn for_service(&self, service: &'static str) -> Self {
        ServiceContext { service, ..self.clone() }
    }

    /// The public URL with a path: `url_of("/rucio/rules")`.
    pub fn url_of(&self, path: &str) -> String {
        self.client.url_of(path)
    }
}

/// Why a service does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] dte_store::Error),
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error("{path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Other(String),
}

impl OpenError {
    /// Any other cause, in words that name what to do.
    pub fn other(cause: impl std::fmt::Display) -> Self {
        OpenError::Other(cause.to_string())
    }

    /// A failure at a path.
    pub fn at(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| OpenError::File { path, error }
    }
}
