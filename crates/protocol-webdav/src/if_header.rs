//! `If`: conditions on states of resources, and at once the lock tokens that a request shows (RFC 4918 section 10.4).

use http::HeaderMap;

use crate::etag::ETag;
use crate::header::BadHeader;

/// Most conditions that are read.
const MOST: usize = 200;

/// What a condition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A lock.
    Token(String),
    Tag(ETag),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub negated: bool,
    pub state: State,
}

/// Conditions that must all hold of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// A URL or path; the request's own resource when there is none.
    pub resource: Option<String>,
    pub conditions: Vec<Condition>,
}

/// The header: lists of which one must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfHeader {
    pub lists: Vec<List>,
}

impl IfHeader {
    /// The header's value; `Ok(None)` when it is absent.
    pub fn of(headers: &HeaderMap) -> Result<Option<IfHeader>, BadHeader> {
        let mut values = headers.get_all("if").iter();
        let Some(value) = values.next() else { return Ok(None) };
        let parsed = value.to_str().ok().and_then(IfHeader::parse).filter(|_| values.next().is_none());
        parsed.map(Some).ok_or(BadHeader("if"))
    }

    pub fn parse(text: &str) -> Option<IfHeader> {
        let mut lists = Vec::new();
        let mut resource = None;
        let mut count = 0;
        let mut rest = text.trim_start();
        let is_tagged = rest.starts_with('<');
        while !rest.is_empty() {
            if let Some((tag, after)) = coded_url(rest) {
                let (true, true) = (is_tagged, after.trim_start().starts_with('(')) else { return None };
                resource = Some(tag.to_owned());
                rest = after.trim_start();
            }
            let (conditions, after) = list(rest.strip_prefix('(')?)?;
            count += conditions.len();
            if count > MOST {
                return None;
            }
            lists.push(List { resource: resource.clone(), conditions });
            rest = after.trim_start();
        }
        (!lists.is_empty()).then_some(IfHeader { lists })
    }

    /// All tokens that the request shows.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().flat_map(|list| &list.conditions).filter_map(|condition| match &condition.state {
            State::Token(token) => Some(token.as_str()),
            State::Tag(_) => None,
        })
    }

    /// Whether one of the lists holds, when `is_so` tells of a resource whether it is in a state.
    pub fn holds(&self, mut is_so: impl FnMut(Option<&str>, &State) -> bool) -> bool {
        self.lists.iter().any(|list| {
            let resource = list.resource.as_deref();
            list.conditions.iter().all(|condition| is_so(resource, &condition.state) != condition.negated)
        })
    }
}

/// `<URL>` and what follows it. The URL has no blank in it.
pub fn coded_url(text: &str) -> Option<(&str, &str)> {
    let (url, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_url = !url.is_empty() && url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'"'));
    is_url.then_some((url, rest))
}

/// What stands between the parentheses, and what follows them.
fn list(text: &str) -> Option<(Vec<Condition>, &str)> {
    let mut conditions = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix(')') {
            return (!conditions.is_empty()).then_some((conditions, after));
        }
        let negated = rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
        rest = if negated { rest[3..].trim_start() } else { rest };
        let (state, after) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (tag, after) = ETag::parse(inner.trim_start())?;
                (State::Tag(tag), after.trim_start().strip_prefix(']')?)
            }
            None => coded_url(rest).map(|(token, after)| (State::Token(token.to_owned()), after))?,
        };
        conditions.push(Condition { negated, state });
        rest = after.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard() {
        let read = IfHeader::parse("(<urn:uuid:1> [\"I am an ETag\"]) ([\"I am another ETag\"])").expect("parses");
        assert_eq!(read.lists.len(), 2);
        assert_eq!(read.tokens().collect::<Vec<_>>(), ["urn:uuid:1"]);
        assert!(read.holds(|_, state| matches!(state, State::Tag(tag) if tag.to_string() == "\"I am another ETag\"")));
        assert!(!read.holds(|_, state| matches!(state, State::Token(_))));
        let read = IfHeader::parse("(Not <urn:uuid:1> <urn:uuid:2>)").expect("parses");
        assert!(read.holds(|_, state| *state == State::Token("urn:uuid:2".into())));
        let always = IfHeader::parse("(<urn:uuid:1>)(Not <DAV:no-lock>)").expect("parses");
        assert!(always.holds(|_, _| false));
        let tagged = "</resource1> (<urn:uuid:1> [W/\"A weak ETag\"]) ([\"strong ETag\"]) <http://x/b%20c>([\"3\"])";
        let read = IfHeader::parse(tagged).expect("parses");
        let resources: Vec<_> = read.lists.iter().map(|list| list.resource.as_deref().unwrap_or("")).collect();
        assert_eq!(resources, ["/resource1", "/resource1", "http://x/b%20c"]);
    }

    #[test]
    fn refusals() {
        for text in [
            "",
            "()",
            "(<a>",
            "(<>)",
            "<a>",
            "<a> <b> (<c>)",
            "(<a>) </b> (<c>)",
            "(a)",
            "(<a b>)",
            "([\"x\")",
            "(<a>) x",
            "(Not)",
            "(Not Not <a>)",
        ] {
            assert_eq!(IfHeader::parse(text), None, "{text}");
        }
        assert_eq!(IfHeader::parse(&"(<a>)".repeat(MOST + 1)), None);
        let mut twice = HeaderMap::new();
        twice.append("if", http::HeaderValue::from_static("(<a>)"));
        assert!(matches!(IfHeader::of(&twice), Ok(Some(_))));
        twice.append("if", http::HeaderValue::from_static("(<b>)"));
        assert!(IfHeader::of(&twice).is_err());
    }
}
