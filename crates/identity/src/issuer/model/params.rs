//! The parameters of a request (RFC 6749 section 3): each at most once, save those that say otherwise.

/// More parameters than this are no request of any client.
const MOST: usize = 64;
/// These may stand several times (RFC 8707, RFC 8693).
const REPEATABLE: &[&str] = &["resource", "audience"];
/// Audiences in one request.
const MOST_AUDIENCES: usize = 8;
const LONGEST_AUDIENCE: usize = 255;

/// Parameters of a query or a form; empty ones count as left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

/// Why parameters cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadParams {
    #[error("the parameter {0} stands more than once")]
    Twice(String),
    #[error("there are more than {MOST} parameters")]
    TooMany,
    #[error("{0}")]
    Audience(&'static str),
}

impl Params {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, BadParams> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(text) {
            if value.is_empty() {
                continue;
            }
            if found.len() >= MOST {
                return Err(BadParams::TooMany);
            }
            if !REPEATABLE.contains(&name.as_ref()) && found.iter().any(|(known, _)| *known == name) {
                return Err(BadParams::Twice(name.chars().take(40).collect()));
            }
            found.push((name.into_owned(), value.into_owned()));
        }
        Ok(Params(found))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The words of a parameter that is a list.
    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        self.get(name).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
    }

    /// For whom the token shall be: `resource` (RFC 8707), and `audience` as IAM takes it, separated by spaces.
    pub(crate) fn audiences(&self) -> Result<Vec<String>, BadParams> {
        let mut found: Vec<String> = Vec::new();
        for (name, value) in &self.0 {
            if REPEATABLE.contains(&name.as_str()) {
                for audience in value.split_ascii_whitespace() {
                    if !found.iter().any(|known| known == audience) {
                        found.push(audience.to_owned());
                    }
                }
            }
        }
        found.into_iter().try_fold(Vec::new(), |mut good, audience| {
            if good.len() >= MOST_AUDIENCES {
                return Err(BadParams::Audience("there are too many audiences"));
            }
            if audience.len() > LONGEST_AUDIENCE || !audience.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(BadParams::Audience("an audience is at most 255 printable characters"));
            }
            good.push(audience);
            Ok(good)
        })
    }

    /// As a query again, without some.
    pub(crate) fn query_without(&self, left_out: &[&str]) -> String {
        let kept = self.0.iter().filter(|(name, _)| !left_out.contains(&name.as_str()));
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_once() {
        let params = Params::parse(b"a=1&b=x+y&c=&resource=r&resource=s&audience=t+r").expect("read");
        assert_eq!((params.get("a"), params.get("c")), (Some("1"), None));
        assert_eq!(params.words("b"), ["x", "y"]);
        assert_eq!(params.audiences().expect("audiences"), ["r", "s", "t"]);
        assert_eq!(params.query_without(&["a", "resource", "audience"]), "b=x+y");
        assert_eq!(Params::parse(b"a=1&a=2").expect_err("twice"), BadParams::Twice("a".to_owned()));
        let many: String = (0..100).map(|n| format!("p{n}=1&")).collect();
        assert_eq!(Params::parse(many.as_bytes()).expect_err("many"), BadParams::TooMany);
        assert!(Params::parse(b"audience=%C3%A4").expect("read").audiences().is_err());
    }
}
