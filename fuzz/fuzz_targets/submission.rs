//! Bodies of FTS submissions. What is accepted stays within its limits, goes where its text says, and keeps no token.
#![no_main]

use dte_base::time::Timestamp;
use dte_transfer::model::place::StorageUrl;
use dte_transfer::model::submission::parse;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const MOST_FILES: usize = 50;

fuzz_target!(|text: &str| {
    let now = Timestamp::from_seconds(1_700_000_000);
    url(text);
    let Ok(job) = parse(text.as_bytes(), MOST_FILES, now) else { return };
    let count = job.files.len();
    assert!((1..=MOST_FILES).contains(&count));
    assert!((1..=5).contains(&job.params.priority) && job.params.retry_delay >= 0);
    assert!(parse(text.as_bytes(), count - 1, now).is_err(), "a smaller limit takes more");
    for file in &job.files {
        for place in [&file.source, &file.destination] {
            url(place.as_str());
            assert!(StorageUrl::parse(place.as_str()).is_ok_and(|again| again.address() == place.address()));
        }
        assert!(file.scitag.is_none_or(|tag| (65..=65_535).contains(&tag)));
    }
    // The same document, written by somebody else.
    let document: Value = serde_json::from_str(text).expect("JSON");
    let pretty = serde_json::to_string_pretty(&document).expect("JSON");
    let again = parse(pretty.as_bytes(), MOST_FILES, now).expect("the same document");
    assert_eq!((again.files.len(), again.sid, again.job_type), (count, job.sid, job.job_type));
});

/// A place names one host, over HTTP, without a password; its path says the same to the one who checks and to the one who opens.
fn url(text: &str) {
    let Ok(place) = StorageUrl::parse(text) else { return };
    let address = place.address();
    assert!(matches!(address.scheme(), "http" | "https"));
    assert!(address.username().is_empty() && address.password().is_none(), "{address}");
    assert!(address.host_str().is_some_and(|host| !host.is_empty()), "{address}");
    assert!(place.scope_path().starts_with('/') && place.scope_path().starts_with(place.scope_folder()));
    assert!(!place.scope_path().split('/').any(|part| part == ".."), "{address}");
}
