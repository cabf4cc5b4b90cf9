//! The wire: clumsy requests, logs, programs over a web socket.

use std::time::Duration;

use dte_base::id::new_id;
use dte_base::secret::Secret;
use dte_protocol_interlink::phase::Phase;
use dte_protocol_interlink::{LogOptions, PodCreateRequests, RawPod};
use http::Method;
use serde_json::{Value, json};

use crate::bench::{Bench, annotate, pod};

#[tokio::test]
async fn clumsy_requests() {
    let bench = Bench::new().await;
    let send = async |method: Method, path: &str, body: &str| {
        let url = bench.engine.url_of(&format!("/interlink/{path}"));
        let request = bench.engine.client.request(method, url).bearer(&bench.engine.admin_token());
        let reply = request.bytes(body.to_owned()).send().await.expect("an answer");
        (reply.status.as_u16(), reply.text().await.expect("text"))
    };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut pod = pod("true");
        change(&mut pod);
        json!({"pod": pod, "configmaps": null, "secrets": null, "projectedvolumesmaps": null, "jobscriptURL": ""})
            .to_string()
    };
    for (body, words) in [
        ("{".to_owned(), "invalid request body"),
        ("[1]".to_owned(), "not a pod"),
        ("null".to_owned(), "not a pod"),
        (with(&|pod| pod["metadata"]["uid"] = json!("../../etc")), "not a UUID"),
        (with(&|pod| pod["spec"]["nodeSelector"]["dte.site"] = json!("moon")), "no site \"moon\""),
        (with(&|pod| pod["spec"]["containers"][0]["image"] = json!("alpine")), "host"),
        (with(&|pod| pod["metadata"]["annotations"]["dte.io/inputs"] = json!("[{")), "dte.io/inputs"),
        (with(&|pod| annotate(pod, "dte.io/outputs", json!([{"path": "../x", "did": "s:n", "rse": "R"}]))), "dots"),
        (with(&|pod| pod["spec"]["containers"] = json!([])), "no containers"),
    ] {
        let (status, text) = send(Method::POST, "create", &body).await;
        assert!(status == 400 && text.contains(words), "{body}: {status} {text}");
    }
    let good = with(&|_| {});
    assert_eq!(send(Method::PUT, "create", &good).await.0, 200, "any method, as upstream");
    assert_eq!(send(Method::GET, "status", "null").await.0, 200);
    assert_eq!(send(Method::GET, "status", "7").await.0, 400);
    assert_eq!(
        send(Method::GET, "getLogs", "{}").await,
        (400, "invalid namespace: must be a valid DNS label\n".to_owned())
    );
    assert_eq!(send(Method::DELETE, "delete", "{}").await.0, 400);
    assert_eq!(send(Method::POST, "updateCache", &new_id().to_string()).await, (200, "Updated cache".to_owned()));
    assert_eq!(send(Method::POST, "ping", "").await, (200, "0".to_owned()));
    assert_eq!(send(Method::POST, "setKubeCFG", "apiVersion: v1").await.0, 200);
    let ping = bench.admin().ping().await.expect("a ping").expect("JSON");
    assert_eq!(ping.resources.and_then(|r| r.pods).as_deref(), Some("8"));
    let reply = bench.engine.client.get(bench.engine.url_of("/interlink/status")).send().await.expect("an answer");
    assert_eq!(reply.status, 401);
    for (what, token) in bench.engine.hostile_tokens() {
        let reply = bench.engine.client.post(bench.engine.url_of("/interlink/create")).bearer(&token).send().await;
        assert!(reply.is_err() || reply.is_ok_and(|reply| matches!(reply.status.as_u16(), 401 | 431)), "{what}");
    }
    let listed = send(Method::GET, "pods?limit=1", "").await;
    assert!(listed.0 == 200 && listed.1.contains("\"phase\""), "{listed:?}");
    assert!(send(Method::GET, "sites", "").await.1.contains("\"local\""));
}

#[tokio::test]
async fn logs_are_cut_and_followed() {
    let bench = Bench::new().await;
    let pod = pod("for n in 1 2 3 4 5; do echo line $n; sleep 0.1; done");
    bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
    let followed = bench.log(&pod, LogOptions { follow: true, ..LogOptions::default() }).await;
    assert_eq!(followed.lines().count(), 5, "{followed}");
    bench.end_of(&pod).await;
    assert_eq!(bench.log(&pod, LogOptions { tail: 2, ..LogOptions::default() }).await, "line 4\nline 5\n");
    assert_eq!(bench.log(&pod, LogOptions { bytes: 6, ..LogOptions::default() }).await, "line 1");
    let stamped = bench.log(&pod, LogOptions { timestamps: true, tail: 1, ..LogOptions::default() }).await;
    assert!(stamped.ends_with("Z line 5\n"), "{stamped}");
}

#[tokio::test]
async fn who_follows_a_log_hears_the_last_words_of_a_deleted_pod() {
    let bench = Bench::new().await;
    for round in 0..5 {
        let mut pod = pod("trap 'sleep 0.5; echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done 2>/dev/null");
        pod["spec"]["terminationGracePeriodSeconds"] = json!(30);
        bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
        while bench.try_log(&pod, LogOptions::default()).await.as_deref() != Ok("up\n") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let followed = bench.follow(&pod).await;
        bench.admin().delete(&RawPod(pod.clone())).await.expect("deleted");
        let said = tokio::time::timeout(Duration::from_secs(60), followed).await.expect("an end");
        assert!(said.starts_with("up\n") && said.ends_with("bye\n"), "round {round}: {said}");
    }
}

