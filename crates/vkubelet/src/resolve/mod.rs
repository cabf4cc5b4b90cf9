//! A pod as the site shall get it: environment in plain values, volumes with their contents.
//!
//! * [`sources`]: what a pod refers to, fetched from the API server;
//! * [`services`]: the variables that tell of services;
//! * [`environment`]: `env` and `envFrom` in Kubernetes' order;
//! * [`downward`]: what a pod may know of itself;
//! * [`volumes`]: the contents of volumes; [`claims`]: where persistent ones are at the site;
//! * [`wire`]: all of it together as an interLink request.
//!
//! Only [`sources`] speaks to anybody.

pub mod claims;
pub mod downward;
pub mod environment;
pub mod services;
pub mod sources;
pub mod volumes;
pub mod wire;

/// Why a pod cannot be sent now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Something that it refers to is not there (yet).
    #[error("{message}")]
    Missing { reason: &'static str, message: String },
    /// A volume of a kind that no site has.
    #[error("{0}")]
    Volume(String),
    /// It says something that means nothing.
    #[error("{0}")]
    Nonsense(String),
}

impl Unresolved {
    /// The reason of the event that tells of it.
    pub fn event(&self) -> &'static str {
        match self {
            Unresolved::Missing { reason, .. } => reason,
            Unresolved::Volume(_) => "FailedMount",
            Unresolved::Nonsense(_) => "ProviderCreateFailed",
        }
    }

    /// The reason for which the containers wait.
    pub fn waiting(&self) -> &'static str {
        match self {
            Unresolved::Volume(_) => "ContainerCreating",
            _ => "CreateContainerConfigError",
        }
    }
}

/// Something optional that is not there, for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub reason: &'static str,
    pub message: String,
}
