//! The `kubernetes` plugin against a real API server, whose only node is a virtual kubelet of ours. The cluster is started by
//! `conformance/kubernetes-site/run.sh`, which names it in `DTE_TEST_KUBECONFIG`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dte_base::id::new_id;
use dte_base::tasks::Tasks;
use dte_base::units::Span;
use dte_compute::kubernetes::{KubernetesConfig, KubernetesSite};
use dte_compute::logs::LogQuery;
use dte_compute::pod::PodPlan;
use dte_compute::site::Cancellation;
use dte_compute::{ExecInput, ExecOrder, ExecOutput, Phase, PodReport, Site, SiteContext, SiteError};
use dte_protocol_interlink::PodCreateRequests;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

struct Engine {
    site: Arc<KubernetesSite>,
    tasks: Tasks,
}

fn config(kubeconfig: &str) -> KubernetesConfig {
    KubernetesConfig {
        name: "there".into(),
        kubeconfig: Some(kubeconfig.into()),
        namespace: "default".into(),
        node_selector: BTreeMap::from([("kubernetes.io/hostname".into(), "dte-host".into())]),
        tolerations: vec!["virtual-node.interlink/no-schedule".into()],
        images: vec!["host".into()],
        stuck_for: Span(Duration::from_secs(3)),
        ..KubernetesConfig::default()
    }
}

impl Engine {
    async fn start(config: KubernetesConfig, data_dir: &Path) -> Engine {
        let tasks = Tasks::new();
        let context = SiteContext { data_dir: data_dir.to_path_buf(), sockets: Vec::new(), tasks: tasks.clone() };
        let site = KubernetesSite::open(config, &context).await.expect("the site");
        Engine { site, tasks }
    }

    async fn stop(self) {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(5)).await);
    }

    async fn submit(&self, uid: Uuid, spec: Value) -> Result<(), SiteError> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "uid": uid.to_string()}, "spec": spec});
        let request: PodCreateRequests = serde_json::from_value(json!({"pod": pod})).expect("a request");
        let typed: Pod = serde_json::from_value(pod).expect("a pod");
        let plan = PodPlan::read(&typed).expect("a plan");
        self.site.prepare(uid).await.expect("prepared");
        self.site.submit_request(&request, &plan).await
    }

    async fn begin(&self, script: &str) -> Uuid {
        let uid = new_id();
        self.submit(uid, spec(script)).await.expect("submitted");
        uid
    }

    async fn until(&self, uid: Uuid, what: &str, is_so: impl Fn(&PodReport) -> bool) -> PodReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.site.status(&[uid]).await.expect("status").remove(0);
            if is_so(&report) {
                return report;
            }
            assert!(Instant::now() < deadline, "not {what}: {report:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn finish(&self, uid: Uuid) -> PodReport {
        self.until(uid, "ended", |report| report.phase.is_terminal()).await
    }

    async fn running(&self, uid: Uuid) {
        self.until(uid, "running", |report| report.containers[0].ready).await;
    }

    async fn log(&self, uid: Uuid, from: u64) -> (String, u64, bool) {
        let chunk = self.site.log(uid, None, from).await.expect("a log");
        (String::from_utf8(LogQuery::default().render(&chunk.lines)).expect("text"), chunk.next, chunk.complete)
    }
}

fn spec(script: &str) -> Value {
    json!({"containers": [{"name": "main", "image": "host", "command": ["/bin/sh", "-c"], "args": [script]}],
           "terminationGracePeriodSeconds": 2})
}

fn cancelled(reason: &str) -> Cancellation {
    Cancellation { reason: reason.into(), grace: Some(Duration::from_secs(2)) }
}

