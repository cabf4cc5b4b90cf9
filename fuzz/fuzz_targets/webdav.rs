//! What WebDAV clients send: bodies of PROPFIND, PROPPATCH and LOCK, `If`, paths, ranges, entity tags, checksums, dates. Every text goes to every
//! reader.
#![no_main]

use dte_base::time::Timestamp;
use dte_protocol_webdav::digest::{self, Digest};
use dte_protocol_webdav::etag::{Conditions, ETag, ETagList, Verdict};
use dte_protocol_webdav::fragment::contents_at;
use dte_protocol_webdav::header::{Depth, overwrite, parse_http_date};
use dte_protocol_webdav::if_header::{IfHeader, State};
use dte_protocol_webdav::lock::{lock_token, parse_lock, timeout};
use dte_protocol_webdav::multistatus::{self, Multistatus, Value};
use dte_protocol_webdav::path::ResourcePath;
use dte_protocol_webdav::propfind::{Change, Wanted, parse_propfind, parse_proppatch};
use dte_protocol_webdav::range::{ByteRange, MAX_RANGES, Selection, parse_content_range, select};
use dte_protocol_webdav::xml::{self, MAX_ANSWER_ELEMENTS, Name};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    bodies(text);
    kept(text);
    conditions(text);
    paths(text);
    ranges(text);
    dates(text);
    headers(text);
    drop(multistatus::parse(text));
});

/// Names that a client made up come back in our answer, which must be well-formed and say just those.
fn bodies(text: &str) {
    let names: Vec<Name> = match (parse_propfind(text.as_bytes()), parse_proppatch(text.as_bytes())) {
        (Ok(Wanted::All(names) | Wanted::Named(names)), _) => names,
        (_, Ok(changes)) => changes.iter().map(Change::name).cloned().collect(),
        _ => return,
    };
    let mut answer = Multistatus::new();
    answer.resource(
        "/a",
        &[(Name::new("DAV:", "x"), Value::Text(text.to_owned()))],
        &[("404 Not Found", names.clone())],
    );
    let answer = answer.finish();
    let read = xml::parse(&answer, MAX_ANSWER_ELEMENTS).unwrap_or_else(|bad| panic!("{bad}: {answer}"));
    let response = read.child("response").expect("a response");
    let missing = response.children_named("propstat").nth(1).and_then(|propstat| propstat.child("prop"));
    let back: Vec<Name> = missing.into_iter().flat_map(|prop| &prop.children).map(|one| one.name.clone()).collect();
    assert_eq!(back, names, "{answer}");
}

/// How deep a property is in an answer.
const PROPERTY_DEPTH: usize = 5;

/// What a client leaves with a resource comes back as it was, in an answer that everybody can read.
fn kept(text: &str) {
    let mut values: Vec<_> = match parse_proppatch(text.as_bytes()) {
        Ok(changes) => changes
            .into_iter()
            .filter_map(|change| match change {
                Change::Set(name, value) => Some((name, value)),
                Change::Remove(_) => None,
            })
            .collect(),
        Err(_) => Vec::new(),
    };
    let owner = parse_lock(text.as_bytes()).ok().flatten().and_then(|request| request.owner);
    values.extend(owner.map(|owner| (Name::new("DAV:", "owner"), owner)));
    assert!(values.iter().all(|(name, value)| multistatus::is_sound(name, value)), "{values:?}");
    let mut answer = Multistatus::new();
    let found: Vec<_> = values.iter().map(|(name, value)| (name.clone(), Value::Kept(value.clone()))).collect();
    answer.resource("/a", &found, &[]);
    let answer = answer.finish();
    xml::parse(&answer, MAX_ANSWER_ELEMENTS).unwrap_or_else(|bad| panic!("{bad}: {answer}"));
    let back = contents_at(&answer, PROPERTY_DEPTH).unwrap_or_else(|bad| panic!("{bad}: {answer}"));
    assert!(back.iter().eq(values.iter().map(|(_, value)| value)), "{answer}");
}

