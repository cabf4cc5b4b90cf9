use super::*;
use crate::pod::{Content, Mount, Termination, Volume, VolumeFile};

const FOLDER: &str = "/shared/dte/runs/u";

fn config(kind: Kind) -> RuntimeConfig {
    RuntimeConfig {
        kind,
        program: None,
        args: Vec::new(),
        options: vec!["--site-option".into()],
        images: vec!["registry.example.org/".into()],
        image_folders: Vec::new(),
        digests_only: false,
        host_paths: vec!["/cvmfs".into()],
        environment: BTreeMap::from([("HOME".to_owned(), "/shared/home".to_owned())]),
    }
}

fn plan() -> PodPlan {
    let mount =
        |volume: &str, path: &str| Mount { volume: volume.into(), path: path.into(), sub_path: None, read_only: false };
    let volume = |name: &str, source| Volume { name: name.into(), source };
    let files = vec![VolumeFile { path: "k".into(), mode: 0o400, content: Content(b"x".to_vec()) }];
    let data = VolumeSource::HostPath { path: "/cvmfs/data".into(), expects: crate::pod::HostPathKind::Any };
    PodPlan {
        containers: vec![ContainerPlan {
            name: "main".into(),
            image: "registry.example.org/a/b:1".into(),
            argv: ["sh", "-c", "echo $(A) --privileged; `id`"].map(str::to_owned).to_vec(),
            env: [("A", "it's $(id)"), ("DTE_INPUTS", "/etc")].map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
            working_dir: Some("/work".into()),
            extended: BTreeMap::from([("nvidia.com/gpu".to_owned(), 1)]),
            mounts: vec![mount("s", "/etc/s"), mount("e", "/scratch"), mount("d", "/data")],
            termination: Termination { path: Some("/dev/termination-log".into()), from_log: false },
            ..ContainerPlan::default()
        }],
        volumes: vec![
            volume("s", VolumeSource::Files { files }),
            volume("e", VolumeSource::EmptyDir { in_memory: false, size_limit: None }),
            volume("d", data),
        ],
        ..PodPlan::default()
    }
}

fn made(config: &RuntimeConfig, plan: &PodPlan) -> Result<PodPlan, String> {
    contained(Some(config), "batch", plan, Path::new(FOLDER), 10)
}

fn words(kind: Kind, change: impl FnOnce(&mut PodPlan)) -> (Vec<String>, PodPlan) {
    let mut plan = plan();
    change(&mut plan);
    let made = made(&config(kind), &plan).expect("made");
    (made.containers[0].argv.clone(), made)
}

#[test]
fn apptainer() {
    let (words, made) = words(Kind::Apptainer, |_| {});
    let wanted = "apptainer exec --containall --no-eval --bind /shared/dte/runs/u/inputs:/dte/inputs:ro \
        --bind /shared/dte/runs/u/outputs:/dte/outputs:rw --bind /shared/dte/runs/u/termination/main:/dev/termination-log:rw \
        --bind /shared/dte/runs/u/volumes/s:/etc/s:ro --bind /shared/dte/runs/u/volumes/e:/scratch:rw --bind /cvmfs/data:/data:ro \
        --pwd /work --nv --site-option docker://registry.example.org/a/b:1 sh -c echo it's $$(id) --privileged; `id`";
    assert_eq!(words.join(" "), wanted);
    let container = &made.containers[0];
    assert_eq!((container.image.as_str(), container.mounts.len(), &container.working_dir), (HOST, 0, &None));
    let env: Vec<String> = container.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let wanted = [
        "HOME=/shared/home",
        "APPTAINERENV_DTE_RUN_DIR=/dte",
        "APPTAINERENV_DTE_INPUTS=/dte/inputs",
        "APPTAINERENV_DTE_OUTPUTS=/dte/outputs",
        "APPTAINERENV_A=it's $$(id)",
    ];
    assert_eq!(env, wanted);
    assert_eq!(made.volumes.iter().map(|volume| volume.name.as_str()).collect::<Vec<_>>(), ["s", "e"]);
}

#[test]
fn podman() {
    let (words, made) = words(Kind::Podman, |_| {});
    let wanted = "podman run --rm --replace --name dte-00000000-0000-0000-0000-000000000000-main --security-opt=no-new-privileges \
        --network=host --env-file /shared/dte/runs/u/volumes/dte-environment/main \
        --mount type=bind,source=/shared/dte/runs/u/inputs,destination=/dte/inputs,readonly \
        --mount type=bind,source=/shared/dte/runs/u/outputs,destination=/dte/outputs \
        --mount type=bind,source=/shared/dte/runs/u/termination/main,destination=/dev/termination-log \
        --mount type=bind,source=/shared/dte/runs/u/volumes/s,destination=/etc/s,readonly \
        --mount type=bind,source=/shared/dte/runs/u/volumes/e,destination=/scratch \
        --mount type=bind,source=/cvmfs/data,destination=/data,readonly \
        --workdir /work --device=nvidia.com/gpu=all --site-option --entrypoint [\"sh\"] registry.example.org/a/b:1 \
        -c echo it's $$(id) --privileged; `id`";
    assert_eq!(words.join(" "), wanted);
    let stop = "podman stop --ignore --time 8 dte-00000000-0000-0000-0000-000000000000-main";
    let argv = stop.split(' ').map(str::to_owned).collect();
    assert_eq!(made.containers[0].pre_stop, Some(crate::pod::Action::Exec { argv }));
    let Some(VolumeSource::Files { files }) = made.volumes.last().map(|volume| &volume.source) else {
        panic!("no file")
    };
    let text = "DTE_RUN_DIR=/dte\nDTE_INPUTS=/dte/inputs\nDTE_OUTPUTS=/dte/outputs\nA=it's $(id)\n";
    assert_eq!((files[0].path.as_str(), files[0].mode, &files[0].content.0[..]), ("main", 0o600, text.as_bytes()));
}

