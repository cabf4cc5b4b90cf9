//! Parsers that read what strangers send, for tests that throw anything at them. Each says what it made of a text; what a
//! reader may rely on is checked here, where the parsed form is known.

use serde_json::Value;

use crate::issuer::model::params::Params;
use crate::issuer::model::redirect::{self, ApplicationType};
use crate::issuer::model::user_code;
use crate::pages;
use crate::policy::model::filter::{AttributePath, Filter, PatchPath};

/// Reads a SCIM filter and asks it about `resource`: whether it fits; nothing when it is no filter.
pub fn scim_filter(text: &str, resource: &Value) -> Option<bool> {
    let filter = Filter::parse(text).ok()?;
    let fits = filter.fits(resource);
    // What is written means what was read, unless the brackets that make it plain are too many.
    let whole = written(&filter);
    match Filter::parse(&whole) {
        Ok(again) => assert!(again == filter || has_fraction(&filter), "{whole}"),
        Err(bad) => assert!(bad.why.contains("too deep") || bad.why.contains("too long"), "{whole}: {bad}"),
    }
    // Not fitting is the opposite of fitting, whatever the filter is.
    assert_eq!(Filter::Not(Box::new(filter)).fits(resource), !fits);
    Some(fits)
}

/// The filter as text, with all brackets.
pub(crate) fn written(filter: &Filter) -> String {
    let path = |path: &AttributePath| match &path.sub {
        Some(sub) => format!("{}.{sub}", path.attribute),
        None => path.attribute.clone(),
    };
    match filter {
        Filter::Compare(attribute, operator, value) => {
            format!("{} {} {value}", path(attribute), format!("{operator:?}").to_lowercase())
        }
        Filter::Present(attribute) => format!("{} pr", path(attribute)),
        Filter::Some(attribute, inner) => format!("{}[{}]", path(attribute), written(inner)),
        Filter::And(a, b) => format!("({}) and ({})", written(a), written(b)),
        Filter::Or(a, b) => format!("({}) or ({})", written(a), written(b)),
        Filter::Not(inner) => format!("not ({})", written(inner)),
    }
}

/// A fraction that is written and read again may differ in its last bit.
fn has_fraction(filter: &Filter) -> bool {
    match filter {
        Filter::Compare(_, _, value) => value.is_f64(),
        Filter::Present(_) => false,
        Filter::Some(_, inner) | Filter::Not(inner) => has_fraction(inner),
        Filter::And(a, b) | Filter::Or(a, b) => has_fraction(a) || has_fraction(b),
    }
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
