//! Twin documents. What is accepted names nothing outside of its place, means the same with a comment more, and is refused when the
//! twin's name is spoilt; what is refused says where.
#![no_main]

use dte_workflow::model::document::Document;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Document::parse(text) {
        Err(mistake) => {
            let lines =
                u64::try_from(text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count()).unwrap_or(u64::MAX);
            assert!(mistake.line <= lines + 1, "line {} of {lines}: {mistake}", mistake.line);
            assert!(!mistake.message.is_empty());
        }
        Ok(document) => {
            let name = &document.twin.value;
            assert!(
                (1..=25).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            );
            for product in &document.produces {
                assert!(document.model(&product.model.value).is_some());
                assert!(!product.output.value.split('/').any(|part| part == ".."), "{:?}", product.output.value);
                assert!(!product.output.value.starts_with('/'), "{:?}", product.output.value);
            }
            for input in document.models.iter().flat_map(|model| &model.inputs) {
                let folder = &input.folder.value;
                assert!(!folder.starts_with('/') && !folder.split('/').any(|part| part == ".."), "{folder:?}");
                assert!(
                    document.observes(&input.data.value).is_some() || document.product(&input.data.value).is_some()
                );
            }
            let commented = Document::parse(&format!("# a comment\n{text}"));
            if text.len() < 200_000 && !text.starts_with(['%', '\u{feff}', '-']) {
                assert_eq!(commented.map(|again| again.twin.value).as_ref(), Ok(name), "a comment changes the meaning");
            }
        }
    }
});
