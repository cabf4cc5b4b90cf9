//! Reading a document, and what is wrong with it: every mistake has a line and a column.

use std::fmt;

use serde_saphyr::Spanned;

use super::document::Document;

/// A twin document is small; a larger one is a mistake.
pub const MAX_BYTES: usize = 256 * 1024;

/// A document that cannot be applied, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistake {
    /// Counted from 1; 0 when the mistake has no place.
    pub line: u64,
    pub column: u64,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.message);
        }
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl Mistake {
    /// A mistake at the place of `at`.
    pub fn at<T>(at: &Spanned<T>, message: impl Into<String>) -> Mistake {
        let place = at.referenced;
        Mistake { line: place.line(), column: place.column(), message: message.into() }
    }
}

impl Document {
    /// Reads and checks a document.
    pub fn parse(text: &str) -> Result<Document, Mistake> {
        if text.len() > MAX_BYTES {
            let message = format!("a twin document has at most {MAX_BYTES} bytes");
            return Err(Mistake { line: 0, column: 0, message });
        }
        let document: Document = serde_saphyr::from_str(text).map_err(|error| mistake(&error))?;
        super::check::check(&document)?;
        Ok(document)
    }
}

/// The parser's error without its drawing: place and reason.
fn mistake(error: &serde_saphyr::Error) -> Mistake {
    let bare = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |place| (place.line(), place.column()));
    let text = bare.to_string();
    // The place is told once, by us.
    let message = match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    };
    Mistake { line, column, message }
}
