//! Acceptable use policies: the ten base clauses that are in all of them, what an owner adds, and who must accept.
//!
//! The base clauses follow the WISE baseline in meaning; their words are ours and shipped as data.

use std::time::Duration;

use dte_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::membership::group_path;

/// One clause a line.
const CLAUSES: &str = include_str!("clauses.txt");
/// The longest text of one field, in bytes.
const LONGEST: usize = 4_000;
/// The longest address, in bytes (as in INDIGO IAM).
pub(crate) const LONGEST_URL: usize = 128;
/// The most clauses, notices or service levels of one document.
const MOST: usize = 50;
/// The longest validity and grace, in days.
const MOST_DAYS: u32 = 3_650;
const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn base_clauses() -> impl Iterator<Item = &'static str> {
    CLAUSES.lines()
}

/// Whose terms they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    /// The whole engine: everybody must accept.
    Infrastructure,
    /// A community: its members must accept.
    Vo(String),
    /// A provider: who uses it may be asked.
    Provider(String),
}

impl Owner {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let named =
            |name: &str| group_path(name).is_ok_and(|path| path.matches('/').count() == 1) && !name.starts_with('/');
        match text.split_once(':') {
            None if text == "infrastructure" => Some(Owner::Infrastructure),
            Some(("vo", name)) if named(name) => Some(Owner::Vo(name.to_owned())),
            Some(("provider", name)) if named(name) => Some(Owner::Provider(name.to_owned())),
            _ => None,
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Owner::Infrastructure => f.write_str("infrastructure"),
            Owner::Vo(name) => write!(f, "vo:{name}"),
            Owner::Provider(name) => write!(f, "provider:{name}"),
        }
    }
}

impl Serialize for Owner {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What an owner says around the base clauses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Document {
    /// How the community, provider or infrastructure is called.
    pub(crate) name: String,
    pub(crate) purpose: String,
    pub(crate) security_contact: String,
    pub(crate) privacy_notices: Vec<String>,
    pub(crate) sla: Vec<String>,
    /// Beyond the ten: they can only add.
    pub(crate) extra_clauses: Vec<String>,
    /// Where it is published, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

impl Document {
    /// Everything that is wrong with it.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, text) in
            [("name", &self.name), ("purpose", &self.purpose), ("security_contact", &self.security_contact)]
        {
            if text.trim().is_empty() {
                faults.push(format!("{name} is missing"));
            }
        }
        if self.privacy_notices.is_empty() {
            faults.push("privacy_notices is missing: at least one address".to_owned());
        }
        for (name, list) in
            [("privacy_notices", &self.privacy_notices), ("sla", &self.sla), ("extra_clauses", &self.extra_clauses)]
        {
            if list.len() > MOST {
                faults.push(format!("{name} has more than {MOST} entries"));
            }
            if list.iter().any(|text| text.trim().is_empty()) {
                faults.push(format!("{name} has an empty entry"));
            }
        }
        faults.extend(
            self.privacy_notices.iter().filter_map(|url| bad_url(url).map(|why| format!("privacy_notices: {why}"))),
        );
        faults.extend(self.url.as_deref().and_then(bad_url).map(|why| format!("url: {why}")));
        let single = [&self.name, &self.purpose, &self.security_contact];
        let lists = [&self.privacy_notices, &self.sla, &self.extra_clauses];
        let texts = || single.into_iter().chain(lists.into_iter().flatten());
        if texts().any(|text| text.len() > LONGEST) {
            faults.push(format!("a text has more than {LONGEST} bytes"));
        }
        if texts().any(|text| text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))) {
            faults.push("a text has control characters".to_owned());
        }
        faults
    }

    /// The whole text: UTF-8, composed (NFC), lines that end in LF.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("Acceptable use policy of {}\n\n", self.name.trim());
        text.push_str(&format!("Purpose: {}\n", self.purpose.trim()));
        text.push_str(&format!("Security contact: {}\n", self.security_contact.trim()));
        for (title, list) in [("Privacy notice", &self.privacy_notices), ("Service level", &self.sla)] {
            list.iter().for_each(|entry| text.push_str(&format!("{title}: {}\n", entry.trim())));
        }
        if let Some(url) = &self.url {
            text.push_str(&format!("Published at: {url}\n"));
        }
        text.push('\n');
        let extra = self.extra_clauses.iter().map(String::as_str);
        let base: Vec<&str> = base_clauses().collect();
        for (index, clause) in base.into_iter().chain(extra).enumerate() {
            text.push_str(&format!("{}. {}\n", index + 1, clause.trim()));
        }
        canonical(&text)
    }

    /// Names the text: SHA-256 in hexadecimal digits.
    pub(crate) fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.text().as_bytes()))
    }
}

