//! Parsers that read what strangers send, for tests that throw anything at them. Each says what it made of a text; what a
//! reader may rely on is checked here, where the parsed form is known.

use serde_json::Value;

use crate::issuer::model::params::Params;
use crate::issuer::model::redirect::{self, ApplicationType};
use crate::issuer::model::user_code;
use crate::pages;
use crate::policy::model::filter::{Filter, PatchPath};

/// Reads a SCIM filter and asks it about `resource`: whether it fits; nothing when it is no filter.
pub fn scim_filter(text: &str, resource: &Value) -> Option<bool> {
    let filter = Filter::parse(text).ok()?;
    let fits = filter.fits(resource);
    // Not fitting is the opposite of fitting, whatever the filter is.
    assert_eq!(Filter::Not(Box::new(filter)).fits(resource), !fits);
    Some(fits)
}

/// Reads the path of a SCIM patch operation.
pub fn scim_path(text: &str) -> bool {
    PatchPath::parse(text).is_ok()
}

/// Where somebody is sent who wants to go to `next`.
pub fn own_path(next: &str) -> &str {
    pages::own_path(next)
}

/// Whether a program may register this address.
pub fn may_register(uri: &str, native: bool) -> bool {
    redirect::check_all(&[uri.to_owned()], kind(native)).is_ok()
}

/// Whether `given` counts as `registered`.
pub fn is_registered(given: &str, registered: &str, native: bool) -> bool {
    redirect::is_registered(given, &[registered.to_owned()], kind(native))
}

/// The address with an answer in its query.
pub fn with_answer(uri: &str, answer: &[(&str, &str)]) -> String {
    redirect::with_answer(uri, answer)
}

/// Reads the parameters of a request, writes them as a query, and says whether that reads the same.
pub fn parameters(text: &str) -> Option<bool> {
    let once = Params::parse(text.as_bytes()).ok()?.query_without(&[]);
    Some(Params::parse(once.as_bytes()).is_ok_and(|again| again.query_without(&[]) == once))
}

/// The code of a device as it is written, however somebody typed it.
pub fn user_code(typed: &str) -> Option<String> {
    user_code::read(typed)
}

fn kind(native: bool) -> ApplicationType {
    if native { ApplicationType::Native } else { ApplicationType::Web }
}
