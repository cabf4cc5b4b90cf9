//! What a request is about: the path, its area, who asks, and what they may do there.

use std::sync::Arc;

use axum::extract::OriginalUri;
use dte_http::Problem;
use dte_identity::{Principal, StorageOp};
use dte_protocol_webdav::if_header::IfHeader;
use dte_protocol_webdav::path::ResourcePath;
use http::HeaderMap;
use http::request::Parts;

use super::condition;
use super::refusal::{bad_header, bad_path};
use crate::disk::area::SharedArea;
pub use crate::disk::on_disk;
use crate::disk::{Area, Fault};
use crate::edge::{Edge, HOME};
use crate::model::lock::Pass;

/// A request taken apart.
pub struct Asked {
    pub edge: Arc<Edge>,
    pub principal: Principal,
    /// What stands before the path in the URLs that this client uses: `/dav`, or nothing on a listener of our own.
    pub prefix: String,
    /// The path below `/dav`.
    pub path: ResourcePath,
    pub headers: HeaderMap,
    /// What gets by locks.
    pub pass: Pass,
    /// Conditions that must hold, not yet looked at.
    conditions: Option<IfHeader>,
}

/// A place in an area.
#[derive(Clone)]
pub struct Place {
    pub area: SharedArea,
    /// Below the area.
    pub path: ResourcePath,
    /// Below `/dav`.
    pub full: ResourcePath,
}

impl Asked {
    pub fn read(edge: &Arc<Edge>, principal: Principal, parts: &Parts) -> Result<Asked, Problem> {
        let inner = parts.uri.path();
        let path = ResourcePath::parse(inner).map_err(bad_path)?;
        let outer = parts.extensions.get::<OriginalUri>().map_or(inner, |original| original.0.path());
        let prefix = outer.strip_suffix(inner).or_else(|| outer.strip_suffix(inner.trim_end_matches('/')));
        let conditions = IfHeader::of(&parts.headers).map_err(bad_header)?;
        let mut pass = Pass { person: Some(principal.user_ref()), tokens: Vec::new() };
        for token in conditions.iter().flat_map(IfHeader::tokens) {
            if !pass.tokens.iter().any(|known| known == token) {
                pass.tokens.push(token.to_owned());
            }
        }
        Ok(Asked {
            edge: edge.clone(),
            principal,
            pass,
            conditions,
            prefix: prefix.unwrap_or_default().to_owned(),
            path,
            headers: parts.headers.clone(),
        })
    }

    /// Refuses a request whose header `If` does not hold.
    pub async fn check_conditions(&self) -> Result<(), Problem> {
        match &self.conditions {
            Some(conditions) => condition::check(self, conditions).await,
            None => Ok(()),
        }
    }

    /// The place in an area; `None` for the list of areas.
    pub fn place(&self) -> Result<Option<Place>, Problem> {
        if self.path.is_root() { Ok(None) } else { place_of(&self.edge, &self.path).map(Some) }
    }

    /// The place in an area, for requests that need one.
    pub fn place_in_area(&self) -> Result<Place, Problem> {
        self.place()?.ok_or_else(|| Problem::method_not_allowed("this is the list of storage areas"))
    }

    /// Asks whether this principal may do that there. `folder` says that a folder is meant.
    pub fn may(&self, op: StorageOp, path: &ResourcePath, folder: bool) -> Result<(), Problem> {
        self.principal.may_storage(op, &permission_path(path, folder)).map_err(Problem::from)
    }

    /// Whether content may be put there, and if so whether in place of something that is there.
    pub fn may_write(&self, path: &ResourcePath) -> Result<MayWrite, Problem> {
        if self.may(StorageOp::Modify, path, false).is_ok() {
            return Ok(MayWrite { replace: true });
        }
        self.may(StorageOp::Create, path, false).map(|()| MayWrite { replace: false })
    }

    /// The URL path of a place, as this client would ask for it.
    pub fn href(&self, path: &ResourcePath) -> String {
        format!("{}{}", self.prefix, path.encoded())
    }

    /// Somebody who comes to their own home for the first time finds it there.
    pub async fn prepare_home(&self) -> Result<(), Fault> {
        let name = match self.path.components() {
            [area, name, ..] if area == HOME && name == self.principal.name() => name.clone(),
            _ => return Ok(()),
        };
        if self.edge.knows_home(&name) || self.principal.may_storage(StorageOp::Stat, &self.path.plain()).is_err() {
            return Ok(());
        }
        let edge = self.edge.clone();
        on_disk(move || edge.make_home(&name)).await
    }
}

/// What somebody may do with a name.
#[derive(Clone, Copy, Debug)]
pub struct MayWrite {
    pub replace: bool,
}

/// Finds the area and the path in it.
pub fn place_of(edge: &Edge, full: &ResourcePath) -> Result<Place, Problem> {
    let nothing = || Problem::not_found("there is no such storage area");
    let (name, path) = full.split_first().ok_or_else(nothing)?;
    let area = edge.area(name).ok_or_else(nothing)?.clone();
    if Area::is_hidden(&path) {
        return Err(Problem::not_found("there is no such file or folder"));
    }
    Ok(Place { area, path, full: full.clone() })
}

/// The path as permissions are written: with a "/" at its end where a folder is meant.
fn permission_path(path: &ResourcePath, folder: bool) -> String {
    let mut text = path.plain();
    if (folder || path.is_collection()) && !text.ends_with('/') {
        text.push('/');
    }
    text
}