fn canonical(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").nfc().collect()
}

/// What is wrong with an address that people shall open.
pub(crate) fn bad_url(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("the address is blank".to_owned());
    }
    if text.len() > LONGEST_URL {
        return Some(format!("the address has more than {LONGEST_URL} characters"));
    }
    match url::Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
            Some(format!("{text:?} is not a web address"))
        }
        Ok(url) if url.query().is_some() => Some(format!("{text:?} has a query string")),
        Ok(_) => None,
        Err(_) => Some(format!("{text:?} is not a web address")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Draft,
    Published,
    Retired,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Draft => "draft",
            Status::Published => "published",
            Status::Retired => "retired",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Status::Draft, Status::Published, Status::Retired].into_iter().find(|status| status.name() == name)
    }

    /// draft → published → retired, and no way back.
    pub(crate) fn may_become(self, next: Status) -> bool {
        matches!((self, next), (Status::Draft, Status::Published) | (Status::Published, Status::Retired))
    }
}

/// What kind of change a version is: only a material one asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangeClass {
    Editorial,
    Material,
}

impl ChangeClass {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ChangeClass::Editorial => "editorial",
            ChangeClass::Material => "material",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [ChangeClass::Editorial, ChangeClass::Material].into_iter().find(|class| class.name() == name)
    }
}

/// One version of an owner's terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AupVersion {
    pub(crate) id: String,
    pub(crate) owner: Owner,
    /// Counts the owner's versions.
    #[serde(skip)]
    pub(crate) seq: i64,
    pub(crate) version: Semver,
    pub(crate) status: Status,
    pub(crate) change_class: ChangeClass,
    #[serde(flatten)]
    pub(crate) document: Document,
    pub(crate) text_sha256: String,
    pub(crate) effective_from: Timestamp,
    #[serde(flatten)]
    pub(crate) terms: Terms,
    pub(crate) created: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) published_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retired_at: Option<Timestamp>,
    /// Who accepted before must accept again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) touched: Option<Timestamp>,
}

/// For how long, and how strictly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Terms {
    /// So long an acceptance is good; 0: until the next material change.
    pub(crate) signature_validity_days: u32,
    /// So long those who accepted an earlier version may go on after a material change.
    pub(crate) grace_days: u32,
    pub(crate) reminders_days: Vec<u32>,
}

impl Terms {
    pub(crate) fn faults(&self) -> Vec<String> {
        let days = [self.signature_validity_days, self.grace_days];
        let mut faults = Vec::new();
        if days.iter().chain(&self.reminders_days).any(|days| *days > MOST_DAYS) || self.reminders_days.len() > MOST {
            faults.push(format!("days are at most {MOST_DAYS}, reminders at most {MOST}"));
        }
        faults
    }
}

/// `MAJOR.MINOR.PATCH`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Semver(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Semver {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| {
            let plain =
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            if plain { part.parse::<u32>().ok() } else { None }
        });
        let version = Semver(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }

    /// What follows when nobody chooses.
    pub(crate) fn following(last: Option<Semver>, class: ChangeClass) -> Semver {
        match (last, class) {
            (None, _) => Semver(1, 0, 0),
            (Some(Semver(major, ..)), ChangeClass::Material) => Semver(major.saturating_add(1), 0, 0),
            (Some(Semver(major, minor, patch)), ChangeClass::Editorial) => {
                Semver(major, minor, patch.saturating_add(1))
            }
        }
    }
}

impl std::fmt::Display for Semver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Serialize for Semver {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An acceptance that was not revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The version's place among those of its owner.
    pub(crate) seq: i64,
    pub(crate) at: Timestamp,
}

/// Whether somebody must accept an owner's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing is asked for.
    Covered,
    /// It is asked for, and not yet demanded.
    Until(Timestamp),
    /// Nothing goes before.
    Now,
}

