//! Who comes with a certificate instead of a token: `[[identity.certificates]]`.
//!
//! The listener has found the certificate's authority and dates good (`[http] client_ca`); here it is decided whom it stands for.
//! The operator lists names and accounts; whoever is listed acts as the account, confined to the scopes that stand there, and as
//! an administrator only when those say so in words (`dte.admin`), of one subject of one issuer. An issuer is one of the
//! listener's authorities, the one that the certificate was proved to go back to. A token that is shown goes before a
//! certificate. A ban hits the account, or the certificate by its subject and issuer, however they are written, or by its
//! fingerprint.
//!
//! A browser shows a certificate to whichever page asks, as it does with cookies: so what a page of another site asks for is
//! refused, whatever the method.

use dte_base::time::Timestamp;
use dte_http::certificate::Names;
use dte_http::{BadName, ClientCertificate, DistinguishedName, HttpConfig};

use crate::Identity;
use crate::config::{CertificateConfig, IdentityConfig};
use crate::context::{Foundation, OpenError};
use crate::directory::{NewBan, is_name};
use crate::model::decide::Accepted;
use crate::model::denial::Denial;
use crate::model::principal::{Identified, Principal, Standing, UserRef};
use crate::model::reject::Reject;
use crate::model::scope::{ADMIN_SCOPE, Scopes};

/// Stands for every certificate of the listener's authorities, or of the issuer that is named.
const EVERYBODY: &str = "*";
/// What the id of a certificate begins with where others have the id of a token.
const FINGERPRINT: &str = "x509:";

/// One `[[identity.certificates]]`.
pub(crate) struct Holder {
    /// `None`: every subject.
    subject: Option<DistinguishedName>,
    issuer: Option<DistinguishedName>,
    account: String,
    scopes: Scopes,
}

impl Holder {
    fn new(config: &CertificateConfig, own: &crate::model::path::StoragePath) -> Result<Self, String> {
        let name = |text: &str| text.parse::<DistinguishedName>().map_err(|bad: BadName| bad.to_string());
        let subject = if config.subject == EVERYBODY { None } else { Some(name(&config.subject)?) };
        if !is_name(&config.account) {
            return Err(format!("{:?} cannot be an account", config.account));
        }
        if config.scopes.is_empty() {
            return Err("say in `scopes` what it is good for; `wlcg` is all that the account may".to_owned());
        }
        if config.scopes.iter().any(|scope| scope == ADMIN_SCOPE) && (subject.is_none() || config.issuer.is_none()) {
            return Err(format!("{ADMIN_SCOPE} is for one subject of one issuer: name both"));
        }
        let scopes = Scopes::parse(&config.scopes.join(" "), own).map_err(|bad| bad.to_string())?;
        let issuer = config.issuer.as_deref().map(name).transpose()?;
        Ok(Holder { subject, issuer, account: config.account.clone(), scopes })
    }

    fn is(&self, names: &Names) -> bool {
        self.subject.as_ref().is_none_or(|listed| *listed == names.subject)
            && self.issuer.as_ref().is_none_or(|listed| *listed == names.authority)
    }
}

/// Reads the list; the first that fits counts.
pub(crate) fn holders(config: &IdentityConfig, foundation: &Foundation) -> Result<Vec<Holder>, OpenError> {
    let wrong = |text: String| OpenError::other(format!("[[identity.certificates]]: {text}"));
    let http: HttpConfig = foundation.config.section("http")?;
    if !config.certificates.is_empty() && http.client_ca.is_none() {
        return Err(wrong("nobody is asked for a certificate: name the authorities in [http] client_ca".to_owned()));
    }
    let root = crate::model::path::StoragePath::parse("/").map_err(OpenError::other)?;
    config.certificates.iter().map(|one| Holder::new(one, &root).map_err(wrong)).collect()
}

