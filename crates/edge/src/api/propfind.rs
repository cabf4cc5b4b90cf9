//! PROPFIND.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use dte_base::time::Timestamp;
use dte_http::Problem;
use dte_identity::StorageOp;
use dte_protocol_webdav::digest::Algorithm;
use dte_protocol_webdav::header::Depth;
use dte_protocol_webdav::multistatus::{CONTENT_TYPE as XML, Multistatus};
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::propfind::{MAX_BODY, Wanted, parse_propfind};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::asked::{Asked, Place, on_disk};
use super::get::answer;
use super::listing::{is_list_of_homes, is_seen, members};
use super::lock::shown_locks;
use super::refusal::{bad_header, bad_xml};
use crate::disk::{Area, Fault, kept, sums};
use crate::model::covering::Covering;
use crate::model::facts::{Facts, Kind};
use crate::model::kept::Kept;
use crate::model::properties::{Described, Room, needs, needs_kept, needs_locks, select};

/// A body that refuses unbounded depth, as RFC 4918 section 9.1 wants it.
const FINITE: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
    <D:error xmlns:D=\"DAV:\"><D:propfind-finite-depth/></D:error>\n";

/// Longest answer. It is made in memory; a folder of a hundred thousand files fits.
const LONGEST: usize = 128 << 20;
/// Room for the locks of what was asked for, and of each member.
const MOST_LOCKS: usize = 1 << 20;
const MOST_LOCKS_OF_MEMBER: usize = 16 << 10;

pub async fn propfind(asked: Asked, body: Body) -> Result<Response, Problem> {
    let body = whole(body).await?;
    let wanted = parse_propfind(&body).map_err(bad_xml)?;
    let deep = match Depth::of(&asked.headers).map_err(bad_header)? {
        Some(Depth::Zero) => false,
        Some(Depth::One) => true,
        None | Some(Depth::Infinity) => return Ok(xml(StatusCode::FORBIDDEN, FINITE.to_owned())),
    };
    let Some(place) = asked.place()? else { return areas(&asked, &wanted, deep) };
    // Looking at one thing needs less than listing a folder; and everybody may see that there is a `home`.
    let op = if deep && !is_list_of_homes(&place) { StorageOp::Read } else { StorageOp::Stat };
    let as_file = asked.may(op, &place.full, false);
    if as_file.is_err() {
        asked.may(op, &place.full, true)?;
    }
    let (area, path) = (place.area.clone(), place.path.clone());
    let looked = on_disk(move || {
        let facts = area.facts(&path)?;
        if facts.kind == Kind::Other {
            return Err(Fault::Os(rustix::io::Errno::NOENT));
        }
        let inside = if deep && facts.is_folder() { members(&area, &path)? } else { Vec::new() };
        Ok((facts, inside))
    });
    let (facts, inside) = looked.await?;
    if !facts.is_folder() && place.full.is_collection() {
        return Err(Problem::not_found("there is no such folder"));
    }
    if !facts.is_folder() {
        // A scope that is for a folder of this name is not for a file.
        as_file?;
    }
    let seen: Vec<_> = inside.into_iter().filter(|member| is_seen(&asked, &place, &member.name)).collect();
    // Who may only look hears nothing of what others left there.
    let reads_all = op == StorageOp::Read;
    let rendered = on_disk(move || {
        let scene = Scene::new(&place, &wanted, &asked, reads_all)?;
        let mut out = Multistatus::new();
        scene.describe(&mut out, &place.full, &place.path, &facts, None)?;
        for member in &seen {
            let (Ok(full), Ok(path)) = (place.full.child(&member.name), place.path.child(&member.name)) else {
                continue;
            };
            scene.describe(&mut out, &full, &path, &member.facts, Some(&member.name))?;
        }
        Ok(out.finish())
    });
    Ok(xml(StatusCode::MULTI_STATUS, rendered.await?))
}

/// What the rendering of one area's resources needs to know.
struct Scene<'a> {
    area: &'a Area,
    asked: &'a Asked,
    wanted: &'a Wanted,
    wants_sums: bool,
    room: Option<Room>,
    locks: Covering,
    wants_kept: bool,
    /// Whether it is known that the one who asks may read all that is described.
    reads_all: bool,
}

