//! The `scope` claim: what is permitted is the sum of what each scope permits alone, and lies in the issuer's area.
#![no_main]

use dte_identity::model::path::StoragePath;
use dte_identity::{Scopes, StorageOp};
use libfuzzer_sys::fuzz_target;

const OPS: [StorageOp; 5] = [StorageOp::Read, StorageOp::Create, StorageOp::Modify, StorageOp::Stat, StorageOp::Stage];
const PLACES: [&str; 8] = ["/", "/vo", "/vo/", "/vo/data", "/vo/data/", "/vo/data/f", "/vof", "/other/f"];
/// Every scope is asked about by itself, so that there are not too many of them.
const MOST: usize = 64;

fuzz_target!(|text: &str| {
    let base = StoragePath::parse("/vo").expect("a path");
    let Ok(scopes) = Scopes::parse(text, &base) else { return };
    let written = scopes.names().join(" ");
    assert_eq!(Scopes::parse(&written, &base).as_ref(), Ok(&scopes), "read, written, read");
    if scopes.names().len() > MOST {
        return;
    }
    let single: Vec<Scopes> =
        scopes.names().iter().map(|name| Scopes::parse(name, &base).expect("good in company, good alone")).collect();
    assert_eq!(scopes.have_capabilities(), single.iter().any(Scopes::have_capabilities));
    for wanted in ["compute.create", "dte.admin", "fts", "events.read"] {
        assert_eq!(scopes.contain(wanted), single.iter().any(|one| one.contain(wanted)), "{wanted}");
        assert!(!scopes.contain(wanted) || scopes.have_capabilities(), "{wanted} does not confine");
    }
    for (place, op) in PLACES.into_iter().flat_map(|place| OPS.map(|op| (place, op))) {
        let path = StoragePath::parse(place).expect("a path");
        let permitted = scopes.permit_storage(op, &path);
        assert_eq!(permitted, single.iter().any(|one| one.permit_storage(op, &path)), "{op:?} {place}");
        assert!(!permitted || scopes.have_capabilities());
        if permitted && !base.covers(&path) {
            // What leads to a place where something may be made may be looked for and made; nothing else is outside.
            assert!(path.is_directory() && path.covers(&base), "{op:?} {place}");
            assert!(matches!(op, StorageOp::Create | StorageOp::Stat), "{op:?} {place}");
        }
        if permitted && op == StorageOp::Modify {
            assert!(scopes.permit_storage(StorageOp::Create, &path), "what may be changed may be made: {place}");
        }
        if permitted {
            let whole = StoragePath::parse(place.trim_end_matches('/')).unwrap_or(path);
            let below = StoragePath::parse("/f").expect("a path").beneath(&whole);
            let reaches = scopes.permit_storage(op, &below);
            assert!(reaches || matches!(op, StorageOp::Create | StorageOp::Stat), "{op:?} at {place}, not beneath");
        }
    }
});
