//! File name patterns of watches: `*`, `?` and `[a-z]` as the shell has them, for one path component.

/// A pattern over file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Char(char),
    /// `?`
    Any,
    /// `*`
    Run,
    /// `[a-z0]`, or `[!a-z0]` when negated.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A pattern that means nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadGlob {
    #[error("a pattern must not be empty")]
    Empty,
    #[error("a pattern is for file names of one folder and must not contain '/'")]
    Slash,
    #[error("the pattern has a '[' without its ']'")]
    OpenClass,
    #[error("a pattern may have at most {MAX_LENGTH} characters")]
    TooLong,
}

/// No file name is longer on the usual filesystems.
pub const MAX_LENGTH: usize = 255;

impl Glob {
    pub fn parse(text: &str) -> Result<Glob, BadGlob> {
        if text.is_empty() {
            return Err(BadGlob::Empty);
        }
        if text.chars().count() > MAX_LENGTH {
            return Err(BadGlob::TooLong);
        }
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '/' => return Err(BadGlob::Slash),
                '?' => Part::Any,
                '*' if parts.last() == Some(&Part::Run) => continue,
                '*' => Part::Run,
                '[' => class(&mut chars)?,
                '\\' => Part::Char(chars.next().unwrap_or('\\')),
                other => Part::Char(other),
            });
        }
        Ok(Glob { parts })
    }

    /// Whether the whole of `name` fits. Takes at most `name` × pattern steps, whatever they hold.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut part) = (0, 0);
        // Where to go on when the last `*` has to swallow one more character.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.parts.get(part) {
                Some(Part::Run) => {
                    retry = Some((at, part));
                    part += 1;
                    continue;
                }
                Some(one) if name.get(at).is_some_and(|c| one.fits(*c)) => {
                    at += 1;
                    part += 1;
                    continue;
                }
                None if at == name.len() => return true,
                _ => {}
            }
            match retry {
                Some((from, star)) if from < name.len() => {
                    retry = Some((from + 1, star));
                    at = from + 1;
                    part = star + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Part {
    fn fits(&self, c: char) -> bool {
        match self {
            Part::Char(own) => *own == c,
            Part::Any => true,
            Part::Run => false,
            Part::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

fn class(chars: &mut std::str::Chars<'_>) -> Result<Part, BadGlob> {
    let mut inside = Vec::new();
    let mut negated = false;
    loop {
        match chars.next().ok_or(BadGlob::OpenClass)? {
            '/' => return Err(BadGlob::Slash),
            '!' | '^' if inside.is_empty() && !negated => negated = true,
            ']' if !inside.is_empty() => break,
            c => inside.push(c),
        }
    }
    let mut ranges = Vec::new();
    let mut rest = inside.as_slice();
    while let [first, tail @ ..] = rest {
        match tail {
            ['-', last, after @ ..] => {
                ranges.push((*first, *last));
                rest = after;
            }
            _ => {
                ranges.push((*first, *first));
                rest = tail;
            }
        }
    }
    Ok(Part::Class { negated, ranges })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        Glob::parse(pattern).expect("parses").matches(name)
    }

    #[test]
    fn shell_patterns() {
        assert!(fits("*", "anything"));
        assert!(fits("nino12-*.csv", "nino12-1980-01.csv"));
        assert!(!fits("nino12-*.csv", "nino12-1980-01.csv.bak"));
        assert!(fits("????-??.csv", "1980-01.csv"));
        assert!(fits("[0-9][0-9]*", "80x"));
        assert!(!fits("[!0-9]*", "80x"));
        assert!(fits("*a*b*c", "xxaxxbxxbc"));
        assert!(!fits("*a*b*c", "xxbxxaxxc"));
        assert!(fits("a\\*b", "a*b"));
        assert!(!fits("a\\*b", "axb"));
        assert!(fits("**", ""));
        assert!(!fits("?", ""));
        assert!(fits("[]]", "]"));
    }

    #[test]
    fn patterns_that_mean_nothing() {
        assert_eq!(Glob::parse(""), Err(BadGlob::Empty));
        assert_eq!(Glob::parse("a/b"), Err(BadGlob::Slash));
        assert_eq!(Glob::parse("[a"), Err(BadGlob::OpenClass));
        assert_eq!(Glob::parse(&"a".repeat(300)), Err(BadGlob::TooLong));
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "*a".repeat(100) + "b";
        assert!(!fits(&pattern, &"a".repeat(250)));
    }
}
