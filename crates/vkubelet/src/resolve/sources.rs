//! What a pod refers to, fetched from the API server.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use kube::api::{Api, ListParams, PostParams};

use super::Unresolved;
use super::claims::{self, Claimed};
use crate::Error;
use crate::cluster::{Cluster, found, refused_with};
use crate::node::Facts;

/// Kubernetes' own default and least lifetime of a projected token.
const TOKEN_LIFETIME: i64 = 3_600;
const SHORTEST_TOKEN_LIFETIME: i64 = 600;

/// Everything that a pod refers to; what is not there is not in the maps.
#[derive(Clone, Debug)]
pub struct Sources {
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub secrets: BTreeMap<String, Secret>,
    /// Where claimed volumes are at the site, or why not.
    pub claims: BTreeMap<String, Result<Claimed, Unresolved>>,
    /// The services of the pod's namespace.
    pub services: Vec<Service>,
    /// `default/kubernetes`
    pub api_service: Option<Service>,
    /// By volume and path.
    pub tokens: BTreeMap<(String, String), String>,
    pub node: Facts,
    /// How pods reach the API server, where the cluster's own address is of no use at the site.
    pub kubernetes_api: Option<(String, u16)>,
}

/// The names that a pod refers to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
    pub claims: BTreeSet<String>,
}

/// The containers of a pod, init containers first.
pub fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    let inits = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    inits.iter().chain(spec.map(|spec| spec.containers.as_slice()).unwrap_or_default())
}

/// What must be fetched for a pod.
pub fn wanted(pod: &Pod) -> Wanted {
    let mut wanted = Wanted::default();
    for container in containers(pod) {
        for from in container.env_from.iter().flatten() {
            wanted.config_maps.extend(from.config_map_ref.as_ref().map(|source| source.name.clone()));
            wanted.secrets.extend(from.secret_ref.as_ref().map(|source| source.name.clone()));
        }
        for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            wanted.config_maps.extend(from.config_map_key_ref.as_ref().map(|key| key.name.clone()));
            wanted.secrets.extend(from.secret_key_ref.as_ref().map(|key| key.name.clone()));
        }
    }
    let Some(spec) = &pod.spec else { return wanted };
    for volume in spec.volumes.iter().flatten() {
        wanted.config_maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        wanted.secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        wanted.claims.extend(volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone()));
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for source in projected {
            wanted.config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
            wanted.secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
        }
    }
    wanted.secrets.extend(spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()));
    wanted.config_maps.remove("");
    wanted.secrets.remove("");
    wanted
}

/// Fetches all that `pod` refers to.
pub async fn fetch(
    cluster: &Cluster,
    pod: &Pod,
    node: Facts,
    kubernetes_api: Option<(String, u16)>,
) -> Result<Sources, Error> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let wanted = wanted(pod);
    let client = &cluster.client;
    let (maps, keys) = (
        Api::<ConfigMap>::namespaced(client.clone(), &namespace),
        Api::<Secret>::namespaced(client.clone(), &namespace),
    );
    let mut config_maps = BTreeMap::new();
    for name in wanted.config_maps {
        if let Some(map) = found(maps.get(&name).await)? {
            config_maps.insert(name, map);
        }
    }
    let mut secrets = BTreeMap::new();
    for name in wanted.secrets {
        if let Some(secret) = found(keys.get(&name).await)? {
            secrets.insert(name, secret);
        }
    }
    let mut claims = BTreeMap::new();
    for name in wanted.claims {
        let claimed = match claimed(cluster, &namespace, &name).await {
            Ok(claimed) => Ok(claimed),
            Err(Error::Unresolved(why)) => Err(why),
            Err(error) => return Err(error),
        };
        claims.insert(name, claimed);
    }
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let services = match links {
        true => Api::<Service>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await?.items,
        false => Vec::new(),
    };
    let api_service = found(Api::<Service>::namespaced(client.clone(), "default").get("kubernetes").await)?;
    let tokens = tokens(cluster, pod, &namespace).await?;
    Ok(Sources { config_maps, secrets, claims, services, api_service, tokens, node, kubernetes_api })
}

