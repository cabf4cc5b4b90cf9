//! What is secret of a pod stays so.

use dte_protocol_interlink::LogOptions;
use serde_json::json;

use crate::bench::{Bench, annotate, mounting, with_volumes};

#[tokio::test]
async fn volumes_survive_a_restart_and_secrets_are_sealed() {
    let bench = Bench::new().await;
    let mut second = mounting(
        "sleep 2; cat /settings-of-it/a /keys-of-it/key; stat -c %a /keys-of-it/key; echo ${#WORD} ${#0}",
        "a",
    );
    second["spec"]["containers"][0]["args"] = json!(["a-telling-argument"]);
    second["spec"]["containers"][0]["env"] = json!([{"name": "WORD", "value": "open sesame"}]);
    let copy = second.to_string();
    annotate(&mut second, "kubectl.kubernetes.io/last-applied-configuration", json!(copy));
    bench.admin().create(&with_volumes(second.clone())).await.expect("created");
    let words = ["very-secret-word", "dmVyeS1zZWNyZXQtd29yZA", "alpha", "open sesame", "a-telling-argument"];
    bench.keeps_to_itself(&words).await;
    let bench = bench.restart().await;
    let end = bench.end_of(&second).await;
    assert_eq!(end["phase"], "Succeeded", "{end} {}", bench.log(&second, LogOptions::default()).await);
    assert_eq!(bench.log(&second, LogOptions::default()).await, "alphavery-secret-word400\n11 18\n");
    bench.keeps_to_itself(&words).await;
    let left = bench.store.read(|tx| tx.query("SELECT uid FROM offload_volumes", &[], |row| row.get::<String>(0)));
    assert!(left.await.expect("rows").is_empty(), "they are kept no longer than needed");

    let refused = bench.admin().create(&with_volumes(mounting("true", "b"))).await.expect_err("there is no such key");
    assert!(refused.to_string().contains("items[0].key"), "{refused}");
    let mut up = mounting("true", "a");
    up["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = json!("../../x");
    let refused = bench.admin().create(&with_volumes(up)).await.expect_err("it leads out");
    assert!(refused.to_string().contains("subPath"), "{refused}");
}