#[tokio::test]
async fn the_log_of_a_pod_that_never_ran_ends_with_the_pod() {
    let bench = Bench::new().await;
    let mut lost = pod("true");
    annotate(&mut lost, "dte.io/inputs", json!([{"did": "s:nowhere", "path": "f"}]));
    bench.admin().create(&PodCreateRequests::of(lost.clone())).await.expect("created");
    let follow = || LogOptions { follow: true, ..LogOptions::default() };
    let followed = tokio::time::timeout(Duration::from_secs(60), bench.log(&lost, follow())).await.expect("an end");
    assert_eq!(followed, "");
    assert_eq!(bench.end_of(&lost).await["phase"], "Failed");
    let again = tokio::time::timeout(Duration::from_secs(60), bench.log(&lost, follow())).await;
    assert_eq!(again.expect("an end"), "");
}

#[tokio::test]
async fn a_log_of_many_short_lines_comes_in_pieces() {
    let bench = Bench::new().await;
    let pod = pod("seq 300000");
    bench.run(&pod).await;
    let whole = bench.log(&pod, LogOptions::default()).await;
    assert_eq!(whole.lines().count(), 300_000);
    assert!(whole.lines().zip(1..).all(|(line, n)| line == n.to_string()));
    assert_eq!(bench.log(&pod, LogOptions { tail: 2, ..LogOptions::default() }).await, "299999\n300000\n");
    let followed = bench.log(&pod, LogOptions { follow: true, tail: 1, ..LogOptions::default() }).await;
    assert_eq!(followed, "300000\n");
}

#[tokio::test]
async fn programs_run_in_a_pod_over_a_web_socket() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    use tokio_tungstenite::tungstenite::{Error, Message};

    let bench = Bench::new().await;
    let server = bench.engine.listen();
    let pod = pod("touch $DTE_OUTPUTS/up; sleep 30");
    bench.admin().create(&PodCreateRequests::of(pod.clone())).await.expect("created");
    bench.wait_for_phase(&pod, Phase::Running).await;
    let uid = pod["metadata"]["uid"].as_str().expect("uid");
    let address =
        server.address("http").or_else(|| server.addresses().first().map(|(_, address)| *address)).expect("an address");
    let connect = async |path: &str, token: Option<Secret>| {
        let mut request = format!("ws://{address}/interlink/{path}").into_client_request().expect("a request");
        request.headers_mut().insert("sec-websocket-protocol", "v5.channel.k8s.io".parse().expect("a header"));
        if let Some(token) = token {
            let value = format!("Bearer {}", token.expose());
            request.headers_mut().insert("authorization", value.parse().expect("a header"));
        }
        let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        tokio_tungstenite::client_async(request, stream).await
    };
    let query = format!(
        "exec?pod={uid}&command=sh&command=-c&command=cat%3B+echo+bad+%3E%262%3B+exit+7&stdin=1&stdout=1&stderr=1"
    );
    let (mut socket, answer) = connect(&query, Some(bench.engine.admin_token())).await.expect("a socket");
    assert_eq!(answer.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    socket.send(Message::Binary(b"\0hello\n".to_vec().into())).await.expect("sent");
    socket.send(Message::Binary(vec![255, 0].into())).await.expect("sent");
    let mut heard: Vec<(u8, String)> = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(bytes) = message {
            heard.push((bytes[0], String::from_utf8_lossy(&bytes[1..]).into_owned()));
        }
    }
    let all =
        |channel: u8| heard.iter().filter(|(on, _)| *on == channel).map(|(_, text)| text.as_str()).collect::<String>();
    assert_eq!((all(1).as_str(), all(2).as_str()), ("hello\n", "bad\n"));
    let status: Value = serde_json::from_str(&all(3)).expect("a status");
    assert_eq!(
        (&status["reason"], &status["details"]["causes"][0]["message"]),
        (&json!("NonZeroExitCode"), &json!("7"))
    );

    let refused = async |query: &str, token: Option<Secret>| match connect(query, token).await {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&query, None).await, 401);
    let port = format!("portForward?pod={uid}&port=8080");
    let attach = format!("attach?pod={uid}&stdout=1");
    assert_eq!((refused(&port, None).await, refused(&attach, None).await), (401, 401));
    for path in [&query, &port, &attach] {
        let stranger = bench.engine.token_for("stranger", &["compute.modify"]).await;
        assert_eq!(refused(path, Some(stranger)).await, 404);
        let reader = bench.engine.token_for("admin", &["compute.read"]).await;
        assert_eq!(refused(path, Some(reader)).await, 403);
        // The pod has an administrator's rights, and this token of the same account does not.
        let confined = bench.engine.token_for("admin", &["compute.modify"]).await;
        assert_eq!(refused(path, Some(confined)).await, 403);
    }
    for rest in [
        "exec?stdout=1",
        "attach?stdout=1&command=ls",
        "attach?",
        "exec?command=ls&stdout=1&pod=0190b0a0-0000-7000-8000-000000000001",
        "attach?stderr=1&tty=1",
        "portForward?",
        "portForward?port=0",
        "portForward?port=65536",
    ] {
        let path = rest.replace('?', &format!("?pod={uid}&"));
        assert_eq!(refused(&path, Some(bench.engine.admin_token())).await, 400, "{path}");
    }
    // Nothing of the pod listens there, whoever else does.
    for theirs in [address.port(), 1] {
        let path = format!("portForward?pod={uid}&port={theirs}");
        let (mut socket, _) = connect(&path, Some(bench.engine.admin_token())).await.expect("a socket");
        let mut end = String::new();
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Binary(bytes) = message
                && bytes[0] == 3
            {
                end.push_str(&String::from_utf8_lossy(&bytes[1..]));
            }
        }
        assert!(end.contains("no process of the pod listens"), "{end}");
    }
    bench.admin().delete(&RawPod(pod)).await.expect("deleted");
    server.stop(Duration::from_secs(1)).await;
}
