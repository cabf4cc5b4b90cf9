//! The cluster: how its API server is reached, and what it is called.

use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Config};

use crate::Error;
use crate::settings::Settings;

/// The namespace whose UID names a cluster.
const SYSTEM: &str = "kube-system";

/// One Kubernetes cluster.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    /// The UID of the namespace `kube-system`.
    pub id: String,
}

impl Cluster {
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let config = match &settings.kubeconfig {
            Some(file) => {
                let read = Kubeconfig::read_from(file).map_err(|error| Error::Kubeconfig(error.to_string()))?;
                Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                    .await
                    .map_err(|error| Error::Kubeconfig(error.to_string()))?
            }
            None => Config::infer().await.map_err(|error| Error::Kubeconfig(error.to_string()))?,
        };
        let client = Client::try_from(config)?;
        let system = Api::<Namespace>::all(client.clone()).get(SYSTEM).await?;
        Ok(Cluster { client, id: system.metadata.uid.unwrap_or_default() })
    }

    /// Pods as they are, with the fields that our types do not know.
    pub fn raw_pods(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()))
    }
}

/// The HTTP status of a refusal by the API server.
pub fn refused_with(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// An error in the API server's own words.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

/// `None` for what is not there.
pub fn found<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if refused_with(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}
