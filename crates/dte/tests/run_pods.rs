//! Pods from the command line, without Kubernetes: run, list, look, follow, end, over two sites.

mod harness;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::{Engine, dte};
use serde_json::{Value, json};

const SITES: &str = "[[compute.sites]]\nplugin = 'host'\nname = 'small'\nslots = 1\n\
    [[compute.sites]]\nplugin = 'host'\nname = 'large'\nslots = 4\nuid_first = 3300000\n";

struct Scene {
    engine: Engine,
    folder: tempfile::TempDir,
}

impl Scene {
    fn start() -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("d");
        fs::create_dir(&data).expect("made");
        fs::write(data.join("dte.toml"), SITES).expect("written");
        Scene { engine: Engine::start(&data, &["up"], &[]), folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = dte();
        command.arg("--data-dir").arg(&self.engine.data_dir).args(arguments);
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("runs")
    }

    /// What the command prints; it must succeed.
    fn text(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn until_phase(&self, name: &str, phase: &str) -> Value {
        let began = Instant::now();
        loop {
            let pod = self.json(&["pods", name]);
            if pod["phase"] == phase {
                return pod;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "never {phase}: {pod:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_program_as_a_pod() {
    let scene = Scene::start();
    let output = scene.output(&["run", "--env", "WHO=you", "hello", "--", "/bin/sh", "-c", "echo hello $WHO; exit 3"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello you\n");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("exit code 3"));
    assert_eq!(scene.text(&["run", "--", "/bin/echo", "-n", "plain"]), "plain");
    assert_eq!(scene.text(&["run", "--wait", "--", "/bin/echo", "unseen"]), "");

    let done = scene.json(&["run", "--cpu", "100m", "--memory", "64Mi", "--", "/bin/echo", "as", "JSON"]);
    assert_eq!(
        (&done["phase"], &done["exit_code"], &done["log"]),
        (&json!("Succeeded"), &json!(0), &json!("as JSON\n"))
    );

    // It has ended: only --all lists it.
    assert_eq!(scene.json(&["pods"]), json!([]));
    let all = scene.json(&["pods", "--all"]);
    assert!(all.as_array().expect("pods").iter().any(|pod| pod["name"] == "hello" && pod["exit_code"] == 3), "{all:#}");
    let about = scene.text(&["pods", "hello"]);
    for word in ["Failed", "exit code 3", "placed at", "accepted from"] {
        assert!(about.contains(word), "{word}: {about}");
    }
    let why = scene.text(&["pods", "explain", "hello"]);
    assert!(why.contains("small") && why.contains("large") && why.contains("VERDICT"), "{why}");

    for (arguments, code, word) in [
        (&["run", "--cpu", "4000", "--", "true"][..], 1, "resources cpu"),
        (&["run", "--site", "moon", "--", "true"], 1, "there is no site"),
        (&["run", "--env", "A", "--", "true"], 2, "NAME=VALUE"),
        (&["run"], 2, "required"),
        (&["pods", "nobody"], 1, "there is no pod nobody"),
        (&["exec", "hello", "--", "true"], 1, ""),
        (&["exec", "nobody", "--", "true"], 1, "there is no pod nobody"),
        (&["logs", "nobody"], 1, "there is no pod nobody"),
        (&["pods", "explain", "00000000-0000-4000-8000-000000000000"], 1, "there is no pod"),
    ] {
        let output = scene.output(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }

    let sites = scene.json(&["sites"]);
    let names: Vec<&str> = sites.as_array().expect("sites").iter().filter_map(|site| site["name"].as_str()).collect();
    assert_eq!(names, ["small", "large"]);
    assert!(scene.text(&["sites"]).contains("PLACES"));
}

#[test]
fn a_pod_that_goes_on() {
    let scene = Scene::start();
    let script = "for i in 1 2 3; do echo line $i; sleep 0.3; done; sleep 600";
    let made = scene.json(&["run", "--detach", "--site", "small", "long", "--", "/bin/sh", "-c", script]);
    assert_eq!(made["name"], "long");
    let mut follower = scene.command(&["logs", "-f", "long"]).stdout(Stdio::piped()).spawn().expect("follows");
    let mut lines = BufReader::new(follower.stdout.take().expect("output")).lines();
    for n in 1..=3 {
        assert_eq!(lines.next().expect("a line").expect("text"), format!("line {n}"));
    }
    let pod = scene.until_phase("long", "Running");
    assert_eq!((&pod["site"], &pod["uid"]), (&json!("small"), &made["uid"]));
    assert_eq!(scene.text(&["logs", "--tail", "1", "long"]), "line 3\n");
    let stamped = scene.text(&["logs", "--timestamps", "--tail", "1", "-c", "main", "long"]);
    assert!(stamped.contains("Z line 3"), "{stamped}");

    let inside = ["exec", "long", "--", "/bin/sh", "-c", "echo in; echo err >&2; exit 5"];
    let output = scene.output(&inside);
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"in\n"[..], &b"err\n"[..]));
    let mut cat = scene.command(&["exec", "-i", "-c", "main", "long", "--", "/bin/cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
    cat.stdin.take().expect("input").write_all(b"through\n").expect("written");
    let output = cat.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"through\n"[..]));
    // Both directions at once: neither waits for the other.
    let much = scene.file("much", &"0123456789abcdef".repeat(400_000));
    let mut cat = scene.command(&["exec", "-i", "long", "--", "/bin/cat"]);
    let output = cat.stdin(fs::File::open(&much).expect("opened")).output().expect("runs");
    assert!(
        output.status.success() && output.stdout == fs::read(&much).expect("read"),
        "{} bytes",
        output.stdout.len()
    );
    // A program need not read all that it is sent.
    let mut yes = Command::new("yes").stdout(Stdio::piped()).spawn().expect("runs");
    let mut head = scene.command(&["exec", "-i", "long", "--", "head", "-1"]);
    let output = head.stdin(yes.stdout.take().expect("output")).output().expect("runs");
    yes.kill().expect("ended");
    yes.wait().expect("ends");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"y\n"[..]));

    // The one place of the site is taken.
    scene.text(&["run", "--detach", "--site", "small", "next", "--", "true"]);
    let next = scene.json(&["pods", "next"]);
    assert_eq!(next["phase"], "Pending", "{next:#}");
    assert!(next["waits"].as_str().is_some(), "{next:#}");
    // Without a site named it is not kept waiting.
    assert_eq!(scene.text(&["run", "--", "/bin/echo", "elsewhere"]), "elsewhere\n");

    scene.text(&["pods", "delete", "long"]);
    assert!(lines.next().is_none(), "the log ends with the pod");
    assert!(follower.wait().expect("ends").success());
    scene.until_phase("next", "Succeeded");
    assert_eq!(scene.output(&["pods", "long"]).status.code(), Some(1));
}

#[test]
fn attached_to_a_program() {
    let scene = Scene::start();
    // A pod of its own, which ends with its input.
    let run = |arguments: &[&str], input: &str| {
        let mut run = scene.command(arguments);
        let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
        run.stdin.take().expect("input").write_all(input.as_bytes()).expect("written");
        run.wait_with_output().expect("ends")
    };
    let output = run(&["run", "-i", "--site", "large", "--", "/bin/sh", "-c", "cat; echo end; exit 6"], "typed\n");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(6), &b"typed\nend\n"[..]), "{complaints}");

    // One that goes on when whoever was attached has left.
    let pod = json!({"kind": "Pod", "metadata": {"name": "talks"}, "spec": {"containers": [{
        "name": "main", "image": "host", "stdin": true, "command": ["/bin/sh", "-c", "while read line; do echo got $line; done"],
    }]}});
    let file = scene.file("talks.json", &pod.to_string());
    scene.text(&["run", "--detach", "--site", "large", "--file", file.to_str().expect("text")]);
    scene.until_phase("talks", "Running");
    let mut watcher = scene.command(&["attach", "talks"]);
    let mut watcher = watcher.stdout(Stdio::piped()).spawn().expect("runs");
    let seen = BufReader::new(watcher.stdout.take().expect("output")).lines();
    for word in ["one", "two"] {
        let mut typist = scene.command(&["attach", "-i", "-c", "main", "talks"]);
        let mut typist = typist.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        let mut screen = BufReader::new(typist.stdout.take().expect("output")).lines();
        let mut keys = typist.stdin.take().expect("keys");
        writeln!(keys, "{word}").expect("typed");
        assert_eq!(screen.next().expect("a line").expect("text"), format!("got {word}"));
        typist.kill().expect("ended");
        typist.wait().expect("ends");
    }
    // It may have come after both words, so there are more until it sees one.
    let (told, sight) = std::sync::mpsc::channel();
    let watching = std::thread::spawn(move || {
        for line in seen {
            // Nobody asks any more when one has been seen.
            let _ = told.send(line.expect("text"));
        }
    });
    let began = Instant::now();
    while sight.try_recv().is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "the watcher sees nothing");
        let mut typist = scene.command(&["attach", "-i", "talks"]);
        let mut typist = typist.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        let mut screen = BufReader::new(typist.stdout.take().expect("output")).lines();
        writeln!(typist.stdin.take().expect("keys"), "more").expect("typed");
        assert_eq!(screen.next().expect("a line").expect("text"), "got more");
        typist.kill().expect("ended");
        typist.wait().expect("ends");
    }
    assert_eq!(scene.json(&["pods", "talks"])["phase"], "Running");
    let refused = scene.output(&["attach", "-t", "talks"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && text.contains("no terminal"), "{text}");
    scene.text(&["pods", "delete", "talks"]);
    watching.join().expect("it ends with the container");
    assert!(watcher.wait().expect("ends").success());
}

