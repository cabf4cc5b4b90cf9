//! An edge on a temporary folder, and requests to it.
#![allow(dead_code)]

use std::path::PathBuf;

use dte_base::secret::Secret;
use dte_edge::Service;
use dte_http::{Reply, RequestBuilder};
use dte_identity::testing::{TestEngine, TestSetup};
use http::Method;

pub struct Scene {
    pub engine: TestEngine,
    pub admin: Secret,
}

impl Scene {
    pub async fn new() -> Scene {
        Scene::with("[edge]\nfsync = false\n").await
    }

    pub async fn with(config: &str) -> Scene {
        Scene::start(TestSetup::config(config)).await
    }

    pub async fn start(setup: TestSetup) -> Scene {
        let engine = TestEngine::start_with(setup, async |ctx| {
            let service = Service::open(ctx.for_service(Service::NAME)).await?;
            Ok(service.mounts())
        })
        .await;
        let admin = engine.admin_token();
        Scene { engine, admin }
    }

    /// The folder of an area.
    pub fn folder(&self, area: &str) -> PathBuf {
        self.engine.data_dir().join("storage").join(area)
    }

    pub fn url(&self, path: &str) -> String {
        self.engine.url_of(&format!("/dav{path}"))
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.request_as(&self.admin, method, path)
    }

    pub fn request_as(&self, token: &Secret, method: &str, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer(token)
    }

    pub fn anonymous(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.engine.client.request(method, self.url(path))
    }

    /// Sends and gives the status.
    pub async fn status(&self, method: &str, path: &str) -> u16 {
        status(self.request(method, path)).await
    }

    pub async fn put(&self, path: &str, content: &'static [u8]) -> u16 {
        status(self.request("PUT", path).bytes(content)).await
    }

    pub async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let reply = self.request("GET", path).send().await.expect("an answer");
        (reply.status.as_u16(), content(reply).await)
    }

    /// What clients see in a folder.
    pub async fn names(&self, path: &str) -> Vec<String> {
        let reply = self.request("PROPFIND", path).header("depth", "1").send().await.expect("an answer");
        assert_eq!(reply.status, 207);
        let found = dte_protocol_webdav::multistatus::parse(&reply.text().await.expect("text")).expect("reads");
        found.iter().skip(1).filter_map(|resource| resource.path.name().map(str::to_owned)).collect()
    }

    /// Files that are half-written at this moment.
    pub fn hidden(&self, area: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for engine in std::fs::read_dir(self.folder(area).join(".dte-tmp")).expect("lists").flatten() {
            // Beside the engines' folders is the file with the locks.
            if engine.path().is_dir() {
                found.extend(std::fs::read_dir(engine.path()).expect("lists").flatten().map(|entry| entry.path()));
            }
        }
        found
    }
}

pub async fn status(request: RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status.as_u16()
}

pub async fn content(reply: Reply) -> Vec<u8> {
    reply.bytes(64 << 20).await.expect("a body").to_vec()
}
