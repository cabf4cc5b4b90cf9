//! The one place that knows every service: which there are, what they read from the configuration, and how they open.

use std::future::Future;
use std::pin::Pin;

use dte_base::config::Section;
use dte_identity::{Mount, OpenError, ServiceContext};

type Opening = Pin<Box<dyn Future<Output = Result<Vec<Mount>, OpenError>> + Send>>;

/// A service as the composition root sees it.
pub struct Entry {
    pub name: &'static str,
    open: fn(ServiceContext) -> Opening,
}

impl Entry {
    pub async fn open(&self, context: &ServiceContext) -> Result<Vec<Mount>, OpenError> {
        (self.open)(context.for_service(self.name)).await
    }
}

macro_rules! services {
    ($($name:literal => $service:ty),* $(,)?) => {
        /// All services, in the order in which they open: those that are called before those that call.
        pub const ALL: &[Entry] = &[$(Entry {
            name: $name,
            open: |context| Box::pin(async move { Ok(<$service>::open(context).await?.mounts()) }),
        }),*];
    };
}

services! {
    "edge" => dte_edge::Service,
    "transfer" => dte_transfer::Service,
    "lake" => dte_lake::Service,
    "events" => dte_events::Service,
    "offload" => dte_offload::Service,
    "provenance" => dte_provenance::Service,
    "accounting" => dte_accounting::Service,
    "workflow" => dte_workflow::Service,
    "dashboard" => dte_dashboard::Service,
}

/// Every section of the configuration that somebody reads.
pub fn sections() -> Vec<Section> {
    let of_services = [
        dte_edge::SECTIONS,
        dte_transfer::SECTIONS,
        dte_lake::SECTIONS,
        dte_offload::SECTIONS,
        dte_accounting::SECTIONS,
    ];
    crate::settings::own_sections().chain(of_services.into_iter().flatten().copied()).collect()
}

/// The service of this name.
pub fn named(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}
