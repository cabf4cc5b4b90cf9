//! `dte fs` between this machine and an engine's storage: what goes there comes back, and failures have the numbers that
//! scripts know.

mod harness;

use std::path::{Path, PathBuf};
use std::process::Output;

use harness::{Engine, dte};

struct Bench {
    folder: tempfile::TempDir,
    engine: Engine,
}

/// `dte fs` without a token from around it.
fn fs(arguments: &[&str], data_dir: &Path) -> Output {
    let mut command = dte();
    command.env_remove("BEARER_TOKEN").env_remove("BEARER_TOKEN_FILE").env_remove("XDG_RUNTIME_DIR");
    command.arg("fs").args(arguments).arg("--data-dir").arg(data_dir).output().expect("runs")
}

impl Bench {
    fn start() -> Bench {
        let folder = tempfile::tempdir().expect("folder");
        let engine = Engine::start(&folder.path().join("d"), &["up"], &[]);
        Bench { folder, engine }
    }

    fn url(&self, name: &str) -> String {
        format!("{}/dav/home/admin/{name}", self.engine.url.replace("http", "dav"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        fs(arguments, &self.engine.data_dir)
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {complaint}\n{}", self.engine.log());
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeds: {}", String::from_utf8_lossy(&output.stdout));
        let all = [output.stdout, output.stderr].concat();
        (output.status.code().expect("a code"), String::from_utf8_lossy(&all).into_owned())
    }

    fn write(&self, name: &str, data: &[u8]) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(&path, data).expect("writes");
        path.display().to_string()
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn there_and_back() {
    let bench = Bench::start();
    let data: Vec<u8> = (0..3_000_017_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (big, small) = (bench.write("tree/a b/big", &data), bench.write("tree/small", b"123456789"));
    std::fs::create_dir(bench.path("tree/empty")).expect("folder");
    bench.write("tree/a b/nothing", b"");
    // One file, with its checksum.
    bench.says(&["cp", &small, &bench.url("one/small"), "-K", "adler32:091e01de"]);
    assert_eq!(bench.says(&["sum", &bench.url("one/small")]), format!("{} 091e01de", bench.url("one/small")));
    assert_eq!(bench.says(&["sum", &small, "md5"]), format!("{small} 25f9e794323b453885f5181f1b624d0b"));
    assert_eq!(bench.says(&["cat", &bench.url("one/small"), &small]), "123456789123456789");
    // A tree there and back, several files at once.
    bench.says(&["cp", "-r", "-n", "3", &text(&bench.path("tree")), &bench.url("tree")]);
    assert_eq!(bench.says(&["ls", &bench.url("tree")]), "a b\nempty\nsmall");
    bench.says(&["cp", "-r", &bench.url("tree"), &text(&bench.path("back"))]);
    assert_eq!(std::fs::read(bench.path("back/a b/big")).expect("reads"), data);
    assert_eq!(std::fs::read(&big).expect("reads"), data);
    assert!(bench.path("back/empty").is_dir());
    assert_eq!(std::fs::read(bench.path("back/a b/nothing")).expect("reads"), b"");
    bench.says(&["cp", &text(&bench.path("tree/a b/nothing")), &text(&bench.path("here"))]);
    assert_eq!(std::fs::read(bench.path("here")).expect("reads"), b"");
    let long = bench.says(&["ls", "-l", &bench.url("tree")]);
    assert!(long.lines().any(|line| line.starts_with("file") && line.contains("  9  ")), "{long}");
    let about = bench.says(&["stat", "--json", &bench.url("tree/small")]);
    assert!(about.contains("\"bytes\": 9") && about.contains("\"type\": \"file\""), "{about}");
    // Another name, folders, and the end of it.
    bench.says(&["mv", &bench.url("tree/small"), &bench.url("tree/moved")]);
    bench.says(&["mkdir", "-p", &bench.url("tree/x/y")]);
    assert_eq!(bench.says(&["ls", &bench.url("tree")]), "a b\nempty\nmoved\nx");
    let gone = bench.says(&["rm", "-r", &bench.url("tree")]);
    assert!(gone.contains("/tree/moved\tDELETED") && gone.ends_with("/tree\tRMDIR"), "{gone}");
    assert_eq!(bench.fails(&["ls", &bench.url("tree")]).0, 2);
}

#[test]
fn failures_have_numbers() {
    let bench = Bench::start();
    let small = bench.write("small", b"123456789");
    let there = bench.url("f");
    bench.says(&["cp", &small, &there]);
    let (code, said) = bench.fails(&["cp", &small, &there]);
    assert_eq!(code, 17);
    assert!(said.contains("17 (File exists) - "), "{said}");
    bench.says(&["cp", "-f", &small, &there]);
    assert_eq!(bench.fails(&["cp", &there, &small]).0, 17);
    let (code, said) = bench.fails(&["cp", &small, &bench.url("wrong"), "-K", "adler32:1"]);
    assert_eq!(code, 5);
    assert!(said.contains("CHECKSUM MISMATCH"), "{said}");
    assert_eq!(bench.fails(&["cp", &there, &text(&bench.path("wrong")), "-K", "adler32:1"]).0, 5);
    assert!(!bench.path("wrong").exists());
    assert_eq!(bench.says(&["ls", &bench.url("")]), "f");
    assert_eq!(bench.fails(&["cat", &bench.url("none")]).0, 2);
    assert_eq!(bench.fails(&["cp", &text(bench.folder.path()), &bench.url("x")]).0, 21);
    assert_eq!(bench.fails(&["rm", &bench.url("")]).0, 21);
    assert_eq!(bench.fails(&["mkdir", &bench.url("")]).0, 17);
    assert_eq!(bench.fails(&["mkdir", &bench.url("a/b/c")]).0, 2);
    assert_eq!(bench.fails(&["mv", &there, &text(&bench.path("y"))]).0, 18);
    assert_eq!(bench.fails(&["ls", "srm://host/x"]).0, 38);
    assert_eq!(bench.fails(&["ls", "https://no-such-host.invalid/x"]).0, 112);
    let (code, said) = bench.fails(&["rm", &bench.url("none"), &there]);
    assert_eq!(code, 2);
    assert!(said.contains("/none\tMISSING") && said.contains("/f\tDELETED"), "{said}");
    // A link is deleted itself.
    let link = bench.path("link");
    std::os::unix::fs::symlink(&small, &link).expect("links");
    assert_eq!(bench.says(&["cat", &text(&link)]), "123456789");
    bench.says(&["rm", &text(&link)]);
    assert!(Path::new(&small).exists() && !link.is_symlink());
}

#[test]
fn tokens_go_where_they_are_meant_to() {
    let bench = Bench::start();
    let (small, there) = (bench.write("small", b"1"), bench.url("a/f"));
    let token = bench.write("token", bench.engine.token().as_bytes());
    let elsewhere = bench.path("elsewhere");
    // No engine is known there, so nothing but the flags tells a token.
    let own = |arguments: &[&str]| fs(arguments, &elsewhere).status.code();
    assert_eq!(own(&["cp", &small, &there]), Some(13));
    let below = format!("{}={token}", bench.url("a"));
    assert_eq!(own(&["cp", &small, &there, "--token-for", &below]), Some(0));
    assert_eq!(own(&["cat", &there, "--token-for", &format!("{}={token}", bench.url("b"))]), Some(13));
    assert_eq!(own(&["cat", &there, "--token-file", &token]), Some(0));
}

/// Needs no engine: what in a tree cannot be copied is told, and keeps nothing else from being copied.
#[test]
fn nothing_of_a_tree_is_left_out_in_silence() {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    let folder = tempfile::tempdir().expect("folder");
    let (tree, copy) = (folder.path().join("tree"), folder.path().join("copy"));
    std::fs::create_dir_all(tree.join("sub")).expect("folders");
    for name in [&b"fine"[..], b"sub/too", b"a\\b", b"a\xffb"] {
        std::fs::write(tree.join(std::ffi::OsStr::from_bytes(name)), "x").expect("writes");
    }
    symlink(tree.join("fine"), tree.join("link")).expect("links");
    symlink(tree.join("sub"), tree.join("around")).expect("links");
    symlink("nowhere", tree.join("dangling")).expect("links");
    let output = fs(&["cp", "-r", &text(&tree), &text(&copy)], folder.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("4 of what was asked for"), "{said}");
    for odd in ["a\\\\b", "a\\\\xffb", "tree/around: a link to a folder", "tree/dangling: a link"] {
        assert!(said.contains(odd), "{odd}: {said}");
    }
    for name in ["fine", "sub/too", "link"] {
        assert_eq!(std::fs::read(copy.join(name)).expect("was copied"), b"x", "{name}");
    }
    assert!(!copy.join("link").is_symlink());
    let listed = fs(&["ls", &text(&tree)], folder.path());
    assert!(!listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains("fine"));

    // Another filesystem of this machine, where there is one.
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let device = |path: &Path| std::fs::metadata(path).expect("is there").dev();
    if device(elsewhere.path()) == device(folder.path()) {
        return;
    }
    let moved = fs(&["mv", &text(&tree.join("fine")), &text(elsewhere.path())], folder.path());
    let said = String::from_utf8_lossy(&moved.stderr).into_owned();
    assert_eq!(moved.status.code(), Some(18), "{said}");
    assert!(said.contains("Invalid cross-device link") && said.contains("dte fs cp"), "{said}");
}
