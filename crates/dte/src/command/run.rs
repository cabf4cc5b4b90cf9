//! `dte run`: a program as a pod at a site; what it writes appears here, its exit code is ours.

use std::time::Duration;

use dte_base::id::new_id;
use http::Method;
use serde_json::{Map, Value, json};

use super::exec::Streams;
use super::logs::{self, Part};
use super::manifest::{self, Manifest};
use super::pods;
use crate::cli::{Common, Run};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Where outputs are stored if nothing else is said.
const USUAL_RSE: &str = "LOCAL";

pub async fn run(common: &Common, command: &Run) -> Result<u8, Failure> {
    let mut request = match &command.file {
        Some(file) if command.words.is_empty() => manifest::read(file)?,
        Some(_) => return Err(usage("a file says what to run: no program besides")),
        None => Manifest::of(pod(command)?),
    };
    if let Some(site) = &command.site {
        let spec = request.pod["spec"].as_object_mut().ok_or_else(|| usage("the pod has no spec"))?;
        let selector = spec.entry("nodeSelector").or_insert_with(|| json!({}));
        selector[dte_protocol_interlink::SITE_SELECTOR] = json!(site);
    }
    let remote = Remote::find(common).await?;
    let name = show::cell(&request.pod["metadata"]["name"]);
    let uid = show::cell(&request.pod["metadata"]["uid"]);
    let _: Value = remote.call(Method::POST, "/interlink/create", Some(&request.body())).await?;
    if command.detach {
        match common.json {
            true => show::json(&json!({ "uid": uid, "name": name }))?,
            false => show::line(format!("{name} {uid}")),
        }
        return Ok(0);
    }
    let shows = !command.wait && !common.json;
    let streams = Streams { container: "", stdin: command.stdin, tty: command.tty };
    let pod = wait(&remote, &uid, shows, streams).await?;
    if common.json {
        let log = logs::text(&remote, &pod, &Part::default()).await?;
        let mut about = pod.clone();
        about["log"] = json!(log);
        show::json(&about)?;
    }
    Ok(exit_code(&pod))
}

/// Waits for the pod's end, and shows what its first container writes meanwhile.
async fn wait(remote: &Remote, uid: &str, shows: bool, streams: Streams<'_>) -> Result<Value, Failure> {
    let progress = indicatif::ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(120));
    let (mut is_shown, mut lacks_input) = (!shows, streams.has_input());
    loop {
        let pod = pods::by_uid(remote, uid).await?;
        let ended = has_ended(&pod);
        if !is_shown && (ended || pod["phase"] == "Running") {
            progress.finish_and_clear();
            if !ended && streams.has_input() && meet(remote, &pod, streams).await? {
                lacks_input = false;
            } else {
                logs::stream(remote, &pod, &Part { follow: true, ..Part::default() }).await?;
            }
            is_shown = true;
            continue;
        }
        if ended {
            progress.finish_and_clear();
            if lacks_input && pod["phase"] == "Succeeded" {
                let name = show::cell(&pod["name"]);
                let text = format!(
                    "the pod {name} ended before it was given its input; if it needs none, leave out -i and -t"
                );
                return Err(Failure::new(text));
            }
            return Ok(pod);
        }
        progress.set_message(match pod["waits"].as_str() {
            Some(why) => format!("waiting: {why}"),
            None => "running".to_owned(),
        });
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn has_ended(pod: &Value) -> bool {
    matches!(pod["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Gives the pod's first container our input and shows what it writes, to its end. False: it had ended before.
async fn meet(remote: &Remote, pod: &Value, streams: Streams<'_>) -> Result<bool, Failure> {
    match streams.attach(remote, pod).await {
        // What breaks off later is no success, whatever the program makes of half its input.
        Ok(socket) => streams.talk(socket).await.map(|_| true),
        Err(_) if has_ended(&pods::by_uid(remote, &show::cell(&pod["uid"])).await?) => Ok(false),
        Err(refused) => {
            let name = show::cell(&pod["name"]);
            Err(Failure::new(format!(
                "{refused}; the pod goes on without input: `dte logs -f {name}`, `dte pods delete {name}`"
            )))
        }
    }
}

/// The pod's exit code as ours; 1 for a pod that failed without one.
fn exit_code(pod: &Value) -> u8 {
    if pod["phase"] == "Succeeded" {
        return 0;
    }
    let code = pod["exit_code"].as_i64().filter(|code| *code != 0).unwrap_or(1);
    let (reason, message) = (show::cell(&pod["reason"]), show::cell(&pod["message"]));
    eprintln!("dte: the pod {} failed with exit code {code}: {reason}, {message}", show::cell(&pod["name"]));
    u8::try_from(code).unwrap_or(1)
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::new(text).with_code(2)
}

/// `NAME -- PROGRAM…`, or the program alone.
fn words(words: &[String]) -> (Option<&str>, &[String]) {
    match words {
        [name, dashes, program @ ..] if dashes == "--" => (Some(name), program),
        program => (None, program),
    }
}

fn pod(command: &Run) -> Result<Value, Failure> {
    let (name, program) = words(&command.words);
    if program.is_empty() {
        return Err(usage("which program? write: dte run [NAME] -- PROGRAM ARGUMENTS"));
    }
    let uid = new_id().to_string();
    let name = name.map_or_else(|| format!("run-{}", &uid[uid.len() - 8..]), str::to_owned);
    let env = command.env.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) => Ok(json!({ "name": name, "value": value })),
        None => Err(usage(format!("--env {pair}: write NAME=VALUE"))),
    });
    let env: Vec<Value> = env.collect::<Result<_, _>>()?;
    let mut limits = Map::new();
    limits.extend(command.cpu.iter().map(|cpu| ("cpu".to_owned(), json!(cpu))));
    limits.extend(command.memory.iter().map(|memory| ("memory".to_owned(), json!(memory))));
    limits.extend(command.gpu.iter().map(|gpus| (command.gpu_resource.clone(), json!(gpus.to_string()))));
    let interactive = command.stdin || command.tty;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "uid": uid, "annotations": annotations(command)? },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": command.timeout.map(|t| t.as_secs().max(1)),
            "containers": [{
                "name": "main", "image": command.image, "command": program, "env": env, "resources": { "limits": limits },
                "stdin": interactive, "stdinOnce": interactive, "tty": command.tty,
            }],
        },
    }))
}

