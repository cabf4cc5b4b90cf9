//! What pods may use and reach.

use std::fs;

use dte_compute::Site;
use dte_compute::host::{HostConfig, HostSite};
use dte_compute::{ContainerState, Phase, SiteContext};
use serde_json::json;

use crate::bench::{Bench, script, until};
use crate::{read, sh, state, with_volumes};

#[tokio::test]
async fn a_container_that_takes_too_much_memory_is_told_apart() {
    let bench = crate::bench().await;
    let limit = json!({"resources": {"limits": {"memory": "48Mi"}}});
    let spec = json!({"containers": [
        sh("greedy", "python3 -c 'x = bytearray(200 << 20); print(len(x))'; exit $?", limit.clone()),
        sh("modest", "sleep 0.3; echo fine", limit),
        sh("killed", "kill -9 $$$$", json!({"resources": {"limits": {"memory": "48Mi"}}})),
    ]});
    let plan = read(&spec, &json!([]), &json!([]), &json!([])).expect("a plan");
    let report = bench.run(&plan).await;
    let reason = |name: &str| match state(&report, name).state {
        ContainerState::Terminated { reason, exit_code, .. } => (reason, exit_code),
        other => panic!("{other:?}"),
    };
    println!("limited to 48 MiB: {:?}, {:?}", reason("greedy"), reason("killed"));
    assert_ne!(reason("greedy").1, 0, "{report:?}");
    assert_eq!(reason("killed"), ("Error".into(), 137));
    let groups = std::path::Path::new("/sys/fs/cgroup/memory");
    if nix::unistd::geteuid().is_root() && groups.is_dir() {
        assert_eq!(reason("greedy").0, "OOMKilled", "{report:?}");
        assert_eq!(reason("modest"), ("Completed".into(), 0));
        let own = fs::read_to_string("/proc/self/cgroup").expect("groups");
        let own = own.lines().find_map(|line| line.split_once(":memory:")).map_or("/", |(_, path)| path);
        let left = fs::read_dir(groups.join(own.trim_start_matches('/'))).expect("our group").flatten();
        let uid = plan.uid.to_string();
        assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains(&uid)), "a group is left");
    }
}