async fn client(kubeconfig: &str) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_in_a_real_cluster() {
    let Ok(kubeconfig) = std::env::var("DTE_TEST_KUBECONFIG") else {
        println!("SKIPPED pods_in_a_real_cluster: it needs a cluster; run conformance/kubernetes-site/run.sh");
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = client(&kubeconfig).await;
    let engine = Engine::start(config(&kubeconfig), dir.path()).await;
    let capacity = engine.site.capacity().await.expect("capacity");
    assert!(capacity.cpu_millis > 0 && capacity.pods > 0, "{capacity:?}");
    tokio::join!(
        life_cycle(&engine, &cluster),
        volumes(&engine, &cluster),
        logs_that_follow(&engine),
        ended_before_its_time(&engine),
        deleted_by_somebody_else(&engine, &cluster),
        programs(&engine),
        what_is_refused(&engine, &cluster),
    );
    adopted(engine, &kubeconfig, dir.path(), &cluster).await;
    println!("pods_in_a_real_cluster: all scenarios held");
}

async fn life_cycle(engine: &Engine, cluster: &Client) {
    let mut ended = engine.site.ended();
    let uid = new_id();
    let hostile = "it's \"$(B)\" $HOME `id` $(id)\nsecond";
    let pod = json!({"restartPolicy": "Never", "initContainers": [{"name": "first", "image": "host", "command": ["/bin/sh", "-c", "echo ready"]}],
        "containers": [{"name": "main", "image": "host", "command": ["/bin/sh", "-c", "echo \"$A\"; exit 3"], "env": [{"name": "A", "value": hostile}],
                        "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}]});
    engine.submit(uid, pod.clone()).await.expect("submitted");
    engine.submit(uid, pod.clone()).await.expect("submitted again");
    let report = engine.finish(uid).await;
    assert_eq!((report.phase, report.exit_code(), report.reason.as_deref()), (Phase::Failed, Some(3), Some("Error")));
    assert_eq!(report.init_containers[0].state.exit_code(), Some(0));
    while ended.recv().await.expect("an end") != uid {}
    let (log, _, complete) = engine.log(uid, 0).await;
    assert_eq!((log.as_str(), complete), (format!("{hostile}\n").as_str(), true));
    engine.submit(uid, pod).await.expect("it is not run again");
    engine.site.remove(uid).await.expect("removed");
    assert!(engine.site.status(&[uid]).await.expect("status").is_empty());
    let left = Api::<Pod>::default_namespaced(cluster.clone()).get_opt(&format!("dte-{uid}")).await.expect("an answer");
    assert!(left.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()));
    let good = engine.begin("exit 0").await;
    assert_eq!(engine.finish(good).await.phase, Phase::Succeeded);
}

async fn volumes(engine: &Engine, cluster: &Client) {
    let uid = new_id();
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": uid.to_string()}, "spec": {
        "volumes": [{"name": "v", "configMap": {"name": "c"}}, {"name": "s", "secret": {"secretName": "k"}}, {"name": "e", "emptyDir": {}}],
        "containers": [{"name": "main", "image": "host", "command": ["/bin/sh", "-c", "cat /v/text /s/key && touch /e/x && ls /e"],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "s", "mountPath": "/s"}, {"name": "e", "mountPath": "/e"}]}]}});
    let request: PodCreateRequests = serde_json::from_value(json!({"pod": pod,
        "configmaps": [{"metadata": {"name": "c"}, "data": {"text": "some $(text) `id`\n"}}],
        "secrets": [{"metadata": {"name": "k"}, "data": {"key": "c2VjcmV0Cg=="}}]}))
    .expect("a request");
    let typed: Pod = serde_json::from_value(pod).expect("a pod");
    let parts = dte_compute::pod::Request {
        config_maps: &request.configmaps,
        secrets: &request.secrets,
        ..dte_compute::pod::Request::from(&typed)
    };
    let plan = PodPlan::read(parts).expect("a plan");
    engine.site.prepare(uid).await.expect("prepared");
    engine.site.submit_request(&request, &plan).await.expect("submitted");
    let report = engine.finish(uid).await;
    assert_eq!(engine.log(uid, 0).await.0, "some $(text) `id`\nsecret\nx\n", "{report:?}");
    assert_eq!(report.phase, Phase::Succeeded);
    engine.site.remove(uid).await.expect("removed");
    let left =
        Api::<Secret>::default_namespaced(cluster.clone()).get_opt(&format!("dte-{uid}")).await.expect("an answer");
    assert!(left.is_none(), "the files of its volumes are gone");
}

