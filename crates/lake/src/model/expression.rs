//! RSE expressions: which storage elements are meant.
//!
//! ```text
//! expression := primitive ( ('|' | '&' | '\') primitive )*      left associative, no precedence
//! primitive  := '(' expression ')' | '*' | KEY '=' VALUE | KEY '<' NUMBER | KEY '>' NUMBER | NAME
//! ```
//! `|` is union, `&` intersection, `\` difference; a bare NAME is the attribute NAME = true, which every storage element
//! has with its own name. So `A|B&C` is `(A|B)&C`. Blanks are not allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Longest expression that is read.
pub const MAX_LENGTH: usize = 3000;
/// Deepest nesting of parentheses.
pub const MAX_DEPTH: usize = 64;

/// What is known of a storage element when an expression is asked.
#[derive(Clone, Debug, Default)]
pub struct RseFacts {
    pub name: String,
    /// Attributes, and the columns that can be asked like attributes.
    pub attributes: BTreeMap<String, String>,
}

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    Everything,
    Equal { key: String, value: String },
    Less { key: String, than: String },
    Greater { key: String, than: String },
    Union(Box<Expression>, Box<Expression>),
    Intersection(Box<Expression>, Box<Expression>),
    Difference(Box<Expression>, Box<Expression>),
}

/// Why an expression is not one. The texts are the ones that people know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExpression {
    #[error("Problem with parentheses.")]
    Parentheses,
    #[error("Expression does not comply to RSE Expression syntax")]
    Syntax,
    #[error("RSE Expression resulted in an empty set.")]
    Empty,
}

impl Expression {
    pub fn parse(text: &str) -> Result<Expression, BadExpression> {
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err(BadExpression::Syntax);
        }
        if !balanced(text) {
            return Err(BadExpression::Parentheses);
        }
        let mut parser = Parser { rest: text };
        let expression = parser.expression(0)?;
        if parser.rest.is_empty() { Ok(expression) } else { Err(BadExpression::Syntax) }
    }

    /// Whether `rse` is meant.
    pub fn matches(&self, rse: &RseFacts) -> bool {
        match self {
            Expression::Everything => true,
            Expression::Equal { key, value } => {
                rse.attributes.get(key).is_some_and(|have| normal(have) == normal(value))
            }
            Expression::Less { key, than } => compare(rse, key, than).is_some_and(|(have, than)| have < than),
            Expression::Greater { key, than } => compare(rse, key, than).is_some_and(|(have, than)| have > than),
            Expression::Union(a, b) => a.matches(rse) || b.matches(rse),
            Expression::Intersection(a, b) => a.matches(rse) && b.matches(rse),
            Expression::Difference(a, b) => a.matches(rse) && !b.matches(rse),
        }
    }

    /// The names of those that are meant; an error when there are none.
    pub fn select(&self, rses: &[RseFacts]) -> Result<BTreeSet<String>, BadExpression> {
        let chosen: BTreeSet<String> =
            rses.iter().filter(|rse| self.matches(rse)).map(|rse| rse.name.clone()).collect();
        if chosen.is_empty() { Err(BadExpression::Empty) } else { Ok(chosen) }
    }
}

/// `True` and `true` are the same.
fn normal(text: &str) -> &str {
    match text {
        "True" => "true",
        "False" => "false",
        other => other,
    }
}

/// Both sides as numbers; what is not a number is skipped.
fn compare(rse: &RseFacts, key: &str, than: &str) -> Option<(f64, f64)> {
    Some((rse.attributes.get(key)?.parse().ok()?, than.parse().ok()?))
}

