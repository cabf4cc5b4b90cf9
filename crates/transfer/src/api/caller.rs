//! Who is asking, in the words of FTS.

use dte_identity::Principal;
use dte_protocol_fts::identifier::BASE_ID;
use url::Url;
use uuid::Uuid;

use crate::api::error::FtsError;
use crate::store::row::JobRow;
use crate::store::submit::Submitter;

/// The asking user.
pub struct Caller {
    principal: Principal,
    /// Tells users apart: sixteen hexadecimal digits of issuer and subject.
    pub delegation_id: String,
    /// First the one that the user's jobs belong to.
    pub vos: Vec<String>,
}

impl Caller {
    pub fn new(principal: Principal) -> Self {
        let vos = vos(&principal);
        let delegation_id = delegation_id(&principal.issuer, &principal.subject);
        Caller { principal, delegation_id, vos }
    }

    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Users of tokens are known by their subject.
    pub fn user_dn(&self) -> &str {
        &self.principal.subject
    }

    pub fn vo(&self) -> &str {
        self.vos.first().map_or("", String::as_str)
    }

    pub fn submitter(&self) -> Submitter {
        Submitter {
            owner: self.principal.user_ref(),
            user_dn: self.user_dn().to_owned(),
            cred_id: self.delegation_id.clone(),
            vo: self.vo().to_owned(),
        }
    }

    pub fn sees_all(&self) -> bool {
        self.principal.is_admin()
    }

    /// Whether the job is the caller's business.
    pub fn may_see(&self, job: &JobRow) -> bool {
        self.sees_all() || job.cred_id == self.delegation_id
    }

    pub fn must_see(&self, job: &JobRow) -> Result<(), FtsError> {
        if self.may_see(job) { Ok(()) } else { Err(FtsError::forbidden(not_enough(job.job_id))) }
    }
}

/// What somebody is told who asks for another's job.
pub fn not_enough(job_id: Uuid) -> String {
    format!("Not enough permissions to check the job \"{job_id}\"")
}

/// Stable for a user, different for two users; a digest like that of FTS, whose exact recipe no client relies on.
fn delegation_id(issuer: &str, subject: &str) -> String {
    let name = format!("{}/{subject}", issuer.trim_end_matches('/'));
    Uuid::new_v5(&BASE_ID, name.as_bytes()).simple().to_string()[..16].to_owned()
}

/// The VO that the issuer stands for; else the user's groups; else the issuer's host.
fn vos(principal: &Principal) -> Vec<String> {
    let mut vos: Vec<String> = principal.vo.iter().cloned().collect();
    for group in principal.groups.iter() {
        let name = group.name().trim_start_matches('/').to_owned();
        if !vos.contains(&name) {
            vos.push(name);
        }
    }
    if vos.is_empty() {
        let host = Url::parse(&principal.issuer).ok().and_then(|url| url.host_str().map(str::to_owned));
        vos.push(host.unwrap_or_else(|| principal.issuer.clone()));
    }
    vos
}
