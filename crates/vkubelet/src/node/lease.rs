//! The lease: this process is alive. It is renewed also while the site is away, because work goes on there.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cluster::refused_with;

const NAMESPACE: &str = "kube-node-lease";
const DURATION_SECONDS: i32 = 40;
/// A quarter of the duration.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);

/// Renews the lease of `node`, or makes it. The node must be known to the cluster already.
pub async fn renew(client: &Client, node: &str, node_uid: &str) -> Result<(), kube::Error> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let now = MicroTime(jiff::Timestamp::now());
    let renewed =
        json!({ "spec": { "holderIdentity": node, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": now } });
    match leases.patch(node, &PatchParams::default(), &Patch::Merge(renewed)).await {
        Ok(_) => return Ok(()),
        Err(error) if refused_with(&error) == Some(404) => {}
        Err(error) => return Err(error),
    }
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: node_uid.to_owned(),
        ..OwnerReference::default()
    };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node.to_owned()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    leases.create(&PostParams::default(), &lease).await.map(drop)
}