fn balanced(text: &str) -> bool {
    let mut depth = 0_i64;
    for byte in text.bytes() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn expression(&mut self, depth: usize) -> Result<Expression, BadExpression> {
        let mut left = self.primitive(depth)?;
        loop {
            let Some(operator) = self.rest.chars().next().filter(|c| "|&\\".contains(*c)) else { return Ok(left) };
            self.rest = &self.rest[1..];
            let pair = (Box::new(left), Box::new(self.primitive(depth)?));
            left = match operator {
                '|' => Expression::Union(pair.0, pair.1),
                '&' => Expression::Intersection(pair.0, pair.1),
                _ => Expression::Difference(pair.0, pair.1),
            };
        }
    }

    fn primitive(&mut self, depth: usize) -> Result<Expression, BadExpression> {
        if let Some(rest) = self.rest.strip_prefix('(') {
            if depth >= MAX_DEPTH {
                return Err(BadExpression::Syntax);
            }
            self.rest = rest;
            let inner = self.expression(depth + 1)?;
            self.rest = self.rest.strip_prefix(')').ok_or(BadExpression::Syntax)?;
            return Ok(inner);
        }
        if let Some(rest) = self.rest.strip_prefix('*') {
            self.rest = rest;
            return Ok(Expression::Everything);
        }
        let key = self.word("._-")?.to_owned();
        let operator = self.rest.chars().next();
        if let Some(operator @ ('=' | '<' | '>')) = operator {
            self.rest = &self.rest[1..];
            let value = if operator == '=' { self.word("_-")? } else { self.word("._-")? }.to_owned();
            return match operator {
                '=' => Ok(Expression::Equal { key, value }),
                _ if value.parse::<f64>().is_err() => Err(BadExpression::Syntax),
                '<' => Ok(Expression::Less { key, than: value }),
                _ => Ok(Expression::Greater { key, than: value }),
            };
        }
        if !is_rse_word(&key) {
            return Err(BadExpression::Syntax);
        }
        Ok(Expression::Equal { key, value: "true".to_owned() })
    }

    /// Letters, digits and the characters of `more`, at least one.
    fn word(&mut self, more: &str) -> Result<&'t str, BadExpression> {
        let inside = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        let end = self.rest.find(|c| !inside(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(BadExpression::Syntax);
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(word)
    }
}

/// `[A-Za-z0-9]+([_-][A-Za-z0-9]+)*`.
fn is_rse_word(text: &str) -> bool {
    text.split(['_', '-']).all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Whether `text` may name a storage element: words of capitals and digits, joined by `-` or `_`, at most
/// 250 characters.
pub fn is_rse_name(text: &str) -> bool {
    text.len() <= 250 && is_rse_word(text) && !text.bytes().any(|b| b.is_ascii_lowercase())
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Everything => f.write_str("*"),
            Expression::Equal { key, value } => write!(f, "{key}={value}"),
            Expression::Less { key, than } => write!(f, "{key}<{than}"),
            Expression::Greater { key, than } => write!(f, "{key}>{than}"),
            Expression::Union(a, b) => write!(f, "({a}|{b})"),
            Expression::Intersection(a, b) => write!(f, "({a}&{b})"),
            Expression::Difference(a, b) => write!(f, "({a}\\{b})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rse(name: &str, attributes: &[(&str, &str)]) -> RseFacts {
        let own = (name.to_owned(), "true".to_owned());
        let given = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        RseFacts { name: name.to_owned(), attributes: given.chain([own]).collect() }
    }

    fn select(text: &str) -> Result<Vec<String>, BadExpression> {
        let rses = [
            rse("A", &[("tier", "1"), ("cloud", "DE"), ("free", "10.5")]),
            rse("B", &[("tier", "1"), ("fast", "True")]),
            rse("C-1", &[("tier", "2"), ("free", "nonsense")]),
        ];
        Ok(Expression::parse(text)?.select(&rses)?.into_iter().collect())
    }

    #[test]
    fn chooses() {
        assert_eq!(select("A"), Ok(vec!["A".into()]));
        assert_eq!(select("A|B&C-1"), Err(BadExpression::Empty), "no precedence: (A|B)&C-1");
        assert_eq!(select("A|(B&C-1)"), Ok(vec!["A".into()]));
        assert_eq!(select("tier=1\\A"), Ok(vec!["B".into()]));
        assert_eq!(select("*\\tier=1"), Ok(vec!["C-1".into()]));
        assert_eq!(select("free>10"), Ok(vec!["A".into()]), "what is not a number is skipped");
        assert_eq!(select("tier<2&cloud=DE"), Ok(vec!["A".into()]));
        assert_eq!(select("fast=true"), Ok(vec!["B".into()]));
        assert_eq!(select("((((*))))").map(|all| all.len()), Ok(3));
    }

    #[test]
    fn refuses() {
        assert_eq!(select("(A"), Err(BadExpression::Parentheses));
        assert_eq!(select(")A("), Err(BadExpression::Parentheses));
        assert_eq!(select("nope"), Err(BadExpression::Empty));
        for bad in
            ["", "A B", "A|", "|A", "A||B", "=1", "a=", "A()", "()", "a<x", "A;B", "é", "A=b|", "-A", "A_", "ti*"]
        {
            assert_eq!(select(bad), Err(BadExpression::Syntax), "{bad}");
        }
        let deep = format!("{}A{}", "(".repeat(5000), ")".repeat(5000));
        assert_eq!(select(&deep), Err(BadExpression::Syntax));
        let deep = format!("{}A{}", "(".repeat(200), ")".repeat(200));
        assert_eq!(select(&deep), Err(BadExpression::Syntax));
    }

    fn expressions() -> impl Strategy<Value = Expression> {
        let key = "[a-z][a-z0-9._-]{0,5}";
        let leaf = prop_oneof![
            Just(Expression::Everything),
            (key, "[A-Za-z0-9_-]{1,5}").prop_map(|(key, value)| Expression::Equal { key, value }),
            (key, 0_u32..100).prop_map(|(key, n)| Expression::Less { key, than: n.to_string() }),
            (key, 0_u32..100).prop_map(|(key, n)| Expression::Greater { key, than: n.to_string() }),
            "[A-Z][A-Z0-9]{0,4}".prop_map(|key| Expression::Equal { key, value: "true".into() }),
        ];
        leaf.prop_recursive(5, 40, 2, |inner| {
            let pair = || (inner.clone(), inner.clone());
            prop_oneof![
                pair().prop_map(|(a, b)| Expression::Union(a.into(), b.into())),
                pair().prop_map(|(a, b)| Expression::Intersection(a.into(), b.into())),
                pair().prop_map(|(a, b)| Expression::Difference(a.into(), b.into())),
            ]
        })
    }

    proptest! {
        #[test]
        fn written_and_read_again(expression in expressions()) {
            prop_assert_eq!(Expression::parse(&expression.to_string()), Ok(expression));
        }

        #[test]
        fn never_panics(text in "[A-Za-z0-9()|&\\\\=<>*._ é-]{0,40}") {
            let _ = Expression::parse(&text);
        }

        #[test]
        fn sets_obey_their_laws(a in expressions(), b in expressions(), tier in 0_u32..3) {
            let one = rse("A", &[("tier", &tier.to_string()), ("a", "1")]);
            let both = |make: fn(Box<Expression>, Box<Expression>) -> Expression| {
                make(a.clone().into(), b.clone().into()).matches(&one)
            };
            prop_assert_eq!(both(Expression::Union), a.matches(&one) | b.matches(&one));
            prop_assert_eq!(both(Expression::Intersection), a.matches(&one) & b.matches(&one));
            prop_assert_eq!(both(Expression::Difference), a.matches(&one) & !b.matches(&one));
        }
    }
}
