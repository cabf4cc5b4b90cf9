//! Folders for browsers, and for clients that GET or HEAD whatever there is.

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::Response;
use dte_http::Problem;
use dte_identity::StorageOp;
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::xml::escape;
use http::header::{CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::asked::{Asked, Place, on_disk};
use super::get::{Part, answer, value};
use crate::disk::{Area, tree};
use crate::edge::HOME;
use crate::model::facts::{Facts, Kind};
use dte_base::units::Bytes;
use rustix::fs::{AtFlags, statat};

/// More members than this are left out of the page; PROPFIND gives all.
const MOST_SHOWN: usize = 10_000;

/// A member of a folder.
pub struct Member {
    pub name: String,
    pub facts: Facts,
}

/// The members of a folder that clients may know of, by name.
pub fn members(area: &Area, folder: &ResourcePath) -> Result<Vec<Member>, crate::disk::Fault> {
    let open = area.root.open_folder_read(folder)?;
    let mut found = Vec::new();
    for name in tree::names(&open)? {
        let Ok(path) = folder.child(&name) else { continue };
        if Area::is_hidden(&path) {
            continue;
        }
        // Gone between the listing and the look: no longer a member.
        let Ok(stat) = statat(&open, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let mut facts = Facts::from(&stat);
        if facts.kind == Kind::Other {
            // A link that is followed counts as what it leads to.
            match area.facts(&path) {
                Ok(behind) if behind.kind != Kind::Other => facts = behind,
                _ => continue,
            }
        }
        found.push(Member { name, facts });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Whether this is the folder that holds everybody's: each sees their own in it.
pub fn is_list_of_homes(folder: &Place) -> bool {
    folder.area.name == HOME && folder.path.is_root()
}

/// Whether the one who asks sees this member of this folder.
pub fn is_seen(asked: &Asked, folder: &Place, name: &str) -> bool {
    !is_list_of_homes(folder)
        || folder.full.child(name).is_ok_and(|path| asked.may(StorageOp::Stat, &path, true).is_ok())
}

/// The list of areas.
pub fn areas(asked: &Asked, part: Part) -> Result<Response, Problem> {
    let mut page = Page::new("/");
    for area in asked.edge.areas() {
        if let Ok(path) = asked.path.child(&area.name)
            && asked.may(StorageOp::Stat, &path, true).is_ok()
        {
            page.row(&asked.href(&path.as_collection(true)), &area.name, None);
        }
    }
    Ok(page.answer(HeaderMap::new(), part))
}

/// A folder's page.
pub async fn folder(asked: &Asked, place: &Place, facts: &Facts, part: Part) -> Result<Response, Problem> {
    let mut headers = HeaderMap::new();
    headers.insert(ETAG, value(facts.etag().to_string()));
    headers.insert(LAST_MODIFIED, value(facts.modified().http_date()));
    if part == Part::HeadOnly {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        return Ok(answer(StatusCode::OK, headers, Body::empty()));
    }
    let (area, path) = (place.area.clone(), place.path.clone());
    let members = on_disk(move || members(&area, &path)).await?;
    let mut page = Page::new(&place.full.plain());
    for member in members.iter().filter(|member| is_seen(asked, place, &member.name)).take(MOST_SHOWN) {
        let Ok(path) = place.full.child(&member.name) else { continue };
        let href = asked.href(&path.as_collection(member.facts.is_folder()));
        page.row(&href, &member.name, Some(&member.facts));
    }
    Ok(page.answer(headers, part))
}

struct Page {
    text: String,
}

impl Page {
    fn new(title: &str) -> Page {
        let title = escape(title);
        Page {
            text: format!(
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
                 <body><h1>{title}</h1>\n<table>\n<tr><th>Name</th><th>Size</th><th>Modified</th></tr>\n"
            ),
        }
    }

    fn row(&mut self, href: &str, name: &str, facts: Option<&Facts>) {
        let (href, name) = (escape(href), escape(name));
        let size = match facts {
            Some(facts) if !facts.is_folder() => Bytes(facts.size).to_string(),
            _ => "—".to_owned(),
        };
        let time = facts.map_or_else(String::new, |facts| facts.modified().format("%Y-%m-%d %H:%M:%S"));
        let _ = writeln!(self.text, "<tr><td><a href=\"{href}\">{name}</a></td><td>{size}</td><td>{time}</td></tr>");
    }

    fn answer(mut self, mut headers: HeaderMap, part: Part) -> Response {
        self.text.push_str("</table></body></html>\n");
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.text.len()));
        let body = if part == Part::HeadOnly { Body::empty() } else { Body::from(self.text) };
        answer(StatusCode::OK, headers, body)
    }
}