/// Conditions mean what they say, and a header of tokens that are all there holds.
fn conditions(text: &str) {
    let Some(header) = IfHeader::parse(text) else { return };
    assert!(header.lists.iter().all(|list| !list.conditions.is_empty()));
    for token in header.tokens() {
        assert!(!token.is_empty() && !token.contains(['<', '>', ' ', '\n']), "{token:?}");
    }
    let negated = header.lists.iter().all(|list| list.conditions.iter().any(|condition| condition.negated));
    assert_eq!(header.holds(|_, _| true), !negated);
    let tags = |state: &State| matches!(state, State::Tag(_));
    assert!(
        header.holds(|_, state| tags(state))
            || header
                .lists
                .iter()
                .all(|list| { list.conditions.iter().any(|condition| tags(&condition.state) == condition.negated) })
    );
}

fn paths(text: &str) {
    for path in [ResourcePath::parse(text), ResourcePath::from_plain(text)].into_iter().flatten() {
        for part in path.components() {
            assert!(!matches!(part.as_str(), "" | "." | "..") && !part.contains(['/', '\\', '\0', '\n']), "{part:?}");
        }
        assert_eq!(ResourcePath::parse(&path.encoded()).as_ref(), Ok(&path), "read, written, read");
        assert_eq!(
            ResourcePath::from_plain(&path.plain()).map(|plain| plain.components().to_vec()).as_deref(),
            Ok(path.components())
        );
        assert!(path.is_within(&path) && path.is_within(&ResourcePath::root()));
        assert!(path.parent().is_none_or(|above| path.is_within(&above) && !above.is_within(&path)));
    }
}

fn ranges(text: &str) {
    for size in [0, 1, 10, u64::MAX] {
        match select(Some(text), size) {
            Selection::Ranges(ranges) => {
                assert!((1..=MAX_RANGES).contains(&ranges.len()));
                for range in ranges {
                    assert!(range.first <= range.last && range.last < size, "{range:?} of {size}");
                    let written = range.content_range(size);
                    assert_eq!(parse_content_range(&written), Some((range, Some(size))), "{written}");
                }
            }
            Selection::Whole | Selection::Unsatisfiable => {}
        }
    }
    if let Some((ByteRange { first, last }, size)) = parse_content_range(text) {
        assert!(first <= last && size.is_none_or(|size| last < size));
    }
}

fn dates(text: &str) {
    let Some(time) = parse_http_date(text) else { return };
    // The calendar of the parser and that of the writer agree.
    assert_eq!(parse_http_date(&time.http_date()), Some(time), "{text:?}: {}", time.http_date());
}

fn headers(text: &str) {
    let Ok(value) = HeaderValue::from_str(text) else { return };
    let with = |name: &'static str| HeaderMap::from_iter([(HeaderName::from_static(name), value.clone())]);
    for name in ["digest", "repr-digest", "content-digest", "content-md5"] {
        for digest in digest::stated(&with(name)).unwrap_or_default() {
            assert_eq!(digest.value().len(), digest.algorithm().length());
            assert_eq!(Digest::parse_pair(&digest.to_string()).as_ref(), Some(&digest), "{digest}");
            for (name, written) in [("digest", digest.legacy()), ("repr-digest", digest.structured())] {
                let headers = HeaderMap::from_iter([(
                    HeaderName::from_static(name),
                    HeaderValue::try_from(&written).expect("a value"),
                )]);
                assert_eq!(digest::stated(&headers), Ok(vec![digest.clone()]), "{written}");
            }
        }
    }
    digest::wanted(&with("want-digest"));
    digest::wanted(&with("want-repr-digest"));
    let _ = (Depth::of(&with("depth")), overwrite(&with("overwrite")), timeout(&with("timeout")));
    if let Ok(Some(token)) = lock_token(&with("lock-token")) {
        assert!(!token.is_empty() && !token.contains('>'), "{token:?}");
    }
    if let Some(ETagList::Tags(tags)) = ETagList::parse(text) {
        let written = tags.iter().map(ETag::to_string).collect::<Vec<_>>().join(", ");
        assert_eq!(ETagList::parse(&written), Some(ETagList::Tags(tags)), "{written}");
    }
    // What must match and what must not are never both right, of something that is there.
    let (tag, time) = (ETag::strong("a"), Timestamp::from_seconds(784_111_777));
    let must = Conditions::of(&with("if-match"));
    let must_not = Conditions::of(&with("if-none-match"));
    if !must.is_empty() && !must_not.is_empty() {
        let verdicts = [must, must_not].map(|conditions| conditions.judge(Some((&tag, time)), false));
        assert!(verdicts.contains(&Verdict::Failed), "{verdicts:?}");
    }
}