#[test]
fn udocker() {
    let bare = |plan: &mut PodPlan| {
        let container = &mut plan.containers[0];
        (container.extended, container.mounts) = (BTreeMap::new(), Vec::new());
        container.termination = Termination::default();
        plan.volumes.clear();
    };
    let (words, _) = words(Kind::Udocker, bare);
    let wanted = "udocker --quiet run --rm --nobanner --env-file=/shared/dte/runs/u/volumes/dte-environment/main \
        --volume=/shared/dte/runs/u/inputs:/dte/inputs --volume=/shared/dte/runs/u/outputs:/dte/outputs --workdir=/work --entrypoint= \
        --site-option registry.example.org/a/b:1 sh -c echo it's $$(id) --privileged; `id`";
    assert_eq!(words.join(" "), wanted);
    let refused = |change: fn(&mut ContainerPlan)| {
        let mut plan = plan();
        bare(&mut plan);
        change(&mut plan.containers[0]);
        made(&config(Kind::Udocker), &plan).expect_err("refused")
    };
    assert!(refused(|one| one.argv.push(String::new())).contains("empty argument"));
    assert!(refused(|one| one.env.push(("B".into(), " x".into()))).contains("blanks"));
    assert!(refused(|one| one.env.push(("B".into(), "x\ny".into()))).contains("one line"));
    assert!(refused(|one| one.extended = BTreeMap::from([("nvidia.com/gpu".into(), 1)])).contains("GPU"));
}

#[test]
fn images() {
    let config = RuntimeConfig { image_folders: vec!["/cvmfs/unpacked".into()], ..config(Kind::Apptainer) };
    let image = |image: &str| image_of(&config, "batch", image);
    assert_eq!(image("registry.example.org/a").as_deref(), Ok("docker://registry.example.org/a"));
    assert_eq!(image("oras://registry.example.org/a:1").as_deref(), Ok("oras://registry.example.org/a:1"));
    assert_eq!(image("/cvmfs/unpacked/a:1").as_deref().map_err(|_| ()), Err(()), "a colon would begin options");
    assert_eq!(image("/cvmfs/unpacked/a.sif").as_deref(), Ok("/cvmfs/unpacked/a.sif"));
    for bad in [
        "/etc",
        "/cvmfs/unpacked/../x",
        "/cvmfs/unpacked",
        "other.org/a",
        "--bind",
        "registry.example.org/$(id)",
        "registry.example.org/a b",
        "registry.example.org/a\nb",
        "file://registry.example.org/a",
        "instance://registry.example.org/a",
        "registry.example.org/`id`",
        "",
    ] {
        assert!(image(bad).is_err(), "{bad}");
    }
    let strict = RuntimeConfig { digests_only: true, ..config.clone() };
    assert!(image_of(&strict, "batch", "registry.example.org/a:1").is_err());
    let digest = format!("registry.example.org/a@sha256:{}", "0f".repeat(32));
    assert!(image_of(&strict, "batch", &digest).is_ok());
    let udocker = RuntimeConfig { kind: Kind::Udocker, ..config.clone() };
    assert!(image_of(&udocker, "batch", "oras://registry.example.org/a").is_err());
}

#[test]
fn what_the_site_lacks_is_refused_with_the_reason() {
    let why = contained(None, "batch", &plan(), Path::new(FOLDER), 10).expect_err("refused");
    assert!(why.contains("hostPath"), "{why}");
    let plain = PodPlan { volumes: Vec::new(), ..plan() };
    let why = contained(None, "batch", &plain, Path::new(FOLDER), 10).expect_err("refused");
    assert!(why.contains("runs image `host` only"), "{why}");
    let refused = |change: fn(&mut PodPlan), word: &str| {
        let mut plan = plan();
        change(&mut plan);
        let why = made(&config(Kind::Apptainer), &plan).expect_err(word);
        assert!(why.contains(word), "{why}");
    };
    refused(|plan| plan.containers[0].mounts[0].path = "/a:/b".into(), "plain characters");
    refused(|plan| plan.containers[0].mounts[0].path = "/a,/etc:/b".into(), "plain characters");
    refused(|plan| plan.containers[0].working_dir = Some("--nv".into()), "workingDir");
    refused(|plan| plan.containers[0].env.push(("A B".into(), String::new())), "letters");
    refused(|plan| plan.containers[0].env.push(("A=B\n".into(), String::new())), "letters");
    refused(|plan| plan.containers[0].mounts[1].sub_path = Some("x".into()), "subPath");
    refused(
        |plan| {
            plan.volumes[2].source =
                VolumeSource::HostPath { path: "/etc".into(), expects: crate::pod::HostPathKind::Any }
        },
        "host_paths",
    );
    refused(|plan| plan.volumes[0].name = "dte-environment".into(), "dte-environment");
}