/// Which data goes in and comes out (the annotations that `offload` reads).
fn annotations(command: &Run) -> Result<Map<String, Value>, Failure> {
    let mut annotations = Map::new();
    let inputs: Vec<Value> = command.input.iter().map(|text| input(text)).collect::<Result<_, _>>()?;
    if !inputs.is_empty() {
        annotations.insert("dte.io/inputs".to_owned(), json!(Value::Array(inputs).to_string()));
    }
    let outputs: Vec<Value> = command.output.iter().map(|text| output(text)).collect::<Result<_, _>>()?;
    if !outputs.is_empty() {
        annotations.insert("dte.io/outputs".to_owned(), json!(Value::Array(outputs).to_string()));
    }
    Ok(annotations)
}

fn input(text: &str) -> Result<Value, Failure> {
    let (did, path) = match text.split_once('=') {
        Some((did, path)) => (did, Some(path)),
        None => (text, None),
    };
    let (_, name) = did.split_once(':').ok_or_else(|| usage(format!("--input {text}: write SCOPE:NAME")))?;
    let last = name.rsplit('/').next().unwrap_or(name);
    Ok(json!({ "did": did, "path": path.unwrap_or(last) }))
}

fn output(text: &str) -> Result<Value, Failure> {
    let wrong = || usage(format!("--output {text}: write PATH=SCOPE:NAME"));
    let (path, place) = text.split_once('=').ok_or_else(wrong)?;
    let (did, rse) = place.rsplit_once('@').unwrap_or((place, USUAL_RSE));
    if !did.contains(':') {
        return Err(wrong());
    }
    Ok(json!({ "path": path, "did": did, "rse": rse }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_the_dashes() {
        let split = |text: &str| {
            let all: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let (name, program) = words(&all);
            (name.map(str::to_owned), program.join(" "))
        };
        assert_eq!(split("fit -- python3 fit.py -n 1"), (Some("fit".to_owned()), "python3 fit.py -n 1".to_owned()));
        assert_eq!(split("echo hello"), (None, "echo hello".to_owned()));
        assert_eq!(split("env A=1 -- x"), (None, "env A=1 -- x".to_owned()));
    }

    #[test]
    fn data_by_flags() {
        assert_eq!(input("s:a/b.nc").expect("an input"), json!({ "did": "s:a/b.nc", "path": "b.nc" }));
        assert_eq!(input("s:a=in/x").expect("an input"), json!({ "did": "s:a", "path": "in/x" }));
        assert!(input("no-scope").is_err());
        let expected = json!({ "path": "o.nc", "did": "s:o", "rse": "DISK" });
        assert_eq!(output("o.nc=s:o@DISK").expect("an output"), expected);
        assert_eq!(output("o=s:o").expect("an output")["rse"], "LOCAL");
        assert!(output("o.nc").is_err() && output("o=x").is_err());
    }
}
