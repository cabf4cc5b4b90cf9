//! `dte audit trace`: what is written about somebody, or who was behind a token, a pod or a transfer.

use serde_json::{Value, json};

use super::administration::Administration;
use crate::cli::{Common, Trace};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

/// Pages of pods that are looked through for one that still runs.
const MOST_PAGES: usize = 100;

pub async fn trace(common: &Common, engine: &Administration, wanted: &Trace) -> Result<(), Failure> {
    if let Some(subject) = &wanted.subject {
        return show::json(&engine.trace_audit(subject).await?);
    }
    let (text, owner) = match (&wanted.token_id, &wanted.pod, &wanted.transfer) {
        (Some(id), _, _) => (id, Ok(None)),
        (_, Some(uid), _) => (uid, owner_of(engine, pod_owner(common, uid)).await),
        (_, _, Some(id)) => (id, owner_of(engine, transfer_owner(common, id)).await),
        _ => return Err(Failure::new("name a subject, a token, a pod or a transfer").with_code(2)),
    };
    let mut answer = whole(engine, text).await?;
    // The trail answers all the same when a service is not mounted or does not know the thing.
    let owner = owner.unwrap_or_else(|error| {
        answer["owner_is_unknown"] = json!(error.to_string());
        None
    });
    let named = answer["events"].as_array().and_then(|events| events.iter().find_map(|event| event["user"].as_str()));
    let Some(owner) = owner.or_else(|| named.map(str::to_owned)) else { return show::json(&answer) };
    // Whose it is, and all that they did: permits are summed, and do not name each pod.
    let about = whole(engine, &owner).await?;
    answer["owner"] = json!(owner);
    answer["identities"] = about["identities"].clone();
    answer["actions"] = about["records"].clone();
    show::json(&answer)
}

/// All pages of an answer.
async fn whole(engine: &Administration, text: &str) -> Result<Value, Failure> {
    let mut answer = engine.trace(text, 0).await?;
    while let Some(after) = answer["next"].as_i64() {
        let more = engine.trace(text, after).await?;
        extend(&mut answer["records"], &more["records"]);
        answer["next"] = more["next"].clone();
    }
    Ok(answer)
}

fn extend(list: &mut Value, more: &Value) {
    if let (Value::Array(list), Value::Array(more)) = (list, more) {
        list.extend(more.iter().cloned());
    }
}

/// What a running engine says of it; one that rests leaves it to the events.
async fn owner_of<W>(engine: &Administration, asked: W) -> Result<Option<String>, Failure>
where
    W: Future<Output = Result<Option<String>, Failure>>,
{
    if matches!(engine, Administration::Running(_)) { asked.await } else { Ok(None) }
}

async fn pod_owner(common: &Common, uid: &str) -> Result<Option<String>, Failure> {
    let remote = Remote::find(common).await?;
    let mut after = String::new();
    for _ in 0..MOST_PAGES {
        let page: Value = remote.get(&format!("/interlink/pods?limit=1000{after}")).await?;
        let found = page["items"].as_array().and_then(|pods| pods.iter().find(|pod| pod["uid"] == uid));
        if let Some(pod) = found {
            return Ok(pod["user"].as_str().map(str::to_owned));
        }
        let Some(next) = page["next"].as_str() else { return Ok(None) };
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        after = format!("&after={next}");
    }
    Ok(None)
}

async fn transfer_owner(common: &Common, id: &str) -> Result<Option<String>, Failure> {
    let remote = Remote::find(common).await?;
    let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    let job: Value = remote.get(&format!("/fts/jobs/{id}")).await?;
    Ok(job["user_dn"].as_str().map(str::to_owned))
}
