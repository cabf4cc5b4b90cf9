//! What a correctly signed token of another issuer says, under each profile: nothing is accepted that a rule forbids, and a stricter
//! policy accepts no more.
#![no_main]

use std::time::Duration;

use dte_base::time::Timestamp;
use dte_identity::StorageOp;
use dte_identity::model::decide::{Policy, Profile, SKEW, decide};
use dte_identity::model::path::StoragePath;
use dte_identity::model::token::Claims;
use libfuzzer_sys::fuzz_target;

const NOW: i64 = 1_700_000_000;

fn policy(profile: Profile) -> Policy {
    Policy {
        issuer: "https://issuer.example".to_owned(),
        audiences: vec!["https://twin.example".to_owned()],
        audience_optional: false,
        profile,
        vo: Some("vo".to_owned()),
        base: StoragePath::parse("/vo").expect("a path"),
        max_lifetime: None,
        required_scopes: Vec::new(),
        group_claims: Vec::new(),
    }
}

fuzz_target!(|text: &str| {
    let Ok(claims) = Claims::read(text.as_bytes().to_vec()) else { return };
    let now = Timestamp::from_seconds(NOW);
    let outside = StoragePath::parse("/other/file").expect("a path");
    for profile in [Profile::Wlcg, Profile::Aarc, Profile::Generic] {
        let usual = policy(profile);
        let outcome = decide(&claims, &usual, now);
        for strict in [
            Policy { max_lifetime: Some(Duration::from_secs(3_600)), ..usual.clone() },
            Policy { required_scopes: vec!["compute.read".to_owned()], ..usual.clone() },
        ] {
            assert!(outcome.is_ok() || decide(&claims, &strict, now).is_err(), "a stricter policy accepts more");
        }
        let Ok(accepted) = outcome else { continue };
        assert!(accepted.expires > now);
        let latest = NOW + SKEW.as_secs().cast_signed();
        assert!(accepted.issued.is_none_or(|issued| issued.as_seconds() <= latest));
        assert!(claims.seconds("nbf").expect("seconds").is_none_or(|begin| begin <= latest));
        assert!(!accepted.subject.is_empty() && accepted.subject.bytes().all(|b| (b' '..127).contains(&b)));
        assert!(claims.get("nonce").is_none() && claims.get("at_hash").is_none());
        for op in [StorageOp::Read, StorageOp::Create, StorageOp::Modify, StorageOp::Stat, StorageOp::Stage] {
            assert!(!accepted.scopes.permit_storage(op, &outside), "a scope leads out of the issuer's area");
        }
        if profile == Profile::Wlcg {
            assert!(accepted.groups.iter().all(|group| group.vo == "vo"));
        }
        // What expires after the last moment that can be written down never does.
        let is_ever = accepted.expires < Timestamp::from_micros(i64::MAX);
        assert!(!is_ever || decide(&claims, &usual, accepted.expires).is_err(), "it is good when it has expired");
        let elsewhere = Policy { audiences: vec!["https://elsewhere.example".to_owned()], ..usual };
        let any = text.contains("wlcg.cern.ch") || text.contains("elsewhere") || text.contains("\\u");
        assert!(any || decide(&claims, &elsewhere, now).is_err(), "it is good for two audiences");
    }
});
