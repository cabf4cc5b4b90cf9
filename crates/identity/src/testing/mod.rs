//! An engine for tests: services on a temporary store, called in memory, with tokens good and bad.
//!
//! ```no_run
//! # use dte_identity::testing::TestEngine;
//! # use dte_identity::{Mount, Require, Routes};
//! # async fn example() {
//! let engine = TestEngine::start(async |ctx| {
//!     let hello = Routes::new("hello").get("/", Require::Authenticated, async || "hello");
//!     Ok(vec![Mount { prefix: "/hello", routes: hello }])
//! })
//! .await;
//! let reply = engine.client.get(engine.url_of("/hello")).bearer(&engine.admin_token()).send().await.expect("an answer");
//! assert_eq!(reply.status, 200);
//! # }
//! ```

pub mod parsers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dte_base::config::Document;
use dte_base::secret::Secret;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_http::{Assembly, Client, Front, HttpConfig, ListenConfig, Listeners, ServerHandle};
use dte_store::Store;
use dte_store::testing::TemporaryStore;
use serde_json::{Map, Value, json};
use url::Url;

use crate::context::{Foundation, OpenError, ServiceContext};
use crate::keys::SigningKey;
use crate::model::principal::UserRef;
use crate::{FIRST_ADMIN, Identity, Mount};

/// Services on a temporary store. Nothing listens until [`TestEngine::listen`].
///
/// Failures panic: it is for tests.
pub struct TestEngine {
    /// The public URL; its port is reserved, so that it is true once the engine listens.
    pub url: Url,
    /// Calls the services in memory.
    pub client: Client,
    pub store: Store,
    pub identity: Identity,
    pub tasks: Tasks,
    pub data_dir: PathBuf,
    /// What a service would get.
    pub context: ServiceContext,
    front: Front,
    http: HttpConfig,
    listeners: std::sync::Mutex<Option<Listeners>>,
    _store: Option<TemporaryStore>,
    _folder: Folder,
}

/// Removed when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What kind of engine a test wants.
#[derive(Default)]
pub struct TestSetup {
    /// TOML, as in `dte.toml`.
    pub config: String,
    /// Default: SQLite in a temporary folder.
    pub store: Option<TemporaryStore>,
    /// A further clone of a store that the test keeps, for engines that share one or come back.
    pub shared_store: Option<Store>,
    /// Default: a temporary folder, removed at the end. One that is given stays.
    pub data_dir: Option<PathBuf>,
}

impl TestSetup {
    pub fn config(text: &str) -> Self {
        TestSetup { config: text.to_owned(), ..TestSetup::default() }
    }
}

impl TestEngine {
    /// Opens services with default settings. The closure opens them and gives their mounts.
    pub async fn start<F, Fut>(open: F) -> TestEngine
    where
        F: FnOnce(ServiceContext) -> Fut,
        Fut: Future<Output = Result<Vec<Mount>, OpenError>>,
    {
        TestEngine::start_with(TestSetup::default(), open).await
    }

    /// Opens services with the settings of `setup`.
    pub async fn start_with<F, Fut>(setup: TestSetup, open: F) -> TestEngine
    where
        F: FnOnce(ServiceContext) -> Fut,
        Fut: Future<Output = Result<Vec<Mount>, OpenError>>,
    {
        match TestEngine::try_start(setup, open).await {
            Ok(engine) => engine,
            Err(error) => panic!("the test engine does not start: {error}"),
        }
    }

