//! Changing: `mv`, `rm`, `mkdir`.

use dte_storage::{Errno, Error};

use super::look::stat_of;
use super::place::{Links, Place, Reach};
use super::{Failures, said};
use crate::failure::Failure;
use crate::show;

/// What renaming between storages ends with.
fn elsewhere(source: &str, destination: &str) -> Failure {
    let text = format!("{source} and {destination} are on different storages: use `dte fs cp`, then `dte fs rm`");
    said(&Error::new(Errno::EXDEV, text))
}

pub async fn mv(reach: &Reach, source: &str, destination: &str, force: bool) -> Result<(), Failure> {
    let from = reach.place(source, Links::Themselves).await?;
    let mut to = reach.place(destination, Links::Themselves).await?;
    if from.storage != to.storage {
        return Err(elsewhere(source, destination));
    }
    if is_folder(&to).await?
        && let Some(name) = from.name()
    {
        to = to.child(name)?;
    }
    let store = &from.location.store;
    match store.rename(&from.location.path, &to.location.path, force).await {
        Err(error) if error.errno == Errno::EXDEV => Err(elsewhere(source, destination)),
        other => other.map_err(|error| said(&error)),
    }
}

/// Whether there is a folder.
pub async fn is_folder(place: &Place) -> Result<bool, Failure> {
    match place.location.store.stat(&place.location.path).await {
        Ok(stat) => Ok(stat.is_folder),
        Err(error) if error.errno == Errno::ENOENT => Ok(false),
        Err(error) => Err(said(&error)),
    }
}

pub async fn rm(reach: &Reach, places: &[String], recursive: bool, dry_run: bool) -> Result<(), Failure> {
    let mut failures = Failures::default();
    for text in places {
        let outcome = async {
            let place = reach.place(text, Links::Themselves).await?;
            remove(&place, recursive, dry_run).await
        };
        if let Err(failure) = outcome.await {
            show::line(format!("{text}\t{}", if failure.code == ENOENT { "MISSING" } else { "FAILED" }));
            failures.note(&failure);
        }
    }
    failures.end("could not be deleted")
}

const ENOENT: u8 = 2;
/// What is said of a folder that is gone.
const RMDIR: &str = "RMDIR";

/// Deletes from the leaves up. A folder that has got new members meanwhile stays.
async fn remove(place: &Place, recursive: bool, dry_run: bool) -> Result<(), Failure> {
    // A link that leads nowhere can be deleted too; others are links, not what they lead to.
    let is_link = place.file.as_ref().is_some_and(|file| file.is_symlink());
    let is_folder = !is_link && stat_of(place).await?.is_folder;
    if is_folder && !recursive {
        let text = format!("{} is a folder: say --recursive", place.shown);
        return Err(said(&Error::new(Errno::EISDIR, text)));
    }
    let mut folders = Vec::new();
    let mut open = vec![(place.clone(), is_folder)];
    while let Some((place, is_folder)) = open.pop() {
        if !is_folder {
            end(&place, "DELETED", dry_run).await?;
            continue;
        }
        let members = place.location.store.list(&place.location.path).await.map_err(|error| said(&error))?;
        for entry in members {
            open.push((place.child(&entry.name)?, entry.stat.is_folder));
        }
        folders.push(place);
    }
    // Those found last lie deepest.
    for folder in folders.iter().rev() {
        end(folder, RMDIR, dry_run).await?;
    }
    Ok(())
}

async fn end(place: &Place, word: &str, dry_run: bool) -> Result<(), Failure> {
    if dry_run {
        show::line(format!("{}\tSKIP", place.shown));
        return Ok(());
    }
    if word == RMDIR {
        still_empty(place).await?;
    }
    match place.location.store.delete(&place.location.path).await {
        // In an object store a folder goes with the last file in it.
        Err(error) if word == RMDIR && error.errno == Errno::ENOENT => {}
        other => other.map_err(|error| said(&error))?,
    }
    show::line(format!("{}\t{word}", place.shown));
    Ok(())
}

/// Servers delete a folder with all that is in it: looked at once more, just before. On this machine the system itself refuses.
async fn still_empty(place: &Place) -> Result<(), Failure> {
    if place.file.is_some() {
        return Ok(());
    }
    match place.location.store.list(&place.location.path).await {
        Ok(members) if members.is_empty() => Ok(()),
        Ok(_) => Err(said(&Error::new(Errno::ENOTEMPTY, format!("{}: it has got new members", place.shown)))),
        Err(error) if error.errno == Errno::ENOENT => Ok(()),
        Err(error) => Err(said(&error)),
    }
}

pub async fn mkdir(reach: &Reach, places: &[String], parents: bool) -> Result<(), Failure> {
    let mut failures = Failures::default();
    for text in places {
        let outcome = async {
            let place = reach.place(text, Links::Followed).await?;
            make(&place, parents).await
        };
        if let Err(failure) = outcome.await {
            failures.note(&failure);
        }
    }
    failures.end("could not be made")
}

async fn make(place: &Place, parents: bool) -> Result<(), Failure> {
    let (store, path) = (&place.location.store, &place.location.path);
    match store.stat(path).await {
        Ok(stat) if parents && stat.is_folder => return Ok(()),
        Ok(_) => return Err(said(&Error::new(Errno::EEXIST, place.shown.clone()))),
        Err(error) if error.errno == Errno::ENOENT => {}
        Err(error) => return Err(said(&error)),
    }
    if !parents && let Some(above) = path.parent() {
        store.stat(&above).await.map_err(|error| said(&error))?;
    }
    store.make_folder(path).await.map_err(|error| said(&error))
}
