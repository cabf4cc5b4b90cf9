//! The style sheet and the icon: part of the program, under an address that changes with their content, so that browsers
//! may keep them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 2] = [
    Asset { name: "identity.css", kind: "text/css; charset=utf-8", content: include_str!("../../assets/identity.css") },
    Asset { name: "mark.svg", kind: "image/svg+xml", content: include_str!("../../assets/icon.svg") },
];

const KEEP: &str = "public, max-age=31536000, immutable";

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: Vec<&str> = ASSETS.iter().map(|asset| asset.content).collect();
    dte_base::id::derived_id(&all).simple().to_string()[..12].to_owned()
});

pub(super) fn address(name: &str) -> String {
    format!("/oidc/assets/{}/{name}", *VERSION)
}

/// `GET /assets/{version}/{name}`
pub(super) async fn get(Path((_, name)): Path<(String, String)>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.kind),
                (header::CACHE_CONTROL, KEEP),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, asset.content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
