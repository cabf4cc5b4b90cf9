//! A host site with real processes, for the tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::tasks::Tasks;
use dte_compute::host::{HostConfig, HostSite};
use dte_compute::logs::LogQuery;
use dte_compute::pod::{ContainerPlan, PodPlan};
use dte_compute::{PodReport, Site, SiteContext};
use uuid::Uuid;

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub config: HostConfig,
    pub tasks: Tasks,
    pub site: Arc<HostSite>,
}

impl Bench {
    pub async fn with(config: HostConfig) -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let tasks = Tasks::new();
        let context = SiteContext { data_dir: dir.path().join("data"), sockets: Vec::new(), tasks: tasks.clone() };
        let site = HostSite::open(config.clone(), &context).await.expect("the site");
        Bench { dir, config, tasks, site }
    }

    /// The engine stops and another one starts on the same data.
    pub async fn reopen(mut self) -> Bench {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(2)).await);
        self.tasks = Tasks::new();
        let context =
            SiteContext { data_dir: self.dir.path().join("data"), sockets: Vec::new(), tasks: self.tasks.clone() };
        self.site = HostSite::open(self.config.clone(), &context).await.expect("the site again");
        self
    }

    pub fn holds(&self) -> bool {
        self.site.capabilities().sandbox.holds()
    }

    pub async fn start(&self, plan: &PodPlan) {
        self.site.prepare(plan.uid).await.expect("prepared");
        self.site.submit(plan).await.expect("submitted");
    }

    pub async fn report(&self, uid: Uuid) -> PodReport {
        self.site.status(&[uid]).await.expect("status").remove(0)
    }

    pub async fn finish(&self, uid: Uuid) -> PodReport {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let report = self.report(uid).await;
            if report.phase.is_terminal() {
                return report;
            }
            assert!(Instant::now() < deadline, "still {report:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn run(&self, plan: &PodPlan) -> PodReport {
        self.start(plan).await;
        self.finish(plan.uid).await
    }

    pub async fn log(&self, uid: Uuid) -> String {
        let chunk = self.site.log(uid, None, 0).await.expect("log");
        String::from_utf8(LogQuery::default().render(&chunk.lines)).expect("text")
    }
}

pub fn container(name: &str, argv: &[&str]) -> ContainerPlan {
    ContainerPlan {
        name: name.into(),
        image: "host".into(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        ..ContainerPlan::default()
    }
}

pub fn script(text: &str) -> PodPlan {
    PodPlan {
        uid: new_id(),
        namespace: "default".into(),
        name: "p".into(),
        containers: vec![container("main", &["/bin/sh", "-c", text])],
        ..PodPlan::default()
    }
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
