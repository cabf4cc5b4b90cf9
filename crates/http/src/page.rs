//! Paging by key: `?limit=100&after=KEY`. Never by offset, so that rows that come or go do not shift a page.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::Problem;

/// Rows on a page when the client does not say.
pub const DEFAULT_LIMIT: usize = 100;
/// More than this is never given at once.
pub const MOST: usize = 1_000;

/// Which page is asked for. An extractor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// 1 to [`MOST`]; larger wishes are cut.
    pub limit: usize,
    /// The `next` of the page before.
    pub after: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Page { limit: DEFAULT_LIMIT, after: None }
    }
}

/// One page of rows, and where the next begins when there is one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PageOf<T> {
    pub items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> PageOf<T> {
    /// Makes a page of rows that were read with `LIMIT page.limit + 1`: the row too many only says that more follow.
    pub fn cut(mut rows: Vec<T>, page: &Page, key: impl Fn(&T) -> String) -> Self {
        let more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let next = if more { rows.last().map(key) } else { None };
        PageOf { items: rows, next }
    }
}

impl<S: Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Wanted {
            limit: Option<usize>,
            after: Option<String>,
        }
        let wanted: Wanted = serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
            .map_err(|error| Problem::bad_request(format!("limit and after: {error}")))?;
        let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 {
            return Err(Problem::bad_request("limit must be at least 1"));
        }
        Ok(Page { limit: limit.min(MOST), after: wanted.after.filter(|after| !after.is_empty()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_too_many_is_not_shown() {
        let page = Page { limit: 2, after: None };
        let cut = PageOf::cut(vec![1, 2, 3], &page, ToString::to_string);
        assert_eq!((cut.items, cut.next), (vec![1, 2], Some("2".to_owned())));
        let last = PageOf::cut(vec![1, 2], &page, ToString::to_string);
        assert_eq!(last.next, None);
    }
}
