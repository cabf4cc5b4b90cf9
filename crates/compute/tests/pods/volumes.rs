//! Volumes: what is in them, where they are seen, and what is not mounted.

use std::fs;
use std::os::unix::fs::symlink;

use dte_compute::Site;
use dte_compute::host::HostConfig;
use dte_compute::{Phase, SiteError};
use serde_json::json;

use crate::bench::Bench;
use crate::{read, sh, with_volumes};

#[tokio::test]
async fn volumes_are_mounted_with_their_modes_and_only_where_asked() {
    let bench = crate::bench().await;
    assert!(bench.holds());
    let spec = json!({
        "volumes": [
            {"name": "conf", "configMap": {"name": "settings", "items": [{"key": "a", "path": "sub/a.txt", "mode": 0o600}, {"key": "bin", "path": "b"}]}},
            {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
            {"name": "gone", "configMap": {"name": "nowhere", "optional": true}},
            {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "settings"}}]}},
            {"name": "labels", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "shared", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
        "initContainers": [sh("first", "echo from init > /shared/it; ! test -e /made-for-dte-tests/conf; ls /made-for-dte-tests", json!({
            "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}))],
        "containers": [
            sh("main", "
                set -e
                cd /made-for-dte-tests/conf; cat sub/a.txt; wc -c < b; stat -c %a sub/a.txt b
                cat /etc/dte-tests-keys/key; stat -c %a /etc/dte-tests-keys/key
                (echo x > /etc/dte-tests-keys/key) 2>/dev/null && echo WRITTEN
                (echo x > /made-for-dte-tests/conf/new) 2>/dev/null && echo WRITTEN
                ls /gone | wc -l; cat /var/run/secrets/kubernetes.io/serviceaccount/token; echo
                cat /labels/labels; echo; cat /shared/it; cat /one
                cat /shared/deep/inner/it; echo memory > /dev/shm/x; df /dev/shm | grep -c tmpfs
                head -c 3000000 /dev/zero 2>/dev/null > /dev/shm/big && echo TOO MUCH
                grep -q . /etc/passwd; ls $DTE_RUN_DIR/volumes 2>/dev/null && echo SEEN; ls -d /etc/hostname
                touch /shared/ready", json!({"volumeMounts": [
                {"name": "conf", "mountPath": "/made-for-dte-tests/conf"},
                {"name": "keys", "mountPath": "/etc/dte-tests-keys/"},
                {"name": "gone", "mountPath": "/gone"},
                {"name": "all", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
                {"name": "labels", "mountPath": "/labels"},
                {"name": "shared", "mountPath": "/shared"},
                {"name": "shared", "mountPath": "/shared/deep/inner"},
                {"name": "conf", "mountPath": "/one", "subPath": "sub/a.txt"},
                {"name": "memory", "mountPath": "/dev/shm"}]})),
            sh("other", "while ! test -e /data/shared/ready; do sleep 0.05; done; ls /data; ! test -e /etc/dte-tests-keys/key", json!({"volumeMounts": [
                {"name": "shared", "mountPath": "/data/shared"}]})),
        ],
    });
    let maps = json!([{"metadata": {"name": "settings"}, "data": {"a": "alpha"}, "binaryData": {"bin": "AAEC"}}]);
    let secrets = json!([{"metadata": {"name": "keys"}, "data": {"key": "aGlkZGVu"}}]);
    let projected = json!([{"metadata": {"name": "all"}, "data": {"token": "the-token"}}]);
    let plan = read(&spec, &maps, &secrets, &projected).expect("a plan");
    let report = bench.run(&plan).await;
    let log = bench.log(plan.uid).await;
    assert_eq!(report.phase, Phase::Succeeded, "{report:?}\n{log}");
    let expected = "alpha3\n600\n644\nhidden400\n0\nthe-token\na=\"1\"\nb=\"two\\nlines\"\nfrom init\nalphafrom init\n1\n/etc/hostname\n";
    let shown: Vec<&str> =
        log.lines().filter(|line| !line.contains("cannot create") && !line.contains("write error")).collect();
    assert_eq!(shown.join("\n") + "\n", expected);
    for place in ["/made-for-dte-tests", "/etc/dte-tests-keys", "/gone", "/shared", "/labels", "/one", "/data/shared"] {
        assert!(!std::path::Path::new(place).exists(), "{place} was made on the machine");
    }
    bench.site.remove(plan.uid).await.expect("removed");
}

/// Every file beneath `folder` in which one of the words stands.
fn files_with(folder: &std::path::Path, words: &[&str]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, words));
        } else if let Ok(bytes) = fs::read(&path)
            && words.iter().any(|word| bytes.windows(word.len()).any(|part| part == word.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn an_ended_pod_leaves_its_log_and_no_secrets() {
    let bench = crate::bench().await;
    let secrets = json!([{"metadata": {"name": "keys"}, "data": {"key": "aGlkZGVu"}}]);
    let volumes = json!([{"name": "keys", "secret": {"secretName": "keys"}}, {"name": "own", "emptyDir": {}}]);
    let mounts = json!([{"name": "keys", "mountPath": "/made-for-dte-tests"}, {"name": "own", "mountPath": "/own"}]);
    let words = ["hidden", "aGlkZGVu", "open sesame"];
    for (script, phase) in [
        ("cp /made-for-dte-tests/key /own/copy; echo seen ${#WORD}", Phase::Succeeded),
        ("echo seen ${#WORD}; cat /made-for-dte-tests/key > /own/copy; kill -9 $$$$", Phase::Failed),
    ] {
        let mut spec = with_volumes(script, volumes.clone(), mounts.clone());
        spec["containers"][0]["env"] = json!([{"name": "WORD", "value": "open sesame"}]);
        let plan = read(&spec, &json!([]), &secrets, &json!([])).expect("a plan");
        let report = bench.run(&plan).await;
        assert_eq!((report.phase, bench.log(plan.uid).await.as_str()), (phase, "seen 11\n"), "{report:?}");
        let run = bench.dir.path().join(format!("data/runs/{}", plan.uid));
        assert_eq!(files_with(&run, &words), Vec::<std::path::PathBuf>::new());
        assert!(run.join("exit.json").exists() && run.join("outputs").is_dir());
        bench.site.remove(plan.uid).await.expect("removed");
    }
}

#[test]
fn hostile_volumes_are_refused_naming_the_field() {
    let maps = json!([{"metadata": {"name": "m"}, "data": {"k": "v", "../up": "x"}},
                      {"metadata": {"name": "big"}, "data": {"k": "x".repeat(10 << 20)}}]);
    let mount = |path: &str| json!([{"name": "v", "mountPath": path}]);
    let map = |name: &str| json!([{"name": "v", "configMap": {"name": name}}]);
    let item = |path: &str| json!([{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": path}]}}]);
    let dir = || json!([{"name": "v", "emptyDir": {}}]);
    let cases = [
        (map("m"), mount("/x"), "\"../up\" is not the name of a file"),
        (map("big"), mount("/x"), "spec.volumes[0].configMap: 10485761 bytes are more than the 1048576"),
        (map("none"), mount("/x"), "spec.volumes[0].configMap.name: the ConfigMap \"none\" did not come"),
        (item("../../etc/x"), mount("/x"), "items[0]"),
        (item("/etc/x"), mount("/x"), "items[0]"),
        (
            json!([{"name": "v", "configMap": {"name": "m", "items": [{"key": "no", "path": "a"}]}}]),
            mount("/x"),
            "items[0].key",
        ),
        (
            json!([{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "a", "mode": 4095}]}}]),
            mount("/x"),
            "file mode",
        ),
        (json!([{"name": "../v", "emptyDir": {}}]), mount("/x"), "spec.volumes[0].name"),
        (json!([{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]), mount("/x"), "two volumes"),
        (json!([{"name": "v", "nfs": {"server": "s", "path": "/"}}]), mount("/x"), "nfs volumes cannot be mounted"),
        (json!([{"name": "v", "hostPath": {"path": "/a/../b"}}]), mount("/x"), "hostPath.path"),
        (json!([{"name": "v", "hostPath": {"path": "/a", "type": "BlockDevice"}}]), mount("/x"), "hostPath.type"),
        (dir(), mount("/a/../../b"), "volumeMounts[0].mountPath"),
        (dir(), mount("/"), "volumeMounts[0].mountPath"),
        (dir(), mount("/proc/1"), "volumeMounts[0].mountPath"),
        (dir(), mount("/a\nb"), "volumeMounts[0].mountPath"),
        (
            dir(),
            json!([{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x/"}]),
            "volumeMounts[1].mountPath",
        ),
        (dir(), json!([{"name": "v", "mountPath": "/x", "subPath": "../up"}]), "volumeMounts[0].subPath"),
        (dir(), json!([{"name": "v", "mountPath": "/x", "subPath": "/etc"}]), "volumeMounts[0].subPath"),
        (dir(), json!([{"name": "w", "mountPath": "/x"}]), "volumeMounts[0].name"),
    ];
    for (volumes, mounts, word) in cases {
        let spec = with_volumes("true", volumes.clone(), mounts.clone());
        let error = read(&spec, &maps, &json!([]), &json!([])).expect_err(word);
        assert!(error.contains(word), "{volumes} {mounts}: {error}");
    }
}

#[tokio::test]
async fn places_of_the_machine_are_mounted_only_by_permission_and_links_lead_nowhere() {
    let place = tempfile::tempdir().expect("a folder");
    let open = place.path().join("open");
    fs::create_dir(&open).expect("a folder");
    fs::write(open.join("file"), "of the machine\n").expect("a file");
    symlink("/etc", open.join("link")).expect("a link");
    symlink("/etc", place.path().join("out")).expect("a link");
    let shim = Some(env!("CARGO_BIN_EXE_dte-pod-shim").into());
    let bench = Bench::with(HostConfig { shim, host_paths: vec![open.clone()], ..HostConfig::default() }).await;
    let nothing = json!([]);
    let plan = |path: &std::path::Path, kind: &str, sub: &str| {
        let volumes = json!([{"name": "v", "hostPath": {"path": path, "type": kind}}]);
        let mounts = json!([{"name": "v", "mountPath": "/machine", "subPath": sub, "readOnly": true}]);
        read(
            &with_volumes("cat /machine/file /machine/passwd; touch /machine/new || echo closed", volumes, mounts),
            &nothing,
            &nothing,
            &nothing,
        )
        .expect("a plan")
    };
    let good = plan(&open, "Directory", "");
    bench.run(&good).await;
    let log = bench.log(good.uid).await;
    assert!(log.contains("of the machine") && log.contains("closed") && !log.contains("root:"), "{log}");
    for (path, kind) in [
        ("/etc".into(), ""),
        (open.join("link"), ""),
        (open.join("../out"), ""),
        (open.join("file"), "Directory"),
        (open.join("no"), "File"),
    ] {
        let volumes = json!([{"name": "v", "hostPath": {"path": path, "type": kind}}]);
        let spec = with_volumes("true", volumes, json!([{"name": "v", "mountPath": "/machine"}]));
        let Ok(plan) = read(&spec, &nothing, &nothing, &nothing) else { continue };
        bench.site.prepare(plan.uid).await.expect("prepared");
        let outcome = bench.site.submit(&plan).await;
        assert!(
            matches!(&outcome, Err(SiteError::Refused(why)) if why.contains("volume v: hostPath")),
            "{path:?} {outcome:?}"
        );
    }
    // A link beneath an allowed folder.
    let report = bench.run(&plan(&open, "", "link")).await;
    assert_eq!(report.phase, Phase::Failed);
    let bad = plan(&open, "", "link");
    bench.run(&bad).await;
    let log = bench.log(bad.uid).await;
    assert!(log.contains("leads through a link") && !log.contains("root:"), "{log}");
}
