//! Style sheet, script and icon.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use dte_http::Problem;
use http::header;

use super::reply::guarded;
use crate::assets::Asset;

/// The address changes with the content, so it may be kept for good.
const KEEP: &str = "public, max-age=31536000, immutable";

pub async fn get(Path((_version, name)): Path<(String, String)>) -> Response {
    match Asset::by_name(&name) {
        Some(asset) => guarded(
            ([(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, KEEP)], asset.content).into_response(),
        ),
        None => guarded(Problem::not_found("there is no such file").into_response()),
    }
}