#[test]
fn a_terminal_in_a_pod() {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
    let scene = Scene::start();
    scene.text(&["run", "--detach", "long", "--", "/bin/sleep", "600"]);
    scene.until_phase("long", "Running");
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal");
    let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("its other end");
    let size = |ws_col, ws_row| Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size(80, 24)).expect("sized");
    let modes = || format!("{:?}", tcgetattr(&theirs).expect("modes"));
    let before = modes();

    let inside = "trap 'echo now $(stty size)' WINCH; until [ \"$(stty size)\" = '24 80' ]; do sleep 0.1; done; echo sized; \
        until read line; do :; done; echo got $line; sleep 600";
    let end = || Stdio::from(theirs.try_clone().expect("a terminal"));
    let mut command = scene.command(&["exec", "-it", "long", "--", "/bin/sh", "-c", inside]);
    let mut running = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("runs");
    let mut terminal = fs::File::from(ours.try_clone().expect("a terminal"));
    let (said, pieces) = std::sync::mpsc::channel();
    let mut screen = terminal.try_clone().expect("a terminal");
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = std::io::Read::read(&mut screen, &mut piece) {
            if said.send(String::from_utf8_lossy(&piece[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut shown = String::new();
    let mut expect = |word: &str| {
        while !shown.contains(word) {
            let piece = pieces.recv_timeout(Duration::from_secs(60));
            shown.push_str(&piece.unwrap_or_else(|_| panic!("never {word}: {shown}")));
        }
    };
    expect("sized");
    assert_ne!(modes(), before);
    tcsetwinsize(&ours, size(101, 33)).expect("sized");
    let pid = rustix::process::Pid::from_child(&running);
    // It is not the terminal's own process here, so the kernel does not tell it.
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).expect("told");
    expect("now 33 101");
    terminal.write_all(b"word\r").expect("typed");
    expect("got word");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
    assert_eq!(running.wait().expect("ends").code(), Some(128 + 15));
    assert_eq!(modes(), before, "the terminal is as it was");
}

#[test]
fn ports_of_a_pod() {
    use std::io::Read;
    use std::net::{Shutdown, TcpStream};
    let scene = Scene::start();
    let program = "import socket\nlistener = socket.create_server(('127.0.0.1', 0))\nprint(listener.getsockname()[1], flush=True)\n\
        while True:\n one = listener.accept()[0]\n count = 0\n\
        \x20while piece := one.recv(65536): count += len(piece)\n one.sendall(b'%d bytes' % count)\n one.close()\n";
    scene.text(&["run", "--detach", "counts", "--", "/usr/bin/python3", "-c", program]);
    scene.until_phase("counts", "Running");
    let began = Instant::now();
    let port = loop {
        let log = scene.text(&["logs", "counts"]);
        if let Ok(port) = log.trim().parse::<u16>() {
            break port;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never a port: {log}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let engine = scene.engine.url.rsplit(':').next().expect("a port").trim_end_matches('/').to_owned();
    let pairs = [format!(":{port}"), format!(":{engine}")];
    let mut command = scene.command(&["port-forward", "counts", &pairs[0], &pairs[1]]);
    let mut forwarder = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    let mut lines = BufReader::new(forwarder.stdout.take().expect("output")).lines();
    let mut door = || {
        let line = lines.next().expect("a line").expect("text");
        let address =
            line.strip_prefix("Forwarding from ").and_then(|rest| rest.split(' ').next()).expect("an address");
        TcpStream::connect(address).expect("connected")
    };
    let mut stream = door();
    stream.write_all(&[7; 1_000_000]).expect("written");
    stream.shutdown(Shutdown::Write).expect("ended");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("read");
    assert_eq!(said, "1000000 bytes");
    // The engine itself listens there, which is none of the pod's business.
    let mut refused = door();
    assert!(refused.read_to_end(&mut Vec::new()).is_ok_and(|length| length == 0));
    let mut complaints = BufReader::new(forwarder.stderr.take().expect("errors")).lines();
    let complaint = complaints.next().expect("a line").expect("text");
    assert!(complaint.contains("no process of the pod listens"), "{complaint}");
    forwarder.kill().expect("ended");
    forwarder.wait().expect("ends");
}

#[test]
fn a_pod_from_a_file() {
    let scene = Scene::start();
    let pod = scene.file(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: two-steps}\nspec:\n  restartPolicy: Never\n  initContainers:\n  \
         - {name: prepare, image: host, command: [/bin/echo, preparing]}\n  containers:\n  \
         - {name: work, image: host, command: [/bin/echo, working]}\n",
    );
    let file = pod.to_str().expect("a path");
    assert_eq!(scene.text(&["run", "-f", file]), "working\n");
    assert_eq!(scene.text(&["logs", "-c", "prepare", "two-steps"]), "preparing\n");
    let job = scene.file(
        "job.json",
        &json!({"kind": "Job", "metadata": {"name": "one"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "host", "command": ["/bin/sh", "-c", "exit 7"]}]}}}})
        .to_string(),
    );
    let output = scene.output(&["run", "-f", job.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let wrong = scene.file("wrong.yaml", "kind: Deployment\nspec: {}\n");
    let output = scene.output(&["run", "-f", wrong.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Deployment"));
}
