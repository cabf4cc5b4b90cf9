//! The header `If`: what must be so for a request to be done at all.

use dte_http::Problem;
use dte_identity::StorageOp;
use dte_protocol_webdav::etag::ETag;
use dte_protocol_webdav::if_header::{IfHeader, State};

use super::asked::{Asked, Place, on_disk};
use super::reference::{Reference, resolve};
use super::refusal::condition;
use crate::disk::Fault;

/// The state of a resource as far as the header can ask for it.
#[derive(Default)]
struct Known {
    tag: Option<ETag>,
    tokens: Vec<String>,
}

/// Refuses a request whose conditions do not hold. Of what somebody may not look at nothing is so.
pub async fn check(asked: &Asked, header: &IfHeader) -> Result<(), Problem> {
    let mut resources: Vec<Option<&str>> = Vec::new();
    for list in &header.lists {
        if !resources.contains(&list.resource.as_deref()) {
            resources.push(list.resource.as_deref());
        }
    }
    let mut known = Vec::with_capacity(resources.len());
    for resource in resources {
        let place = match resource {
            None => asked.place()?,
            Some(text) => match resolve(asked, text) {
                Ok(Reference::Here(place)) => Some(place),
                Ok(Reference::Elsewhere) | Err(_) => None,
            },
        };
        let visible = place.filter(|place| {
            [false, true].into_iter().any(|folder| asked.may(StorageOp::Stat, &place.full, folder).is_ok())
        });
        let state = match visible {
            Some(place) => on_disk(move || look(&place)).await?,
            None => Known::default(),
        };
        known.push((resource, state));
    }
    let holds = header.holds(|resource, state| {
        known.iter().filter(|(about, _)| *about == resource).any(|(_, known)| match state {
            State::Token(token) => known.tokens.contains(token),
            State::Tag(tag) => known.tag.as_ref().is_some_and(|present| present.strong_eq(tag)),
        })
    });
    if holds { Ok(()) } else { Err(condition("what the header If says is not so")) }
}

fn look(place: &Place) -> Result<Known, Fault> {
    let tag = place.area.look(&place.path)?.map(|facts| facts.etag());
    let held = place.area.locks.hold()?;
    let tokens = held.all().filter(|lock| lock.covers(&place.path)).map(|lock| lock.token.clone()).collect();
    Ok(Known { tag, tokens })
}