/// The version that is shown to who must accept: the newest that is published.
pub(crate) fn current(versions: &[AupVersion]) -> Option<&AupVersion> {
    versions.iter().filter(|version| version.status == Status::Published).max_by_key(|version| version.seq)
}

/// Whether who accepted `accepted` of an owner must accept (again). `versions`: all of that owner, in the order of `seq`.
pub(crate) fn need_acceptance(versions: &[AupVersion], accepted: &[Accepted], now: Timestamp) -> Need {
    let in_force = |version: &&AupVersion| version.status == Status::Published && version.effective_from <= now;
    let Some(newest) = versions.iter().filter(in_force).max_by_key(|version| version.seq) else { return Need::Covered };
    // The last change that matters up to there; the first version is one, whatever it calls itself.
    let was_public = |version: &&AupVersion| version.status != Status::Draft && version.seq <= newest.seq;
    let public = || versions.iter().filter(was_public);
    let matters =
        |version: &&AupVersion| version.change_class == ChangeClass::Material && version.effective_from <= now;
    let Some(asked) = public().filter(matters).max_by_key(|v| v.seq).or_else(|| public().min_by_key(|v| v.seq)) else {
        return Need::Covered;
    };
    let touched = public().filter_map(|version| version.touched).max();
    let is_fresh = |one: &&Accepted| {
        let days = newest.terms.signature_validity_days;
        (days == 0 || one.at + DAY * days > now) && touched.is_none_or(|touched| one.at > touched)
    };
    if accepted.iter().filter(is_fresh).any(|one| one.seq >= asked.seq) {
        return Need::Covered;
    }
    let end_of_grace = asked.effective_from + DAY * asked.terms.grace_days;
    let had_accepted = accepted.iter().filter(is_fresh).any(|one| one.seq < asked.seq);
    if had_accepted && end_of_grace > now { Need::Until(end_of_grace) } else { Need::Now }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document() -> Document {
        Document {
            name: "Ocean".to_owned(),
            purpose: "Research on El Niño".to_owned(),
            security_contact: "security@example.org".to_owned(),
            privacy_notices: vec!["https://example.org/privacy".to_owned()],
            ..Document::default()
        }
    }

    #[test]
    fn ten_clauses_are_in_every_text() {
        assert_eq!(base_clauses().count(), 10);
        let extra = Document { extra_clauses: vec!["Cite us.".to_owned()], ..document() };
        let text = extra.text();
        for (index, clause) in base_clauses().enumerate() {
            assert!(text.contains(&format!("\n{}. {clause}\n", index + 1)));
        }
        assert!(text.ends_with("\n11. Cite us.\n"));
        let base: String = base_clauses().flat_map(|clause| [clause, "\n"]).collect();
        let digest = hex::encode(Sha256::digest(base.as_bytes()));
        assert_eq!(base, canonical(&base), "the clauses are canonical");
        assert_eq!(digest, BASE_DIGEST, "the base clauses were changed: every AUP would change with them");
    }

    const BASE_DIGEST: &str = "91fc180bba5c128e610c9f5ba448c980f5ba522b2c80a2faf0ad31fe881a7f2c";

    #[test]
    fn the_text_is_canonical() {
        let one = Document { purpose: "El Nin\u{303}o\r\nand more".to_owned(), ..document() };
        let two = Document { purpose: "El Ni\u{f1}o\nand more".to_owned(), ..document() };
        assert_eq!(one.digest(), two.digest());
        assert_ne!(one.digest(), document().digest());
        assert!(!one.text().contains('\r'));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(document().faults().is_empty());
        assert_eq!(Document::default().faults().len(), 4);
        let faulty = |change: fn(&mut Document)| {
            let mut document = document();
            change(&mut document);
            document.faults().len()
        };
        assert_eq!(faulty(|d| d.purpose = " ".to_owned()), 1);
        assert_eq!(faulty(|d| d.security_contact.clear()), 1);
        assert_eq!(faulty(|d| d.privacy_notices.clear()), 1);
        assert_eq!(faulty(|d| d.privacy_notices = vec!["mailto:x".to_owned()]), 1);
        assert_eq!(faulty(|d| d.extra_clauses = vec![String::new()]), 1);
        assert_eq!(faulty(|d| d.extra_clauses = vec!["x".to_owned(); 51]), 1);
        assert_eq!(faulty(|d| d.purpose = "a\u{0}".to_owned()), 1);
        assert_eq!(faulty(|d| d.url = Some("https://example.org/?a=b".to_owned())), 1);
        for bad in ["", " ", "x", "https://", "ftp://x/", "https://x/?q", &format!("https://x/{}", "y".repeat(128))] {
            assert!(bad_url(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn statuses_go_one_way() {
        use Status::{Draft, Published, Retired};
        for (from, to, may) in [
            (Draft, Draft, false),
            (Draft, Published, true),
            (Draft, Retired, false),
            (Published, Draft, false),
            (Published, Published, false),
            (Published, Retired, true),
            (Retired, Draft, false),
            (Retired, Published, false),
            (Retired, Retired, false),
        ] {
            assert_eq!(from.may_become(to), may, "{from:?} {to:?}");
        }
    }

    #[test]
    fn owners_and_versions() {
        for good in ["infrastructure", "vo:ocean", "provider:site.example"] {
            assert_eq!(Owner::parse(good).expect("an owner").to_string(), good);
        }
        for bad in ["", "vo", "vo:", "vo:a/b", "vo:/a", "x:y", "provider:", "vo:a b"] {
            assert_eq!(Owner::parse(bad), None, "{bad}");
        }
        assert_eq!(Semver::parse("1.20.3"), Some(Semver(1, 20, 3)));
        for bad in ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1..2", "+1.2.3", "99999999999.0.0"] {
            assert_eq!(Semver::parse(bad), None, "{bad}");
        }
        assert_eq!(Semver::following(Some(Semver(1, 2, 3)), ChangeClass::Material), Semver(2, 0, 0));
        assert_eq!(Semver::following(Some(Semver(1, 2, 3)), ChangeClass::Editorial), Semver(1, 2, 4));
    }

    const T0: Timestamp = Timestamp::from_seconds(1_000_000_000);

    fn day(days: u32) -> Timestamp {
        T0 + DAY * days
    }

    fn version(seq: i64, class: ChangeClass, from: u32, grace: u32, validity: u32) -> AupVersion {
        AupVersion {
            id: seq.to_string(),
            owner: Owner::Infrastructure,
            seq,
            version: Semver(1, 0, 0),
            status: Status::Published,
            change_class: class,
            document: document(),
            text_sha256: String::new(),
            effective_from: day(from),
            terms: Terms { signature_validity_days: validity, grace_days: grace, reminders_days: Vec::new() },
            created: day(from),
            published_at: Some(day(from)),
            retired_at: None,
            touched: None,
        }
    }

    #[test]
    fn who_must_accept() {
        use ChangeClass::{Editorial, Material};
        let accepted = |seq, at| [Accepted { seq, at: day(at) }];
        let first = [version(1, Editorial, 0, 14, 0)];
        assert_eq!(need_acceptance(&[], &[], day(1)), Need::Covered);
        assert_eq!(need_acceptance(&first, &[], day(1)), Need::Now, "no grace on first use");
        assert_eq!(need_acceptance(&first, &accepted(1, 1), day(900)), Need::Covered);
        let editorial = [first[0].clone(), version(2, Editorial, 10, 0, 0)];
        assert_eq!(need_acceptance(&editorial, &accepted(1, 1), day(11)), Need::Covered);
        let material = [first[0].clone(), version(2, Material, 10, 0, 0)];
        assert_eq!(need_acceptance(&material, &accepted(1, 1), day(9)), Need::Covered, "not in force yet");
        assert_eq!(need_acceptance(&material, &accepted(1, 1), day(10)), Need::Now);
        assert_eq!(need_acceptance(&material, &accepted(2, 5), day(10)), Need::Covered, "accepted in advance");
        let later = [material[0].clone(), material[1].clone(), version(3, Editorial, 20, 0, 0)];
        assert_eq!(need_acceptance(&later, &accepted(2, 11), day(21)), Need::Covered);
        assert_eq!(need_acceptance(&later, &accepted(1, 1), day(21)), Need::Now);
        let gracious = [first[0].clone(), version(2, Material, 10, 5, 0)];
        assert_eq!(need_acceptance(&gracious, &accepted(1, 1), day(14)), Need::Until(day(15)));
        assert_eq!(need_acceptance(&gracious, &accepted(1, 1), day(15)), Need::Now);
        assert_eq!(need_acceptance(&gracious, &[], day(11)), Need::Now);
        let short = [version(1, Material, 0, 0, 30)];
        assert_eq!(need_acceptance(&short, &accepted(1, 1), day(30)), Need::Covered);
        assert_eq!(need_acceptance(&short, &accepted(1, 1), day(31)), Need::Now);
        let touched = [AupVersion { touched: Some(day(5)), ..first[0].clone() }];
        assert_eq!(need_acceptance(&touched, &accepted(1, 5), day(6)), Need::Now, "signed at or before the touch");
        assert_eq!(need_acceptance(&touched, &accepted(1, 6), day(6)), Need::Covered);
        let retired = [AupVersion { status: Status::Retired, ..first[0].clone() }];
        assert_eq!(need_acceptance(&retired, &[], day(6)), Need::Covered);
    }

    /// Status, material, from, grace, validity, touched.
    type Given = (u8, bool, u32, u32, u32, Option<u32>);

    fn some_versions() -> impl Strategy<Value = Vec<AupVersion>> {
        let one = (0u8..3, any::<bool>(), 0u32..100, 0u32..20, 0u32..60, proptest::option::of(0u32..100));
        proptest::collection::vec(one, 0..6).prop_map(|list| {
            let make = |(index, given): (usize, Given)| {
                let (status, material, from, grace, validity, touched) = given;
                let class = if material { ChangeClass::Material } else { ChangeClass::Editorial };
                let mut made = version(i64::try_from(index).unwrap_or(0) + 1, class, from, grace, validity);
                made.status = [Status::Draft, Status::Published, Status::Retired][usize::from(status)];
                made.touched = touched.map(day);
                made
            };
            list.into_iter().enumerate().map(make).collect()
        })
    }

    fn some_acceptances() -> impl Strategy<Value = Vec<Accepted>> {
        let one = (1i64..7, 0u32..100).prop_map(|(seq, at)| Accepted { seq, at: day(at) });
        proptest::collection::vec(one, 0..5)
    }

    proptest! {
        #[test]
        fn accepting_the_newest_is_enough(versions in some_versions(), accepted in some_acceptances(), now in 100u32..200) {
            let mut accepted = accepted;
            if let Some(newest) = current(&versions) {
                accepted.push(Accepted { seq: newest.seq, at: day(now) + Duration::from_secs(1) });
                prop_assert_eq!(need_acceptance(&versions, &accepted, day(now) + Duration::from_secs(2)), Need::Covered);
            }
        }

        #[test]
        fn accepting_more_never_needs_more(versions in some_versions(), accepted in some_acceptances(), now in 0u32..200) {
            let rank = |need: Need| match need { Need::Covered => 0, Need::Until(_) => 1, Need::Now => 2 };
            for count in 0..accepted.len() {
                let (less, more) = (need_acceptance(&versions, &accepted[..count], day(now)), need_acceptance(&versions, &accepted[..=count], day(now)));
                prop_assert!(rank(more) <= rank(less));
            }
        }

        #[test]
        fn an_editorial_change_asks_nobody(versions in some_versions(), accepted in some_acceptances(), now in 0u32..200, validity in 0u32..60) {
            // Nothing between the newest in force and the new one.
            let mut versions = versions;
            for version in &mut versions {
                version.effective_from = version.effective_from.min(day(now));
                version.status = Status::Published;
            }
            prop_assume!(!versions.is_empty());
            let before = need_acceptance(&versions, &accepted, day(now));
            let validity = versions.last().map_or(validity, |newest| newest.terms.signature_validity_days);
            let mut more = versions.clone();
            more.push(version(100, ChangeClass::Editorial, now, 0, validity));
            prop_assert_eq!(need_acceptance(&more, &accepted, day(now)), before);
        }

        #[test]
        fn a_material_change_asks_all(versions in some_versions(), accepted in some_acceptances(), now in 0u32..200) {
            let mut more = versions.clone();
            more.push(version(100, ChangeClass::Material, now, 0, 0));
            prop_assert_eq!(need_acceptance(&more, &accepted, day(now)), Need::Now);
        }
    }
}
