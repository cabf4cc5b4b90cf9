//! What all reconcilers share: the store, the way to other services, and the twins' documents.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dte_base::secret::Secret;
use dte_base::tasks::Tasks;
use dte_http::{Client, ClientError};
use dte_identity::{Absent, Identity, ServiceContext, UserRef};
use dte_protocol_interlink::{InterlinkClient, InterlinkError};
use dte_protocol_rucio::{Did, LakeClient, LakeError};
use dte_store::{Store, Tx};
use parking_lot::Mutex;
use url::Url;

use crate::model::document::Document;
use crate::model::mistake::Mistake;
use crate::store::twins::{self, Twin};

/// The name under which this service acts for owners.
const ACTING: &str = "workflow";
/// What handing over and following a pod needs.
const COMPUTE_SCOPES: &[&str] = &["compute.create", "compute.read", "compute.modify", "compute.cancel"];
/// What reading and registering data needs: the lake asks who, storage asks for more (see [`Engine::upload`]).
const DATA_SCOPES: &[&str] = &["dte.lake", "storage.read:/"];
/// How long the transfer of one file may take.
const FILE_TIMEOUT: Duration = Duration::from_secs(120);
/// Documents that are kept read.
const MOST_DOCUMENTS: usize = 1_000;

/// Why a step did not succeed. All of it is tried again; what can never succeed is a state of the twin instead.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Store(#[from] dte_store::Error),
    #[error("the data lake: {0}")]
    Lake(#[from] LakeError),
    #[error("running the pod: {0}")]
    Interlink(#[from] InterlinkError),
    #[error("{0}")]
    Http(#[from] ClientError),
    #[error("acting for the owner: {0}")]
    Identity(#[from] dte_identity::Error),
    #[error("the stored document: {0}")]
    Document(#[from] Mistake),
    #[error("{0}")]
    Other(String),
}

/// Documents that were read, by twin and version.
type Documents = HashMap<(String, i64), Arc<Document>>;

/// What the reconcilers share. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub store: Store,
    pub client: Client,
    pub tasks: Tasks,
    identity: Identity,
    /// Owners of twins who are suspended.
    pub absent: Absent,
    lake: Url,
    interlink: Url,
    documents: Arc<Mutex<Documents>>,
}

/// A twin with its document read.
#[derive(Clone)]
pub struct Loaded {
    pub twin: Twin,
    pub document: Arc<Document>,
}

impl Engine {
    pub fn new(ctx: &ServiceContext) -> Result<Engine, url::ParseError> {
        Ok(Engine {
            store: ctx.store.clone(),
            client: ctx.client.clone(),
            tasks: ctx.tasks.clone(),
            identity: ctx.identity.clone(),
            absent: Absent::new(&ctx.identity),
            lake: Url::parse(&ctx.url_of("/rucio"))?,
            interlink: Url::parse(&ctx.url_of("/interlink"))?,
            documents: Arc::default(),
        })
    }

    /// The twin of this name with its document, also when it is deleted.
    pub async fn load(&self, name: &str) -> Result<Option<Loaded>, Failure> {
        let wanted = name.to_owned();
        let twin = self.store.read(move |tx| twins::get(tx, &wanted)).await.map_err(Failure::Store)?;
        twin.map(|twin| Ok(Loaded { document: self.document(&twin)?, twin })).transpose()
    }

    /// As [`Engine::load`], within a transaction.
    pub fn load_in(&self, tx: &mut Tx<'_>, name: &str) -> Result<Option<Loaded>, dte_store::Error> {
        let Some(twin) = twins::get(tx, name)? else { return Ok(None) };
        let document = self.document(&twin).map_err(|error| dte_store::Error::Effect(error.to_string()))?;
        Ok(Some(Loaded { twin, document }))
    }

    /// The document of a twin, read once for each version.
    pub fn document(&self, twin: &Twin) -> Result<Arc<Document>, Mistake> {
        let key = (twin.name.clone(), twin.version);
        if let Some(known) = self.documents.lock().get(&key) {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(Document::parse(&twin.document)?);
        let mut documents = self.documents.lock();
        if documents.len() >= MOST_DOCUMENTS {
            documents.clear();
        }
        documents.insert(key, Arc::clone(&read));
        Ok(read)
    }

    /// A token to act for an owner with these scopes; none is all rights of the owner.
    pub fn token(&self, owner: &UserRef, scopes: &[&str]) -> Result<Secret, Failure> {
        Ok(self.identity.acting_token(owner, ACTING, scopes, None)?)
    }

    /// The data lake as an owner, to register and look up data.
    pub fn lake(&self, owner: &UserRef) -> Result<LakeClient, Failure> {
        Ok(LakeClient::new(self.client.clone(), self.lake.clone(), self.token(owner, DATA_SCOPES)?))
    }

    /// The data lake with all rights of an owner, to make scopes and rules.
    pub fn whole_lake(&self, owner: &UserRef) -> Result<LakeClient, Failure> {
        Ok(LakeClient::new(self.client.clone(), self.lake.clone(), self.token(owner, &[])?))
    }

    /// Whoever runs pods, as somebody.
    pub fn interlink(&self, owner: &UserRef) -> Result<InterlinkClient, Failure> {
        let token = self.token(owner, COMPUTE_SCOPES)?;
        Ok(InterlinkClient::new(self.client.clone(), &self.interlink, Some(token)))
    }

    /// Another path of the data lake's API.
    pub fn lake_url(&self, path: &str) -> String {
        format!("{}/{path}", self.lake.as_str().trim_end_matches('/'))
    }

    /// The URL of a path of this engine.
    pub fn url_of(&self, path: &str) -> String {
        self.client.url_of(path)
    }

    /// Writes a file to where it belongs at a storage element. Writing the same bytes again changes nothing.
    pub async fn upload(
        &self,
        lake: &LakeClient,
        owner: &UserRef,
        rse: &str,
        did: &Did,
        bytes: bytes::Bytes,
    ) -> Result<(), Failure> {
        let pfn = lake.pfn(rse, did).await?;
        let token = self.storage_token(owner, &pfn)?;
        let adler32 = format!("{:08x}", simd_adler32::adler32(&bytes.as_ref()));
        let reply = self
            .client
            .put(web_url(&pfn))
            .bearer(&token)
            .header("Digest", format!("adler32={adler32}"))
            .timeout(FILE_TIMEOUT)
            .bytes(bytes)
            .send()
            .await?;
        reply.ok().await?;
        Ok(())
    }

    /// Reads a file of the data lake, at most `limit` bytes.
    pub async fn download(
        &self,
        lake: &LakeClient,
        owner: &UserRef,
        did: &Did,
        limit: usize,
    ) -> Result<bytes::Bytes, Failure> {
        let found = lake.list_replicas(std::slice::from_ref(did)).await?;
        let pfn = found.first().and_then(|entry| entry.best_pfn()).map(str::to_owned);
        let pfn = pfn.ok_or_else(|| Failure::Other(format!("there is no copy of {did}")))?;
        let token = self.storage_token(owner, &pfn)?;
        let reply = self.client.get(web_url(&pfn)).bearer(&token).timeout(FILE_TIMEOUT).follow(3).send().await?;
        Ok(reply.ok().await?.bytes(limit).await?)
    }

    /// A token for the storage area that holds `pfn`, and no other.
    fn storage_token(&self, owner: &UserRef, pfn: &str) -> Result<Secret, Failure> {
        let area = area_of(pfn);
        let scopes =
            [format!("storage.read:{area}"), format!("storage.create:{area}"), format!("storage.modify:{area}")];
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        self.token(owner, &scopes)
    }
}

/// The web URL of a PFN: WebDAV has schemes of its own in the lake.
fn web_url(pfn: &str) -> String {
    match pfn.split_once("://") {
        Some(("davs", rest)) => format!("https://{rest}"),
        Some(("dav", rest)) => format!("http://{rest}"),
        _ => pfn.to_owned(),
    }
}

/// The storage area of a PFN as token scopes name it: `/local` of `…/dav/local/…`; everything where that is not to be seen.
fn area_of(pfn: &str) -> String {
    let area = pfn
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .and_then(|(_, path)| path.strip_prefix("dav/"))
        .and_then(|path| path.split('/').next())
        .filter(|area| !area.is_empty() && area.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
    area.map_or_else(|| "/".to_owned(), |area| format!("/{area}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pfns() {
        assert_eq!(area_of("http://127.0.0.1:8990/dav/local/enso/ab/cd/x.csv"), "/local");
        assert_eq!(area_of("davs://h/dav/home/admin/x"), "/home");
        assert_eq!(area_of("davs://h/store/x"), "/");
        assert_eq!(web_url("davs://h:443/dav/x"), "https://h:443/dav/x");
        assert_eq!(web_url("http://h/dav/x"), "http://h/dav/x");
    }
}