/// Whoever writes more than is allowed is evicted, and the message names the limit.
#[tokio::test]
async fn who_writes_too_much_is_evicted() {
    let bench = crate::bench().await;
    let nothing = json!([]);
    let big = "head -c 3000000 /dev/zero > /v/a; head -c 3000000 /dev/zero > /v/b; sleep 30";
    let volume = |limit: &str| json!([{"name": "v", "emptyDir": {"sizeLimit": limit}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    let of_volume = with_volumes(big, volume("4Mi"), mounts.clone());
    let mut of_pod = with_volumes(big, volume("1Gi"), mounts.clone());
    of_pod["containers"][0]["resources"] = json!({"limits": {"ephemeral-storage": "5Mi"}});
    let many = "for n in 1 2 3 4 5 6; do head -c 1000000 /dev/zero > $DTE_OUTPUTS/$n; done; sleep 30";
    let mut elsewhere = with_volumes(many, nothing.clone(), nothing.clone());
    elsewhere["containers"][0]["resources"] = json!({"limits": {"ephemeral-storage": "5Mi"}});
    let mut talks = with_volumes("head -c 3000000 /dev/zero; sleep 30", nothing.clone(), nothing.clone());
    talks["containers"][0]["resources"] = json!({"limits": {"ephemeral-storage": "2Mi"}});
    for (spec, words) in [
        (of_volume, "Usage of EmptyDir volume \"v\" exceeds the limit \"4Mi\""),
        (of_pod, "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi"),
        (elsewhere, "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi"),
        (talks, "Container main exceeded its local ephemeral storage limit \"2Mi\""),
    ] {
        let plan = read(&spec, &nothing, &nothing, &nothing).expect("a plan");
        let report = bench.run(&plan).await;
        assert_eq!((report.phase, report.reason.as_deref()), (Phase::Failed, Some("Evicted")), "{report:?}");
        assert!(report.message.as_deref().is_some_and(|text| text.contains(words)), "{report:?}");
    }
    let within = with_volumes("head -c 3000000 /dev/zero > /v/a; sleep 1.5; echo fine", volume("4Mi"), mounts);
    let plan = read(&within, &nothing, &nothing, &nothing).expect("a plan");
    assert_eq!(bench.run(&plan).await.phase, Phase::Succeeded);
}

/// A volume in memory is no larger than the memory that the pod may use.
#[tokio::test]
async fn a_volume_in_memory_is_memory() {
    let bench = crate::bench().await;
    let nothing = json!([]);
    let volumes = json!([{"name": "v", "emptyDir": {"medium": "Memory"}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    let mut spec = with_volumes(
        "df -k --output=size /v | tail -n 1; head -c 90000000 /dev/zero > /v/a && echo ALL",
        volumes,
        mounts,
    );
    spec["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}});
    let plan = read(&spec, &nothing, &nothing, &nothing).expect("a plan");
    bench.run(&plan).await;
    let log = bench.log(plan.uid).await;
    assert!(log.trim_start().starts_with("65536") && !log.contains("ALL"), "{log}");
}

/// A folder that pods see: not beneath those that they have for themselves.
fn seen_folder() -> Option<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    let places = [std::env::var_os("DTE_TEST_PLACE").map(Into::into), Some(std::path::PathBuf::from("/srv"))];
    let place = places.into_iter().flatten().find_map(|place| tempfile::tempdir_in(place).ok())?;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    Some(place)
}

/// Sockets of the engine are out of sight, also when they are made anew while a pod runs.
#[tokio::test]
async fn sockets_of_the_engine_are_hidden() {
    let Some(place) = seen_folder() else {
        println!("SKIPPED: neither DTE_TEST_PLACE nor /srv can be written");
        return;
    };
    let socket = place.path().join("interlink.sock");
    let path = socket.display();
    let text = format!(
        "test -e {path} && echo SEEN; touch $DTE_OUTPUTS/up; while ! test -e $DTE_OUTPUTS/go; do sleep 0.02; done; \
         test -e {path} && echo SEEN AGAIN; echo done"
    );
    for (sockets, expected) in [(Vec::new(), "SEEN\nSEEN AGAIN\ndone\n"), (vec![socket.clone()], "done\n")] {
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let dir = tempfile::tempdir().expect("a folder");
        let config = HostConfig { shim: Some(env!("CARGO_BIN_EXE_dte-pod-shim").into()), ..HostConfig::default() };
        let tasks = dte_base::tasks::Tasks::new();
        let context = SiteContext { data_dir: dir.path().join("data"), sockets, tasks: tasks.clone() };
        let site = HostSite::open(config.clone(), &context).await.expect("the site");
        let bench = Bench { dir, config, tasks, site };
        let plan = script(&text);
        bench.start(&plan).await;
        let outputs = bench.dir.path().join(format!("data/runs/{}/outputs", plan.uid));
        until("it runs", async || outputs.join("up").exists()).await;
        drop(listener);
        fs::remove_file(&socket).expect("removed");
        let again = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        fs::write(outputs.join("go"), "").expect("the sign to go on");
        bench.finish(plan.uid).await;
        assert_eq!(bench.log(plan.uid).await, expected);
        drop(again);
        fs::remove_file(&socket).expect("removed");
    }
}

/// What a pod's volumes make of the machine is the pod's, and an id that a pod had is given to another as late as it can be.
#[tokio::test]
async fn what_is_made_for_a_pod_is_its_own() {
    use std::os::unix::fs::MetadataExt;
    let place = tempfile::tempdir().expect("a folder");
    let shim = Some(env!("CARGO_BIN_EXE_dte-pod-shim").into());
    let host_paths = vec![fs::canonicalize(place.path()).expect("real")];
    let bench = Bench::with(HostConfig { shim, host_paths: host_paths.clone(), ..HostConfig::default() }).await;
    let nothing = json!([]);
    let mut owners = Vec::new();
    for name in ["a", "b"] {
        let path = host_paths[0].join("deep").join(name);
        let volumes = json!([{"name": "v", "hostPath": {"path": path, "type": "DirectoryOrCreate"}},
            {"name": "f", "hostPath": {"path": path.with_extension("txt"), "type": "FileOrCreate"}}, {"name": "e", "emptyDir": {}}]);
        let mounts = json!([{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w", "subPath": "one/two"},
            {"name": "f", "mountPath": "/f.txt"}, {"name": "e", "mountPath": "/e", "subPath": "three"}]);
        let text = "touch /v/x /w/y /e/z && echo more >> /f.txt && stat -c %a /w /e && echo fine";
        let plan = read(&with_volumes(text, volumes, mounts), &nothing, &nothing, &nothing).expect("a plan");
        let report = bench.run(&plan).await;
        assert_eq!(bench.log(plan.uid).await, "755\n755\nfine\n", "{report:?}");
        let owner = |path: &std::path::Path| fs::metadata(path).expect("there").uid();
        owners.push(owner(&path));
        for made in [path.join("one"), path.join("one/two/y"), path.with_extension("txt")] {
            assert_eq!(owner(&made), owner(&path), "{}", made.display());
        }
        bench.site.remove(plan.uid).await.expect("removed");
    }
    match nix::unistd::geteuid().is_root() {
        true => assert_eq!(owners, [600_000, 600_001]),
        false => assert_eq!(owners, [nix::unistd::geteuid().as_raw(); 2]),
    }
}
