//! Registers the node and keeps it as the site is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::tasks::Tasks;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::lease;
use super::object::{self, Facts, Health};
use crate::Error;
use crate::cluster::{Cluster, found, refused_with};
use crate::settings::{Settings, Taint};
use crate::site::Site;

/// How often the status is written when nothing changed.
const REFRESH: Duration = Duration::from_secs(60);
/// How often a site that is away is asked whether it is back.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// What upstream's node keeps of the last ping.
const PING_ANNOTATION: &str = "interlink.virtual-kubelet.io/ping-response";

/// The node of one site.
pub struct Keeper {
    cluster: Cluster,
    settings: Settings,
    site: Arc<Site>,
    facts: RwLock<Facts>,
}

/// What was told the cluster last.
#[derive(Default)]
struct Told {
    taints: Vec<Taint>,
    status: Value,
    at: Option<Instant>,
}

impl Keeper {
    pub fn new(cluster: Cluster, settings: Settings, site: Arc<Site>) -> Self {
        let facts = Facts {
            name: settings.node_name.clone(),
            ip: settings.node_ip,
            allocatable: object::allocatable(&settings.resources, None),
        };
        Keeper { cluster, settings, site, facts: RwLock::new(facts) }
    }

    /// What is known of the node now.
    pub fn facts(&self) -> Facts {
        self.facts.read().clone()
    }

    fn nodes(&self) -> Api<DynamicObject> {
        Api::all_with(self.cluster.client.clone(), &ApiResource::erase::<k8s_openapi::api::core::v1::Node>(&()))
    }

    /// Keeps lease and status until the end.
    pub async fn run(&self, tasks: &Tasks) {
        let mut told = Told::default();
        let mut renewed: Option<Instant> = None;
        let mut asked: Option<(Instant, Health)> = None;
        while !tasks.is_stopping() {
            let wait = match &asked {
                Some((_, Health::Away(_))) => ASK_AGAIN,
                _ => self.settings.ping_every,
            };
            if asked.as_ref().is_none_or(|(at, _)| at.elapsed() >= wait) {
                let health = self.ask().await;
                asked = Some((Instant::now(), health));
            }
            if let Some((_, health)) = &asked {
                let due = renewed.is_none_or(|at| at.elapsed() >= lease::RENEW_EVERY);
                match self.tell(health, &mut told, due).await {
                    Ok(()) if due => renewed = Some(Instant::now()),
                    Ok(()) => {}
                    // Somebody else wrote the node at the same moment; the next look is a second away.
                    Err(Error::Cluster(error)) if refused_with(&error) == Some(409) => {}
                    Err(error) => tracing::warn!(%error, "the cluster did not take the node's state"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = tasks.stopping() => {}
            }
        }
    }

    async fn ask(&self) -> Health {
        match self.site.ping().await {
            Ok(ping) => {
                self.facts.write().allocatable = object::allocatable(&self.settings.resources, Some(&ping));
                Health::Well(ping)
            }
            Err(error) => Health::Away(error.to_string()),
        }
    }

    async fn tell(&self, health: &Health, told: &mut Told, renew: bool) -> Result<(), Error> {
        let ping = match health {
            Health::Well(ping) => Some(ping),
            Health::Away(_) => None,
        };
        // A site that is away has not changed its mind about taints.
        let taints = match ping {
            None if !told.taints.is_empty() => told.taints.clone(),
            ping => object::taints(&self.settings, ping),
        };
        let fresh = told.at.is_some_and(|at| at.elapsed() < REFRESH);
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default().to_string();
        let before: Vec<Value> = told.status["conditions"].as_array().cloned().unwrap_or_default();
        let status = object::status(&self.settings, health, &self.facts().allocatable, &before, &now);
        let same = object::without_heartbeats(&status) == object::without_heartbeats(&told.status);
        if fresh && same && told.taints == taints && !renew {
            return Ok(());
        }
        let node = self.registered(&taints).await?;
        if renew {
            lease::renew(
                &self.cluster.client,
                &self.settings.node_name,
                &node.metadata.uid.clone().unwrap_or_default(),
            )
            .await?;
        }
        if fresh && same && told.taints == taints {
            return Ok(());
        }
        self.amend(&node, &told.taints, &taints, ping.map(|ping| ping.text.as_str())).await?;
        // After a restart the cluster remembers since when things are as they are.
        let remembered = node.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let status = object::status(&self.settings, health, &self.facts().allocatable, &remembered, &now);
        let patch = json!({ "status": status });
        self.nodes().patch_status(&self.settings.node_name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        *told = Told { taints, status, at: Some(Instant::now()) };
        Ok(())
    }

    /// The node as the cluster has it; made if it is not there.
    async fn registered(&self, taints: &[Taint]) -> Result<DynamicObject, Error> {
        let nodes = self.nodes();
        if let Some(node) = found(nodes.get(&self.settings.node_name).await)? {
            return Ok(node);
        }
        let wanted: DynamicObject = serde_json::from_value(object::registration(&self.settings, taints))
            .map_err(|error| Error::Settings(format!("the node object: {error}")))?;
        tracing::info!(node = %self.settings.node_name, "registering the node");
        match nodes.create(&PostParams::default(), &wanted).await {
            Err(error) if refused_with(&error) == Some(409) => Ok(nodes.get(&self.settings.node_name).await?),
            answer => Ok(answer?),
        }
    }

    /// Labels, taints and annotations, which no change of the status touches.
    async fn amend(
        &self,
        node: &DynamicObject,
        before: &[Taint],
        wanted: &[Taint],
        ping: Option<&str>,
    ) -> Result<(), Error> {
        let present = node.data["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let taints = object::merge_taints(&present, before, wanted);
        let labels = object::labels(&self.settings);
        let has = node.metadata.labels.clone().unwrap_or_default();
        let same_labels = labels.iter().all(|(key, value)| has.get(key) == Some(value));
        let noted = node.metadata.annotations.as_ref().and_then(|all| all.get(PING_ANNOTATION)).map(String::as_str);
        if taints == present && same_labels && (ping.is_none() || noted == ping) {
            return Ok(());
        }
        let mut annotations = json!({});
        if let Some(ping) = ping {
            annotations[PING_ANNOTATION] = json!(ping);
        }
        // With the version that was read, so that nobody's taint is lost.
        let patch = json!({
            "metadata": { "labels": labels, "annotations": annotations, "resourceVersion": node.metadata.resource_version },
            "spec": { "taints": taints },
        });
        self.nodes().patch(&self.settings.node_name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }
}
