//! Events that people see in `kubectl describe`.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, PostParams};

/// Messages longer than this are cut, as the API server would refuse them.
const LONGEST_MESSAGE: usize = 1_000;

/// Writes events about pods.
#[derive(Clone)]
pub struct Events {
    client: Client,
    node: String,
}

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Warning,
}

impl Events {
    pub fn new(client: Client, node: &str) -> Self {
        Events { client, node: node.to_owned() }
    }

    /// Tells of something that happened to `pod`. An event that is lost changes nothing, so a failure is only logged.
    pub async fn tell(&self, pod: &Pod, kind: Kind, reason: &str, message: &str) {
        let meta = &pod.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let now = Time(jiff::Timestamp::now());
        let component = format!("{}/pod-controller", self.node);
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}.", meta.name.as_deref().unwrap_or_default())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: meta.name.clone(),
                namespace: meta.namespace.clone(),
                uid: meta.uid.clone(),
                ..ObjectReference::default()
            },
            type_: Some(if kind == Kind::Normal { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.chars().take(LONGEST_MESSAGE).collect()),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            source: Some(EventSource { component: Some(component.clone()), host: Some(self.node.clone()) }),
            reporting_component: Some(component),
            reporting_instance: Some(self.node.clone()),
            ..Event::default()
        };
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            tracing::debug!(%error, reason, "an event was not written");
        }
    }
}