    /// Opens services; for tests of what does not open.
    pub async fn try_start<F, Fut>(setup: TestSetup, open: F) -> Result<TestEngine, OpenError>
    where
        F: FnOnce(ServiceContext) -> Fut,
        Fut: Future<Output = Result<Vec<Mount>, OpenError>>,
    {
        let temporary = std::env::temp_dir().join(format!("dte-test-{}", dte_base::id::new_id()));
        std::fs::create_dir_all(&temporary)?;
        let folder = Folder(temporary.clone());
        let data_dir = setup.data_dir.unwrap_or(temporary);
        let kept = match (setup.store, &setup.shared_store) {
            (None, None) => Some(dte_store::testing::temporary().await?),
            (given, _) => given,
        };
        let store = match (&kept, setup.shared_store) {
            (_, Some(shared)) => shared,
            (Some(kept), None) => Store::clone(kept),
            (None, None) => return Err(OpenError::other("there is no store")),
        };
        let config = Document::parse(&setup.config, None)?;
        let http: HttpConfig = config.section("http")?;
        let mut listen: ListenConfig = config.section("listen")?;
        listen.0.entry("address".to_owned()).or_insert_with(|| std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let listeners = Listeners::bind(&listen, &http).map_err(OpenError::other)?;
        let url = http.public_url.clone().unwrap_or_else(|| listeners.main_url());
        let client = Client::new(&http, url.clone());
        let tasks = Tasks::new();
        let foundation = Foundation {
            store: store.clone(),
            client: client.clone(),
            tasks: tasks.clone(),
            config: Arc::new(config),
            data_dir: data_dir.clone(),
            public_url: url.clone(),
        };
        let identity = Identity::open(&foundation).await?;
        let context = foundation.context(&identity);
        let mounts = open(context.clone()).await?;
        let assembly = identity.assemble(identity.mounts().into_iter().chain(mounts), Assembly::new());
        let front = assembly.build(&http).map_err(OpenError::other)?;
        client.attach(front.clone(), &listeners.addresses());
        Ok(TestEngine {
            url,
            client,
            store,
            identity,
            tasks,
            data_dir,
            context,
            front,
            http,
            listeners: std::sync::Mutex::new(Some(listeners)),
            _store: kept,
            _folder: folder,
        })
    }

    /// The public URL with a path.
    pub fn url_of(&self, path: &str) -> String {
        self.client.url_of(path)
    }

    /// Begins to accept connections at the public URL, for real clients.
    pub fn listen(&self) -> ServerHandle {
        let listeners = self.listeners.lock().expect("not poisoned").take().expect("it listens once");
        listeners.serve(&self.front, &self.url, &self.http).expect("it listens")
    }

    /// A token with all rights of `admin`.
    pub fn admin_token(&self) -> Secret {
        self.token_of(FIRST_ADMIN, &[])
    }

    /// A token of a local account; the account is made when there is none. No scopes: all rights of the account.
    pub async fn token_for(&self, user: &str, scopes: &[&str]) -> Secret {
        match self.identity.add_user(user, false, "test").await {
            Ok(_) | Err(crate::Error::Taken(_)) => {}
            Err(error) => panic!("no account {user}: {error}"),
        }
        self.token_of(user, scopes)
    }

    fn token_of(&self, user: &str, scopes: &[&str]) -> Secret {
        let issued = self.identity.issue_token(user, scopes, None, Duration::from_secs(3_600), "test");
        issued.expect("a token")
    }

    /// A local account as an owner.
    pub fn user_ref(&self, user: &str) -> UserRef {
        self.identity.user_ref(user)
    }

    /// Tokens that nobody may accept, with what is wrong with each.
    pub fn hostile_tokens(&self) -> Vec<(&'static str, Secret)> {
        hostile_tokens(&self.identity)
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Stops background tasks and waits for them.
    pub async fn stop(&self) -> bool {
        self.client.detach();
        self.tasks.stop_and_wait(Duration::from_secs(10)).await
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        // The client holds the services and they hold the client; without this neither would go.
        self.client.detach();
        self.tasks.stop();
    }
}

/// Good claims of an administrator's token, to be spoilt.
fn good_claims(identity: &Identity) -> Map<String, Value> {
    let now = Timestamp::now().as_seconds();
    let claims = json!({
        "iss": identity.issuer(), "sub": FIRST_ADMIN, "aud": identity.audience(), "iat": now, "nbf": now, "exp": now + 600,
        "jti": dte_base::id::new_id().to_string(), "wlcg.ver": "1.0", "scope": "wlcg", "client_id": "dte",
    });
    claims.as_object().cloned().unwrap_or_default()
}

/// A token signed with our own key but with claims changed; null removes a claim.
pub fn forged_token(identity: &Identity, changes: &Value) -> Secret {
    let mut claims = good_claims(identity);
    for (name, value) in changes.as_object().into_iter().flatten() {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    let keys = identity.0.keys.read().clone();
    Secret::new(keys.signing().expect("a key").sign(&claims).expect("signed"))
}

/// Tokens that nobody may accept, with what is wrong with each.
pub fn hostile_tokens(identity: &Identity) -> Vec<(&'static str, Secret)> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    let now = Timestamp::now().as_seconds();
    let mut tokens: Vec<(&'static str, Secret)> = [
        ("unknown issuer", json!({"iss": "https://evil.example"})),
        ("issuer with a slash more", json!({"iss": format!("{}/", identity.issuer())})),
        ("expired", json!({"exp": now - 1})),
        ("expires as text", json!({"exp": (now + 600).to_string()})),
        ("expires as a fraction", json!({"exp": 1e18})),
        ("never expires", json!({"exp": null})),
        ("not valid yet", json!({"nbf": now + 600})),
        ("wrong audience", json!({"aud": "https://elsewhere.example"})),
        ("no audience", json!({"aud": null})),
        ("longer audience", json!({"aud": format!("{}.evil.example", identity.audience())})),
        ("unknown profile version", json!({"wlcg.ver": "2.0"})),
        ("no subject", json!({"sub": null})),
        ("unknown account", json!({"sub": "nobody"})),
        ("ID token", json!({"nonce": "n"})),
        ("storage scope without a path", json!({"scope": "storage.read"})),
        ("storage scope with dots", json!({"scope": "storage.modify:/a/../.."})),
    ]
    .into_iter()
    .map(|(name, changes)| (name, forged_token(identity, &changes)))
    .collect();
    let good = forged_token(identity, &json!({}));
    let good = good.expose();
    let (message, signature) = good.rsplit_once('.').expect("a token");
    let (header, body) = message.split_once('.').expect("a token");
    let (foreign, _) = SigningKey::generate().expect("a key");
    let signed_by_foreign = foreign.sign(&good_claims(identity)).expect("signed");
    let (foreign_message, foreign_signature) = signed_by_foreign.rsplit_once('.').expect("a token");
    let kid = identity.0.keys.read().signing().expect("a key").kid.clone();
    let with_header = |header: Value| format!("{}.{body}.{signature}", B64.encode(header.to_string()));
    let spoilt = B64.encode(json!({"iss": identity.issuer(), "sub": "admin", "exp": now + 600}).to_string());
    let more = [
        ("foreign key", signed_by_foreign.clone()),
        ("signature of another key", format!("{message}.{foreign_signature}")),
        ("changed claims", format!("{header}.{spoilt}.{signature}")),
        ("no signature", format!("{message}.")),
        ("algorithm none", format!("{}.{body}.", B64.encode(r#"{"alg":"none"}"#))),
        ("shared secret", with_header(json!({"alg": "HS256", "kid": kid}))),
        ("algorithm that does not fit the key", with_header(json!({"alg": "RS256", "kid": kid}))),
        ("no key id", with_header(json!({"alg": "ES256"}))),
        ("key id of a path", with_header(json!({"alg": "ES256", "kid": "../../secret.key"}))),
        ("key in the header", {
            let header =
                json!({"alg": "ES256", "kid": foreign.kid, "jwk": foreign.jwk(), "jku": "http://127.0.0.1:1/jwk"});
            let body = foreign_message.split_once('.').expect("a token").1;
            format!("{}.{body}.{foreign_signature}", B64.encode(header.to_string()))
        }),
        ("opaque", "0123456789abcdef".to_owned()),
        ("empty", String::new()),
        ("too long", format!("{message}.{}", "A".repeat(20_000))),
    ];
    tokens.extend(more.map(|(name, text)| (name, Secret::new(text))));
    tokens
}
