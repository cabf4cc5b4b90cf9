//! `/containerLogs`: what a container wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use dte_protocol_interlink::message::ZERO_TIME;
use dte_protocol_interlink::{LogOptions, LogStruct};
use http::{StatusCode, header};

use super::Refusal;
use crate::Error;
use crate::pods::Controller;
use dte_protocol_interlink::InterlinkError;

pub async fn logs(
    State(controller): State<Arc<Controller>>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Refusal> {
    let nothing = query.get("tailLines").map(String::as_str) == Some("0");
    let options = options(&query).map_err(|text| Refusal(StatusCode::BAD_REQUEST, text))?;
    let Some(entry) = controller.table.named(&namespace, &name) else {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found\n")));
    };
    let spec = entry.pod.spec.clone().unwrap_or_default();
    let mut known = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    if !known.any(|one| one.name == container) {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("container \"{container}\" not found in pod \"{name}\"\n")));
    }
    let text = [(header::CONTENT_TYPE, "text/plain")];
    if nothing && !options.follow {
        return Ok((text, String::new()).into_response());
    }
    let asked = LogStruct {
        namespace,
        pod_uid: entry.raw.uid().to_owned(),
        pod_name: name,
        container_name: container,
        options: options.clone(),
    };
    match controller.site.logs(&asked).await {
        Ok(reply) => Ok((text, reply.body).into_response()),
        Err(Error::Site(InterlinkError::Refused { status, text })) => Err(Refusal(status, text)),
        Err(error) => Err(error.into()),
    }
}

/// The kubelet's parameters as the site's options.
fn options(query: &BTreeMap<String, String>) -> Result<LogOptions, String> {
    let number = |name: &str, least: i64| -> Result<i64, String> {
        match query.get(name).filter(|text| !text.is_empty()) {
            None => Ok(0),
            Some(text) => match text.parse::<i64>() {
                Ok(number) if number >= least => Ok(number),
                _ => Err(format!("{name}: {text:?} is not a number of at least {least}\n")),
            },
        }
    };
    let flag = |name: &str| -> Result<bool, String> {
        match query.get(name).map(String::as_str) {
            None | Some("" | "false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(text) => Err(format!("{name}: {text:?} is neither true nor false\n")),
        }
    };
    let since_time = query.get("sinceTime").filter(|text| !text.is_empty());
    if let Some(text) = since_time
        && text.parse::<jiff::Timestamp>().is_err()
    {
        return Err(format!("sinceTime: {text:?} is not an RFC 3339 time\n"));
    }
    let since_seconds = number("sinceSeconds", 1)?;
    if since_seconds != 0 && since_time.is_some() {
        return Err("at most one of sinceTime or sinceSeconds may be specified\n".to_owned());
    }
    Ok(LogOptions {
        tail: number("tailLines", 0)?,
        bytes: number("limitBytes", 1)?,
        timestamps: flag("timestamps")?,
        follow: flag("follow")?,
        previous: flag("previous")?,
        since_seconds,
        since_time: since_time.cloned().unwrap_or_else(|| ZERO_TIME.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pairs: &[(&str, &str)]) -> Result<LogOptions, String> {
        options(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn parameters() {
        let options = ask(&[("tailLines", "3"), ("follow", "true"), ("timestamps", "1")]).expect("good");
        assert_eq!((options.tail, options.follow, options.timestamps), (3, true, true));
        assert!(ask(&[("tailLines", "-1")]).is_err());
        assert!(ask(&[("limitBytes", "0")]).is_err());
        assert!(ask(&[("sinceTime", "yesterday")]).is_err());
        assert!(ask(&[("sinceSeconds", "1"), ("sinceTime", "2026-01-01T00:00:00Z")]).is_err());
    }
}