impl<'a> Scene<'a> {
    fn new(place: &'a Place, wanted: &'a Wanted, asked: &'a Asked, reads_all: bool) -> Result<Scene<'a>, Fault> {
        let area: &Area = &place.area;
        let (wants_sums, wants_room) = needs(wanted);
        let room = if wants_room { Some(area.room()?) } else { None };
        let locks = if needs_locks(wanted) {
            Covering::new(area.locks.hold()?.table(), &place.path, Timestamp::now())
        } else {
            Covering::default()
        };
        let wants_kept = needs_kept(wanted) && kept::are_used(&area.root);
        Ok(Scene { area, asked, wanted, wants_sums, room, locks, wants_kept, reads_all })
    }

    fn may_read(&self, full: &ResourcePath, facts: &Facts) -> bool {
        let may = |folder| self.asked.may(StorageOp::Read, full, folder).is_ok();
        self.reads_all || may(false) || (facts.is_folder() && may(true))
    }

    fn kept(&self, path: &ResourcePath) -> Kept {
        let read = || kept::read(self.area.root.open_read(path).map_err(Fault::from)?);
        read().unwrap_or_else(|error| {
            tracing::warn!(%error, %path, "the properties of a file cannot be read");
            Kept::default()
        })
    }

    /// One resource: the one that was asked for, or its member of this name.
    fn describe(
        &self,
        out: &mut Multistatus,
        full: &ResourcePath,
        path: &ResourcePath,
        facts: &Facts,
        member: Option<&str>,
    ) -> Result<(), Fault> {
        let adler32 = (self.wants_sums && !facts.is_folder())
            .then(|| self.area.root.open_read(path).ok())
            .flatten()
            .and_then(|file| sums::stored(file, Algorithm::Adler32, facts));
        let (locks, room) = match member {
            None => (self.locks.of_target(), MOST_LOCKS),
            Some(name) => (self.locks.of_member(name), MOST_LOCKS_OF_MEMBER),
        };
        let may_read = (self.wants_kept || !locks.is_empty()) && self.may_read(full, facts);
        let described = Described {
            name: full.name().unwrap_or_default(),
            facts,
            adler32: adler32.as_ref(),
            room: self.room.filter(|_| facts.is_folder()),
            locks: &shown_locks(self.asked, self.area, &locks, may_read, room),
            kept: &if self.wants_kept && may_read { self.kept(path) } else { Kept::default() },
        };
        let (found, missing) = select(self.wanted, &described);
        let href = self.asked.href(&full.clone().as_collection(facts.is_folder()));
        out.resource(&href, &found, &[("404 Not Found", missing)]);
        if out.written() > LONGEST { Err(Fault::AnswerTooLong) } else { Ok(()) }
    }
}

/// The root of all areas.
fn areas(asked: &Asked, wanted: &Wanted, deep: bool) -> Result<Response, Problem> {
    asked.may(StorageOp::Stat, &asked.path, true)?;
    let mut out = Multistatus::new();
    let root = Facts { kind: Kind::Folder, size: 0, inode: 0, modified_nanos: 0, mode: 0o40_555 };
    let describe = |out: &mut Multistatus, path: &ResourcePath, facts: &Facts| {
        let name = path.name().unwrap_or_default();
        let described = Described { name, facts, adler32: None, room: None, locks: "", kept: &Kept::default() };
        let (found, missing) = select(wanted, &described);
        out.resource(&asked.href(&path.clone().as_collection(true)), &found, &[("404 Not Found", missing)]);
    };
    describe(&mut out, &asked.path, &root);
    for area in asked.edge.areas().filter(|_| deep) {
        let Ok(path) = asked.path.child(&area.name) else { continue };
        if asked.may(StorageOp::Stat, &path, true).is_ok() {
            // Opened by us and in memory: no disk is touched.
            let facts = area.facts(&ResourcePath::root()).unwrap_or(root);
            describe(&mut out, &path, &facts);
        }
    }
    Ok(xml(StatusCode::MULTI_STATUS, out.finish()))
}

pub async fn whole(body: Body) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| Problem::too_large("the request body is too large"))
}

pub fn xml(status: StatusCode, text: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(XML));
    answer(status, headers, Body::from(text))
}
