//! SCIM filters and the paths of patch operations. What is asserted of the parsed form stands in `dte_identity::testing::parsers`:
//! it is written and read again, and not fitting is the opposite of fitting.
#![no_main]

use std::sync::LazyLock;

use dte_identity::testing::parsers;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static ALICE: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "id": "A", "userName": "alice", "active": true, "name": {"familyName": "O'Neill"}, "x": -2_000,
        "emails": [{"type": "work", "value": "a@example.org"}, {"type": "home"}], "groups": [], "meta": null,
    })
});

fuzz_target!(|text: &str| {
    if let Some(fits) = parsers::scim_filter(text, &ALICE) {
        let whole = |text: String| parsers::scim_filter(&text, &ALICE);
        // Either part may be refused for its length or depth, but then it says nothing.
        assert!(whole(format!("({text}) and (userName eq \"bob\")")).is_none_or(|both| !both), "{text}");
        assert!(whole(format!("({text}) or (active eq true)")).is_none_or(|one| one), "{text}");
        assert!(whole(format!("not ({text})")).is_none_or(|not| not != fits), "{text}");
        assert!(whole(format!("  ({text})  ")).is_none_or(|same| same == fits), "{text}");
    }
    parsers::scim_path(text);
});
