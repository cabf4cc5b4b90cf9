//! Entity tags and the conditions that are made of them (RFC 9110 sections 8.8 and 13).

use std::fmt;

use dte_base::time::Timestamp;
use http::{HeaderMap, StatusCode};

use crate::header::parse_http_date;

/// An entity tag: an opaque text, strong or weak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag {
    opaque: String,
    weak: bool,
}

impl ETag {
    /// A strong tag. The text must hold no quotation mark.
    pub fn strong(opaque: impl Into<String>) -> Self {
        ETag { opaque: opaque.into(), weak: false }
    }

    /// Reads one tag and gives what follows it.
    pub fn parse(text: &str) -> Option<(ETag, &str)> {
        let (weak, rest) = match text.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (opaque, rest) = rest.strip_prefix('"')?.split_once('"')?;
        Some((ETag { opaque: opaque.to_owned(), weak }, rest))
    }

    /// Equal for caches.
    pub fn weak_eq(&self, other: &ETag) -> bool {
        self.opaque == other.opaque
    }

    /// Equal byte for byte.
    pub fn strong_eq(&self, other: &ETag) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\"{}\"", if self.weak { "W/" } else { "" }, self.opaque)
    }
}

/// `*`, or a list of tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ETagList {
    Any,
    Tags(Vec<ETag>),
}

impl ETagList {
    pub fn parse(text: &str) -> Option<ETagList> {
        let mut rest = text.trim();
        if rest == "*" {
            return Some(ETagList::Any);
        }
        let mut tags = Vec::new();
        while !rest.is_empty() {
            let (tag, after) = ETag::parse(rest)?;
            tags.push(tag);
            rest = after.trim_start().trim_start_matches(',').trim_start();
        }
        (!tags.is_empty()).then_some(ETagList::Tags(tags))
    }
}

/// The conditions that a request puts on the present state of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub if_match: Option<ETagList>,
    pub if_none_match: Option<ETagList>,
    pub if_modified_since: Option<Timestamp>,
    pub if_unmodified_since: Option<Timestamp>,
}

/// What the conditions say about going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    /// 304, only for reads.
    NotModified,
    /// 412.
    Failed,
}

impl Verdict {
    pub fn status(self) -> Option<StatusCode> {
        match self {
            Verdict::Proceed => None,
            Verdict::NotModified => Some(StatusCode::NOT_MODIFIED),
            Verdict::Failed => Some(StatusCode::PRECONDITION_FAILED),
        }
    }
}

impl Conditions {
    pub fn of(headers: &HeaderMap) -> Conditions {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let seconds = |name: &str| text(name).and_then(parse_http_date);
        Conditions {
            if_match: text("if-match").and_then(ETagList::parse),
            if_none_match: text("if-none-match").and_then(ETagList::parse),
            if_modified_since: seconds("if-modified-since"),
            if_unmodified_since: seconds("if-unmodified-since"),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }

    /// Evaluates in the order of RFC 9110 section 13.2.2. `current` is `None` when there is no such resource.
    pub fn judge(&self, current: Option<(&ETag, Timestamp)>, is_read: bool) -> Verdict {
        let tag = current.map(|(tag, _)| tag);
        if let Some(list) = &self.if_match {
            let matches = match (list, tag) {
                (_, None) => false,
                (ETagList::Any, Some(_)) => true,
                (ETagList::Tags(tags), Some(tag)) => tags.iter().any(|t| t.strong_eq(tag)),
            };
            if !matches {
                return Verdict::Failed;
            }
        } else if let (Some(limit), Some((_, modified))) = (self.if_unmodified_since, current)
            && modified.as_seconds() > limit.as_seconds()
        {
            return Verdict::Failed;
        }
        if let Some(list) = &self.if_none_match {
            let matches = match (list, tag) {
                (_, None) => false,
                (ETagList::Any, Some(_)) => true,
                (ETagList::Tags(tags), Some(tag)) => tags.iter().any(|t| t.weak_eq(tag)),
            };
            return match (matches, is_read) {
                (false, _) => Verdict::Proceed,
                (true, true) => Verdict::NotModified,
                (true, false) => Verdict::Failed,
            };
        }
        match (self.if_modified_since, current) {
            (Some(since), Some((_, modified))) if is_read && modified.as_seconds() <= since.as_seconds() => {
                Verdict::NotModified
            }
            _ => Verdict::Proceed,
        }
    }
}

/// Whether an `If-Range` value still holds, so that the range may be served (RFC 9110 section 13.1.5).
pub fn if_range_holds(value: &str, tag: &ETag, modified: Timestamp) -> bool {
    match ETag::parse(value.trim()) {
        Some((given, "")) => given.strong_eq(tag),
        _ => parse_http_date(value).is_some_and(|time| time.as_seconds() == modified.as_seconds()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let list = ETagList::parse("\"a\", W/\"b,c\" ,\"d\"").expect("parses");
        let ETagList::Tags(tags) = list else { panic!("not a list") };
        assert_eq!(tags.len(), 3);
        assert_eq!(tags[1].to_string(), "W/\"b,c\"");
        assert_eq!(ETagList::parse(" * "), Some(ETagList::Any));
        assert_eq!(ETagList::parse("a"), None);
    }

    #[test]
    fn conditions() {
        let tag = ETag::strong("1");
        let time = Timestamp::from_seconds(1_000);
        let here = Some((&tag, time));
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("value"));
            Conditions::of(&headers)
        };
        assert_eq!(with("if-none-match", "*").judge(here, false), Verdict::Failed);
        assert_eq!(with("if-none-match", "*").judge(None, false), Verdict::Proceed);
        assert_eq!(with("if-none-match", "\"1\"").judge(here, true), Verdict::NotModified);
        assert_eq!(with("if-none-match", "\"2\"").judge(here, true), Verdict::Proceed);
        assert_eq!(with("if-match", "\"1\"").judge(here, false), Verdict::Proceed);
        assert_eq!(with("if-match", "W/\"1\"").judge(here, false), Verdict::Failed);
        assert_eq!(with("if-match", "*").judge(None, false), Verdict::Failed);
        assert_eq!(with("if-modified-since", &time.http_date()).judge(here, true), Verdict::NotModified);
        let earlier = Timestamp::from_seconds(999).http_date();
        assert_eq!(with("if-unmodified-since", &earlier).judge(here, false), Verdict::Failed);
        assert!(if_range_holds("\"1\"", &tag, time));
        assert!(!if_range_holds("\"2\"", &tag, time));
        assert!(if_range_holds(&time.http_date(), &tag, time));
    }
}
