//! Storage elements that lead to this engine's own edge. Everybody's files are there, and tokens of this engine open them: so
//! what of the edge belongs to the lake is for administrators of the engine to say, not for those of the lake alone.

use dte_protocol_rucio::Protocol;
use dte_store::Tx;
use url::Url;

use crate::Lake;
use crate::error::Result;
use crate::model::policy::Caller;
use crate::store::rses;

/// The web URL of a path at a protocol: WebDAV has schemes of its own.
pub(super) fn web_url(protocol: &Protocol, path: &str) -> Option<Url> {
    let pfn = protocol.pfn(path);
    let url = match pfn.split_once("://") {
        Some(("davs", rest)) => format!("https://{rest}"),
        Some(("dav", rest)) => format!("http://{rest}"),
        _ => pfn,
    };
    Url::parse(&url).ok()
}

/// Whether a URL is one of this engine.
pub(super) fn is_here(lake: &Lake, url: &Url) -> bool {
    url.origin() == lake.client.public_url().origin() || lake.client.is_own(url.as_str())
}

/// Only administrators of the engine set protocols that lead here.
pub(super) fn may_set(lake: &Lake, caller: &Caller, protocol: &Protocol) -> Result<()> {
    match web_url(protocol, "").is_some_and(|url| is_here(lake, &url)) {
        true => Ok(caller.needs_engine_admin("change how a storage element leads to this engine")?),
        false => Ok(()),
    }
}

/// Only administrators of the engine change storage elements with a protocol that leads here.
pub(super) fn may_change(tx: &mut Tx<'_>, lake: &Lake, caller: &Caller, rse: &str) -> Result<()> {
    rses::protocols(tx, rse)?.iter().try_for_each(|protocol| may_set(lake, caller, protocol))
}
