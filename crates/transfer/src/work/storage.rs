//! From the URLs of a file to storages that are used as its submitter.

use dte_base::secret::Secret;
use dte_identity::{Error as IdentityError, Group, UserRef};
use dte_storage::Location;
use dte_storage::third_party::Party;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::Service;
use crate::model::failure::{Failure, Scope};
use crate::model::place::StorageUrl;
use crate::shared::Shared;
use crate::work::third_party::Reach;

/// Both ends of a copy.
pub struct Ends {
    pub source: Location,
    pub destination: Location,
    /// Both as servers that may make the copy themselves; none where one end is this engine, through which the bytes go anyway, or
    /// an object store.
    pub parties: Option<Parties>,
}

/// Two other servers.
pub struct Parties {
    pub source: Party,
    pub destination: Party,
    /// Where an answer of each counts.
    pub reaches: [Reach; 2],
}

/// Finds both ends, to be used with tokens that are good for their hosts and these paths only.
pub fn open(shared: &Shared, user: &UserRef, source: &StorageUrl, destination: &StorageUrl) -> Result<Ends, Failure> {
    for (url, side) in [(source, dte_storage::Side::Source), (destination, dte_storage::Side::Destination)] {
        if url.is_object() {
            may_use_bucket(shared, user, url).map_err(|error| Failure::from(error.at(side)))?;
        }
    }
    let own = [source, destination].map(|url| is_own(shared, url));
    let (from, to) = (source.scope_path(), destination.scope_path());
    // Elsewhere a copy goes by way of a temporary name beside the final one.
    let written = if own[1] { to } else { destination.scope_folder() };
    let read = format!("storage.read:{from}");
    let write =
        [format!("storage.read:{to}"), format!("storage.create:{written}"), format!("storage.modify:{written}")];
    let (reader, writer) = if own == [true, true] {
        // One host, one token: making and checking them is what small files cost most.
        let [a, b, c] = write;
        let both = token(shared, user, source, &[read, a, b, c])?;
        (both.clone(), both)
    } else {
        (token(shared, user, source, &[read])?, token(shared, user, destination, &write)?)
    };
    let resolve = |url: &StorageUrl, token: Option<Secret>, side: dte_storage::Side| {
        shared.storages.resolve(url.as_str(), token.as_ref()).map_err(|error| Failure::from(error.at(side)))
    };
    let party = |url: &StorageUrl, token: Option<&Secret>, side: dte_storage::Side| {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            headers.insert(AUTHORIZATION, value.map_err(|_| bad_url(url, side, "the token fits into no header"))?);
        }
        let party = Party::new(shared.client.untrusted(), url.address().as_str(), headers);
        party.map_err(|error| bad_url(url, side, &error.to_string()))
    };
    let is_object = source.is_object() || destination.is_object();
    if is_object && !shared.settings.streamed {
        let text = "object stores make no copies by themselves, and [transfer] streamed is off";
        return Err(dte_storage::Error::new(dte_storage::Errno::ENOSYS, text).at(dte_storage::Side::Transfer).into());
    }
    let parties = if own == [false, false] && !is_object {
        Some(Parties {
            source: party(source, reader.as_ref(), dte_storage::Side::Source)?,
            destination: party(destination, writer.as_ref(), dte_storage::Side::Destination)?,
            reaches: [Reach::of(user, source), Reach::of(user, destination)],
        })
    } else {
        None
    };
    Ok(Ends {
        parties,
        source: resolve(source, reader, dte_storage::Side::Source)?,
        destination: resolve(destination, writer, dte_storage::Side::Destination)?,
    })
}

fn bad_url(url: &StorageUrl, side: dte_storage::Side, why: &str) -> Failure {
    let text = format!("{}: {why}", url.as_str());
    dte_storage::Error::new(dte_storage::Errno::EINVAL, text).at(side).into()
}

/// The engine's own credential for an object store serves those accounts only that its configuration names.
pub fn may_use_bucket(shared: &Shared, user: &UserRef, url: &StorageUrl) -> Result<(), dte_storage::Error> {
    let refused = || {
        let text = format!("{}: {} may not use this object store", url.as_str(), user.name);
        dte_storage::Error::new(dte_storage::Errno::EACCES, text)
    };
    let access = shared.storages.bucket_access(url.as_str()).ok_or_else(refused)??;
    // Names of other issuers are not ours.
    if user.issuer != shared.identity.issuer() {
        return Err(refused());
    }
    let groups = shared.identity.groups_of_account(&user.name).into_iter();
    let groups: Vec<String> = groups.map(|group| Group { role: None, ..group }.name()).collect();
    if access.permits(&user.name, &groups) { Ok(()) } else { Err(refused()) }
}

fn is_own(shared: &Shared, url: &StorageUrl) -> bool {
    !url.is_object() && is_own_address(shared, url)
}

fn is_own_address(shared: &Shared, url: &StorageUrl) -> bool {
    url.address().origin() == shared.client.public_url().origin() || shared.client.is_own(url.address().as_str())
}

/// A token for one storage: its audience is the storage's own address, so that whoever runs it can do nothing with it
/// elsewhere. None for storages that could only be shown a token in the clear.
fn token(shared: &Shared, user: &UserRef, url: &StorageUrl, scopes: &[String]) -> Result<Option<Secret>, Failure> {
    let own = is_own(shared, url);
    if !own && !url.may_carry_token() {
        return Ok(None);
    }
    let origin = url.address().origin().ascii_serialization();
    let audience = (!own).then_some(origin.as_str());
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    shared.identity.acting_token(user, Service::NAME, &scopes, audience).map(Some).map_err(|error| match error {
        IdentityError::Banned(_) | IdentityError::NoAccount(_) => Failure::user_refused(error),
        IdentityError::Scope(reason) => Failure::new(Scope::Agent, EINVAL, format!("{}: {reason}", url.as_str())),
        other => Failure::new(Scope::Agent, EIO, other.to_string()),
    })
}

const EINVAL: i32 = 22;
const EIO: i32 = 5;
