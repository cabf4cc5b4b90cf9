//! Looking: `ls`, `stat`, `sum`, `cat`.

use std::io::Write as _;

use dte_protocol_webdav::digest::{Algorithm, Digest};
use dte_storage::{Checksums, Error, Location, Stat};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use super::place::{Links, Place, Reach};
use super::{Failures, said};
use crate::failure::Failure;
use crate::show;

/// How `ls` shows what it finds.
#[derive(Clone, Copy)]
pub struct Style {
    pub long: bool,
    pub directory: bool,
    pub human: bool,
    pub as_json: bool,
}

fn kind(stat: &Stat) -> &'static str {
    if stat.is_folder { "folder" } else { "file" }
}

fn described(url: &str, name: Option<&str>, stat: &Stat) -> Value {
    let modified = stat.modified.map(|time| time.to_string());
    json!({ "url": url, "name": name, "type": kind(stat), "bytes": stat.bytes, "modified": modified })
}

pub async fn ls(reach: &Reach, places: &[String], style: Style) -> Result<(), Failure> {
    let mut failures = Failures::default();
    let mut all = Vec::new();
    for text in places {
        let found = async {
            let mut found = members(&reach.place(text, Links::Followed).await?, style.directory).await?;
            found.odd.drain(..).for_each(|failure| failures.note(&failure));
            Ok::<_, Failure>(found.members)
        };
        match found.await {
            Ok(found) if style.as_json => all.extend(found.iter().map(|(p, s)| described(&p.shown, p.name(), s))),
            Ok(found) => {
                if places.len() > 1 {
                    show::line(format!("{text}:"));
                }
                print(&found, style);
            }
            Err(failure) => failures.note(&failure),
        }
    }
    if style.as_json {
        show::json(&all)?;
    }
    failures.end("could not be listed")
}

/// What a listing brings.
#[derive(Default)]
struct Found {
    members: Vec<(Place, Stat)>,
    /// Members whose names cannot be used.
    odd: Vec<Failure>,
}

/// What is in a folder, by name; a file, or a folder that is meant itself, stands for itself.
async fn members(place: &Place, is_itself: bool) -> Result<Found, Failure> {
    let stat = stat_of(place).await?;
    if is_itself || !stat.is_folder {
        return Ok(Found { members: vec![(place.clone(), stat)], odd: Vec::new() });
    }
    let mut entries = place.location.store.list(&place.location.path).await.map_err(|error| said(&error))?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut found = Found::default();
    for entry in entries {
        match place.child(&entry.name) {
            Ok(child) => found.members.push((child, entry.stat)),
            Err(failure) => found.odd.push(failure),
        }
    }
    Ok(found)
}

pub async fn stat_of(place: &Place) -> Result<Stat, Failure> {
    place.location.store.stat(&place.location.path).await.map_err(|error| said(&error))
}

fn print(found: &[(Place, Stat)], style: Style) {
    let bytes = |stat: &Stat| match stat.bytes {
        Some(bytes) if style.human => indicatif::HumanBytes(bytes).to_string(),
        Some(bytes) => bytes.to_string(),
        None => "–".to_owned(),
    };
    let name = |place: &Place| place.name().unwrap_or(&place.shown).to_owned();
    if !style.long {
        found.iter().for_each(|(place, _)| show::line(name(place)));
        return;
    }
    let row = |(place, stat): &(Place, Stat)| {
        let modified = stat.modified.map_or_else(|| "–".to_owned(), |time| time.to_string());
        vec![kind(stat).to_owned(), bytes(stat), modified, name(place)]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    show::table(&["TYPE", "BYTES", "MODIFIED", "NAME"], &rows);
}

pub async fn stat(reach: &Reach, places: &[String], as_json: bool) -> Result<(), Failure> {
    let mut failures = Failures::default();
    let mut all = Vec::new();
    for text in places {
        let found = async {
            let place = reach.place(text, Links::Followed).await?;
            Ok::<_, Failure>((stat_of(&place).await?, place))
        };
        match found.await {
            Ok((stat, place)) if as_json => all.push(described(&place.shown, place.name(), &stat)),
            Ok((stat, place)) => {
                let modified = stat.modified.map_or_else(|| "–".to_owned(), |time| time.to_string());
                show::line(format!("  File: {}", place.shown));
                let bytes = stat.bytes.map_or_else(|| "–".to_owned(), |bytes| bytes.to_string());
                show::line(format!("  Size: {bytes}  {}", kind(&stat)));
                show::line(format!("Modify: {modified}"));
            }
            Err(failure) => failures.note(&failure),
        }
    }
    if as_json {
        show::json(&all)?;
    }
    failures.end("could not be looked at")
}

pub async fn sum(reach: &Reach, text: &str, algorithm: Algorithm, as_json: bool) -> Result<(), Failure> {
    let place = reach.place(text, Links::Followed).await?;
    let digest = digest_of(&place.location, algorithm).await.map_err(|error| said(&error))?;
    if as_json {
        return show::json(&json!({ "url": place.shown, "algorithm": algorithm.name(), "checksum": digest.hex() }));
    }
    show::line(format!("{} {}", place.shown, digest.hex()));
    Ok(())
}

/// The storage's own word, else computed.
async fn digest_of(location: &Location, algorithm: Algorithm) -> Result<Digest, Error> {
    if let Some(said) = location.store.checksum(&location.path, algorithm).await? {
        return Ok(said);
    }
    let mut reading = location.store.read(&location.path, None).await?;
    let mut sums = Checksums::of([algorithm]);
    while let Some(piece) = reading.stream.try_next().await? {
        sums.update(&piece);
    }
    let nothing = || Error::new(dte_storage::Errno::ENOSYS, format!("{location}: {algorithm} cannot be computed"));
    sums.get(algorithm).ok_or_else(nothing)
}

pub async fn cat(reach: &Reach, places: &[String]) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    for text in places {
        let place = reach.place(text, Links::Followed).await?;
        let location = &place.location;
        let mut reading = location.store.read(&location.path, None).await.map_err(|error| said(&error))?;
        let mut passed = 0_u64;
        while let Some(piece) = reading.stream.try_next().await.map_err(|error| said(&error))? {
            passed += piece.len() as u64;
            if let Err(error) = out.write_all(&piece) {
                // `dte fs cat … | head` is no failure of ours.
                let is_closed = error.kind() == std::io::ErrorKind::BrokenPipe;
                return if is_closed { Ok(()) } else { Err(error.into()) };
            }
        }
        if reading.bytes.is_some_and(|bytes| bytes != passed) {
            let text = format!("{}: only {passed} bytes came", place.shown);
            return Err(said(&Error::new(dte_storage::Errno::ECONN, text)));
        }
    }
    out.flush()?;
    Ok(())
}