fn names(shown: &ClientCertificate) -> Result<&Names, Denial> {
    let unreadable = |bad: &BadName| Denial::bad_token("certificate-name", format!("your certificate: {bad}"));
    shown.names().map_err(unreadable)
}

/// Its fingerprint, as it stands in bans and in the audit log.
pub(crate) fn id_of(shown: &ClientCertificate) -> String {
    format!("{FINGERPRINT}{}", shown.fingerprint())
}

/// Who shows a certificate, as the audit log names those for whom there is no account.
pub(crate) fn holder_of(shown: &ClientCertificate) -> Option<UserRef> {
    let names = shown.names().ok()?;
    let subject = names.subject.to_string();
    Some(UserRef { issuer: names.authority.to_string(), name: subject.clone(), subject })
}

/// Whether a ban names this certificate. Its issuer may be the authority, or whoever stands between: that name may be
/// anybody's, but who takes a banned one bans themselves.
fn is_hit(ban: &NewBan, shown: &ClientCertificate, names: &Names) -> bool {
    let is = |text: &str, name: &DistinguishedName| text.parse().is_ok_and(|named: DistinguishedName| named == *name);
    ban.client_id.is_none()
        && ban.vo.is_none()
        && ban.group.is_none()
        && ban.subject.as_deref().is_none_or(|text| is(text, &names.subject))
        && ban.issuer.as_deref().is_none_or(|text| is(text, &names.authority) || is(text, &names.issuer))
        && ban.token_id.as_deref().is_none_or(|text| text == id_of(shown))
}

impl Identity {
    /// Whom a certificate stands for, if it is anybody who may come in now.
    pub(crate) fn of_certificate(&self, shown: &ClientCertificate) -> Result<Principal, Denial> {
        let names = names(shown)?;
        let (subject, authority) = (&names.subject, &names.authority);
        if Timestamp::now() >= shown.ends() {
            let detail = format!("the certificate of {subject} expired at {}", shown.ends());
            return Err(Denial::bad_token("certificate-expired", detail));
        }
        let holder = self.0.holders.iter().find(|holder| holder.is(names));
        let Some(holder) = holder else {
            let detail = format!(
                "the certificate of {subject} by {authority} stands for nobody here; show a token, or ask the operator to list it"
            );
            return Err(Denial::bad_token("certificate-unknown", detail));
        };
        let refused = |reject: Reject| {
            let detail = format!("the certificate of {subject} stands for {}: {reject}", holder.account);
            Denial::bad_token(reject.id(), detail)
        };
        if self.is_certificate_banned(shown) {
            return Err(refused(Reject::Banned));
        }
        self.account_of(holder, shown).map(Principal::new).map_err(refused)
    }

    fn account_of(&self, holder: &Holder, shown: &ClientCertificate) -> Result<Identified, Reject> {
        let directory = self.directory();
        let user = directory.users.get(&holder.account).filter(|user| user.active).ok_or(Reject::Account)?;
        if self.is_banned_through_link(&directory, &holder.account) {
            return Err(Reject::Banned);
        }
        let accepted = Accepted {
            subject: holder.account.clone(),
            client_id: None,
            acting: None,
            scopes: holder.scopes.clone(),
            groups: Vec::new().into(),
            capabilities: Vec::new().into(),
            token_id: Some(id_of(shown)),
            issued: Some(shown.begins()),
            expires: shown.ends(),
        };
        let standing = Standing::User { admin: user.admin && holder.scopes.contain_exactly(ADMIN_SCOPE) };
        let (issuer, name) = (self.issuer().to_owned(), holder.account.clone());
        let known = self.welcome(issuer, None, accepted, standing, name, Scopes::default())?;
        Ok(Identified { is_foreign: true, ..known })
    }

    /// Whether a certificate is banned by its names, or alone.
    pub(crate) fn is_certificate_banned(&self, shown: &ClientCertificate) -> bool {
        let Ok(names) = shown.names() else { return true };
        self.directory().bans.iter().any(|ban| is_hit(&ban.who, shown, names))
    }
}