async fn logs_that_follow(engine: &Engine) {
    let uid = engine.begin("for n in $(seq 1 90); do echo line $n; sleep 0.05; done; printf end").await;
    let (mut seen, mut from, mut pieces) = (String::new(), 0, 0);
    loop {
        let (text, next, complete) = engine.log(uid, from).await;
        pieces += usize::from(!text.is_empty());
        seen.push_str(&text);
        from = next;
        if complete {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // Over several seconds: what is read again is recognised.
    let wanted: String = (1..=90).map(|n| format!("line {n}\n")).chain(["end".to_owned()]).collect();
    assert_eq!(seen.trim_end(), wanted);
    assert!(pieces > 1, "the log came in one piece");
}

async fn ended_before_its_time(engine: &Engine) {
    let polite = engine.begin("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done").await;
    engine.running(polite).await;
    while engine.log(polite, 0).await.0.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(matches!(engine.site.remove(polite).await, Err(SiteError::Refused(_))));
    engine.site.cancel(polite, &cancelled("Cancelled")).await.expect("cancelled");
    let report = engine.finish(polite).await;
    // A virtual kubelet does not say with which code a pod that was deleted ended.
    assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Cancelled")));
    assert_ne!(report.exit_code(), Some(0));
    let (said, ..) = engine.log(polite, 0).await;
    assert!(said.starts_with("up\n") && said.ends_with("bye\n"), "{said}");
    engine.site.cancel(polite, &cancelled("Again")).await.expect("left alone");
    assert_eq!(engine.finish(polite).await.reason.as_deref(), Some("Cancelled"));
    engine.site.remove(polite).await.expect("removed");
}

async fn deleted_by_somebody_else(engine: &Engine, cluster: &Client) {
    let uid = engine.begin("while :; do sleep 0.1; done").await;
    engine.running(uid).await;
    let pods = Api::<Pod>::default_namespaced(cluster.clone());
    pods.delete(&format!("dte-{uid}"), &DeleteParams::default()).await.expect("deleted");
    let report = engine.finish(uid).await;
    assert_eq!(report.phase, Phase::Failed);
    assert_ne!(report.exit_code(), Some(0), "{report:?}");
}

async fn programs(engine: &Engine) {
    let uid = engine.begin("while :; do sleep 0.1; done").await;
    engine.running(uid).await;
    let order = ExecOrder {
        uid,
        container: None,
        argv: ["/bin/sh", "-c", "cat; echo \"$0\" >&2; exit 5", "it's $(id)"].map(str::to_owned).to_vec(),
        stdin: true,
        tty: false,
    };
    let mut session = engine.site.exec(&order).await.expect("a program");
    session.input.send(ExecInput::Stdin(b"typed\n".to_vec())).await.expect("sent");
    session.input.send(ExecInput::StdinEnd).await.expect("sent");
    let (mut out, mut err, mut code) = (Vec::new(), Vec::new(), None);
    while let Ok(Some(said)) = tokio::time::timeout(PATIENCE, session.output.recv()).await {
        match said {
            ExecOutput::Stdout(bytes) => out.extend(bytes),
            ExecOutput::Stderr(bytes) => err.extend(bytes),
            ExecOutput::Exit { exit_code } => code = Some(exit_code),
            ExecOutput::StdoutEnd => {}
            ExecOutput::Failed { message } => panic!("{message}"),
        }
    }
    assert_eq!(
        (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err)),
        ("typed\n".into(), "it's $(id)\n".into())
    );
    assert_eq!(code, Some(5));
    engine.site.cancel(uid, &cancelled("Cancelled")).await.expect("cancelled");
    engine.finish(uid).await;
}

async fn what_is_refused(engine: &Engine, cluster: &Client) {
    let mut strange = spec("exit 0");
    strange["containers"][0]["image"] = json!("docker.io/library/x");
    let uid = new_id();
    assert!(matches!(engine.submit(uid, strange).await, Err(SiteError::Refused(why)) if why.contains("image")));
    // What only the API server finds wrong.
    let mut wrong = spec("exit 0");
    wrong["containers"][0]["resources"] = json!({"limits": {"cpu": "100m"}, "requests": {"cpu": "200m"}});
    let other = new_id();
    let answer = engine.submit(other, wrong).await;
    assert!(matches!(&answer, Err(SiteError::Refused(_))), "{answer:?}");
    engine.site.remove(other).await.expect("nothing of it is left");
    let pods = Api::<Pod>::default_namespaced(cluster.clone());
    for uid in [uid, other] {
        let found = pods.list(&ListParams::default().labels(&format!("dte.pod-uid={uid}"))).await.expect("a list");
        assert!(found.items.is_empty());
    }
}

/// Another engine goes on with what the first began, also with what ended meanwhile.
async fn adopted(engine: Engine, kubeconfig: &str, data_dir: &Path, cluster: &Client) {
    let mut uids = Vec::new();
    for n in 0..5 {
        uids.push(engine.begin(&format!("sleep {n}; echo {n}; exit {n}")).await);
    }
    let gone = engine.begin("sleep 60").await;
    engine.running(gone).await;
    engine.stop().await;
    let pods = Api::<Pod>::default_namespaced(cluster.clone());
    pods.delete(&format!("dte-{gone}"), &DeleteParams::default()).await.expect("deleted");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let engine = Engine::start(config(kubeconfig), data_dir).await;
    for (n, uid) in uids.iter().enumerate() {
        let report = engine.finish(*uid).await;
        assert_eq!(report.exit_code(), i32::try_from(n).ok(), "{report:?}");
        assert_eq!(engine.log(*uid, 0).await.0, format!("{n}\n"));
        engine.site.remove(*uid).await.expect("removed");
    }
    let report = engine.finish(gone).await;
    assert_eq!(report.phase, Phase::Failed);
    assert_ne!(report.exit_code(), Some(0), "{report:?}");
    engine.stop().await;
}