/// Where a claim's volume is at the site.
async fn claimed(cluster: &Cluster, namespace: &str, name: &str) -> Result<Claimed, Error> {
    let all = Api::<PersistentVolumeClaim>::namespaced(cluster.client.clone(), namespace);
    let claim = readable(all.get(name).await, "persistentvolumeclaims")?;
    let absent = |what: &str, name: &str| Unresolved::Missing {
        reason: "FailedMount",
        message: format!("there is no {what} {name:?}"),
    };
    let claim = claim.ok_or_else(|| absent("claim", name))?;
    let bound = claims::volume_of(&claim)?;
    let volume = Api::<PersistentVolume>::all(cluster.client.clone()).get(bound).await;
    let volume = readable(volume, "persistentvolumes")?.ok_or_else(|| absent("persistent volume", bound))?;
    Ok(claims::place(&claim, &volume)?)
}

/// An older role of ours may not read these.
fn readable<T>(answer: Result<T, kube::Error>, what: &str) -> Result<Option<T>, Error> {
    match answer {
        Err(error) if refused_with(&error) == Some(403) => {
            let text = format!("the virtual kubelet's role must let it get {what} for persistent volumes");
            Err(Unresolved::Volume(text).into())
        }
        other => Ok(found(other)?),
    }
}

/// A token for each projection that asks for one, bound to the pod: it dies with it.
async fn tokens(cluster: &Cluster, pod: &Pod, namespace: &str) -> Result<BTreeMap<(String, String), String>, Error> {
    let mut tokens = BTreeMap::new();
    let Some(spec) = &pod.spec else { return Ok(tokens) };
    let account = spec.service_account_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into());
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), namespace);
    for volume in spec.volumes.iter().flatten() {
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for asked in sources.filter_map(|source| source.service_account_token.as_ref()) {
            let request = TokenRequest {
                spec: TokenRequestSpec {
                    audiences: asked.audience.clone().filter(|audience| !audience.is_empty()).into_iter().collect(),
                    bound_object_ref: Some(BoundObjectReference {
                        api_version: Some("v1".to_owned()),
                        kind: Some("Pod".to_owned()),
                        name: pod.metadata.name.clone(),
                        uid: pod.metadata.uid.clone(),
                    }),
                    expiration_seconds: Some(
                        asked.expiration_seconds.unwrap_or(TOKEN_LIFETIME).max(SHORTEST_TOKEN_LIFETIME),
                    ),
                },
                ..TokenRequest::default()
            };
            let answer = accounts.create_token_request(&account, &PostParams::default(), &request).await;
            let answer = answer.map_err(|error| match refused_with(&error) {
                Some(404) => Error::Unresolved(Unresolved::Missing {
                    reason: "FailedMount",
                    message: format!("volume {:?}: service account {account:?} is not there", volume.name),
                }),
                _ => Error::Cluster(error),
            })?;
            let token = answer.status.map(|status| status.token).unwrap_or_default();
            tokens.insert((volume.name.clone(), asked.path.clone()), token);
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_references_are_found() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "s1"}}]}],
            "containers": [{"name": "c", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}},
                {"name": "Y", "valueFrom": {"configMapKeyRef": {"name": "b", "key": "k"}}}]}],
            "volumes": [{"name": "p", "persistentVolumeClaim": {"claimName": "claim"}}, {"name": "v", "configMap": {"name": "c"}}, {"name": "w", "secret": {"secretName": "s3"}},
                {"name": "z", "projected": {"sources": [{"configMap": {"name": "d"}}, {"secret": {"name": "s4"}}]}}]
        }}))
        .expect("a pod");
        let wanted = wanted(&pod);
        assert_eq!(wanted.config_maps.into_iter().collect::<String>(), "abcd");
        assert_eq!(wanted.secrets.into_iter().collect::<Vec<_>>(), ["pull", "s1", "s2", "s3", "s4"]);
        assert_eq!(wanted.claims.into_iter().collect::<Vec<_>>(), ["claim"]);
    }
}
