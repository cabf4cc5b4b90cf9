//! What each scope permits, through the wire and in every spelling of a path. The bytes of a path go out as they are
//! written: no client's library tidies them up first.

mod scene;
mod wire;

use wire::{Ask, Wire, all, ask, put};

/// The powers of a `storage.*` scope, and none.
const POWERS: [&str; 6] = ["read", "create", "modify", "stage", "poll", "none"];

/// Ways to write a place outside of `/local/foo` that begins like it. What each may do is nothing.
const OUTSIDE_PATHS: [&str; 34] = [
    "/foobar",
    "/foobar/a",
    "/fo",
    "/FOO/a",
    "/bar/a",
    "/%66oobar/a",
    "/foo%62ar/a",
    "/foo/../bar/a",
    "/foo/../foobar",
    "/foo/d/../../bar/a",
    "/foo/./../bar/a",
    "/foo/%2e%2e/bar/a",
    "/foo/%2E%2E/bar/a",
    "/foo/.%2e/bar/a",
    "/foo/%2e./bar/a",
    "/foo/..%2fbar/a",
    "/foo/..%2Fbar%2Fa",
    "/foo%2f..%2fbar%2fa",
    "/foo%2F%2e%2e%2Fbar/a",
    "/foo/%2e%2e%2fbar/a",
    "/foo/..%5cbar%5ca",
    "/foo/..\\bar\\a",
    "/foo%5c..%5cbar/a",
    "/foo/%00/../../bar/a",
    "/foo%00/../bar/a",
    "/foo/a%00",
    "/foo//../bar/a",
    "//bar/a",
    "/foo/%c0%ae%c0%ae/bar/a",
    "/foo/%e0%80%ae%e0%80%ae/bar/a",
    "/foo/%u002e%u002e/bar/a",
    "/foo/../../local/bar/a",
    "/../local/bar/a",
    "/%2e%2e/local/bar/a",
];

/// Decoded twice they would lead out; decoded once they are odd names of nothing in `foo`.
const ODD_NAMES: [&str; 4] =
    ["/foo/%252e%252e/bar/a", "/foo/%252e%252e%252fbar", "/foo/%255c..%255cbar", "/foo/a%2500"];

const TO_NEW: &[(&str, &str)] = &[("Destination", "/dav/local/foo/new")];
const TO_OVER: &[(&str, &str)] = &[("Destination", "/dav/local/foo/b")];
const TO_OUT: &[(&str, &str)] = &[("Destination", "/dav/local/bar/new")];
const TO_LIKE: &[(&str, &str)] = &[("Destination", "/dav/local/foobar/new")];
const TO_HOME: &[(&str, &str)] = &[("Destination", "/dav/home/alice/new")];
const DEPTH_0: &[(&str, &str)] = &[("Depth", "0")];
const DEPTH_1: &[(&str, &str)] = &[("Depth", "1")];

/// Inside `/local/foo`: what each power does.
#[tokio::test]
async fn what_each_power_does() {
    let mut wire = Wire::start().await;
    let with = |method, path, headers| Ask { headers, ..ask(method, path) };
    // In the order of POWERS: read, create, modify, stage, poll, none.
    let table: &[(Ask<'_>, [u16; 6])] = &[
        (ask("GET", "/foo/a"), [200, 403, 403, 403, 403, 403]),
        (ask("GET", "/f%6fo/%61"), [200, 403, 403, 403, 403, 403]),
        (ask("GET", "/foo"), [200, 403, 403, 403, 403, 403]),
        (ask("GET", "/foo/"), [200, 403, 403, 403, 403, 403]),
        (ask("GET", "/foo/a/"), [404, 403, 403, 403, 403, 403]),
        (ask("GET", "/foo/none"), [404, 403, 403, 403, 403, 403]),
        (ask("HEAD", "/foo/a"), [200, 200, 200, 200, 200, 403]),
        (ask("HEAD", "/foo"), [200, 200, 200, 200, 200, 403]),
        (with("PROPFIND", "/foo/a", DEPTH_0), [207, 207, 207, 207, 207, 403]),
        (with("PROPFIND", "/foo", DEPTH_0), [207, 207, 207, 207, 207, 403]),
        (with("PROPFIND", "/foo", DEPTH_1), [207, 403, 403, 403, 403, 403]),
        (with("PROPFIND", "/foo/d/", DEPTH_1), [207, 403, 403, 403, 403, 403]),
        (put("/foo/new"), [403, 201, 201, 403, 403, 403]),
        (put("/foo/x/y/new"), [403, 201, 201, 403, 403, 403]),
        (put("/foo/a"), [403, 412, 204, 403, 403, 403]),
        (put("/foo"), [403, 412, 405, 403, 403, 403]),
        (put("/foo/d"), [403, 412, 405, 403, 403, 403]),
        (ask("DELETE", "/foo/a"), [403, 403, 204, 403, 403, 403]),
        (ask("DELETE", "/foo/e"), [403, 403, 204, 403, 403, 403]),
        (ask("DELETE", "/foo/a/"), [403, 403, 404, 403, 403, 403]),
        (ask("MKCOL", "/foo/new"), [403, 201, 201, 403, 403, 403]),
        (ask("MKCOL", "/foo/d"), [403, 405, 405, 403, 403, 403]),
        (ask("PROPPATCH", "/foo/a"), [403, 403, 400, 403, 403, 403]),
        (with("MOVE", "/foo/a", TO_NEW), [403, 201, 201, 403, 403, 403]),
        (with("MOVE", "/foo/d", TO_NEW), [403, 201, 201, 403, 403, 403]),
        (with("MOVE", "/foo/a", TO_OVER), [403, 403, 204, 403, 403, 403]),
        (with("MOVE", "/foo/a/", TO_NEW), [403, 404, 404, 403, 403, 403]),
        (with("MOVE", "/foo/a", TO_OUT), [403; 6]),
        (with("MOVE", "/foo/a", TO_LIKE), [403; 6]),
        (with("MOVE", "/foo/a", TO_HOME), [403; 6]),
        (with("MOVE", "/foo", TO_LIKE), [403; 6]),
        (with("MOVE", "/bar/a", TO_NEW), [403; 6]),
        (with("MOVE", "/foobar/a", TO_NEW), [403; 6]),
        (with("COPY", "/foo/a", TO_NEW), [403; 6]),
        (with("COPY", "/foo/a", TO_OVER), [403; 6]),
        (with("COPY", "/foo/a", TO_OUT), [403; 6]),
        (with("COPY", "/bar/a", TO_NEW), [403; 6]),
        // The area that holds it: nobody sees what else is there.
        (ask("GET", ""), [403; 6]),
        (ask("GET", "/"), [403; 6]),
        (with("PROPFIND", "/", DEPTH_1), [403; 6]),
    ];
    for (place, power) in POWERS.into_iter().enumerate() {
        let token = wire.token_of(power, "/foo").await;
        for (ask, wanted) in table {
            assert_eq!(wire.status(&token, *ask).await, wanted[place], "{power}: {ask:?}");
        }
    }
    // Copying takes two.
    for (more, new, over) in [("create", 201, 403), ("modify", 201, 204), ("stage", 403, 403)] {
        let token = wire.token(&["storage.read:/local/foo", &format!("storage.{more}:/local/foo")]).await;
        for (ask, wanted) in [
            (with("COPY", "/foo/a", TO_NEW), new),
            (with("COPY", "/foo/d", TO_NEW), new),
            (with("COPY", "/foo/a", TO_OVER), over),
            (with("COPY", "/foo/a", TO_OUT), 403),
            (with("COPY", "/foo/a", TO_LIKE), 403),
            (with("COPY", "/bar/a", TO_NEW), 403),
        ] {
            assert_eq!(wire.status(&token, ask).await, wanted, "read and {more}: {ask:?}");
        }
    }
    wire.end(250).await;
}

/// Every method, every power, every spelling: nothing outside is read, changed or told of.
#[tokio::test]
async fn no_spelling_leads_out() {
    let mut wire = Wire::start().await;
    let address = wire.server.addresses()[0].1;
    for power in POWERS.into_iter().chain(["all"]) {
        let token = wire.token_of(power, "/foo").await;
        for path in OUTSIDE_PATHS {
            for method in ["GET", "HEAD", "PROPFIND", "PUT", "DELETE", "MKCOL", "MOVE", "COPY"] {
                let body = if method == "PUT" { "new" } else { "" };
                let headers = if method == "PROPFIND" { DEPTH_0 } else { TO_NEW };
                let status = wire.status(&token, Ask { method, path, headers, body }).await;
                assert!(matches!(status, 400 | 403 | 404), "{power}: {method} {path}: {status}");
            }
            for method in ["MOVE", "COPY"] {
                for there in [format!("/dav/local{path}"), format!("http://{address}/dav/local{path}")] {
                    let headers: &[(&str, &str)] = &[("Destination", &there)];
                    let status = wire.status(&token, Ask { method, path: "/foo/a", headers, body: "" }).await;
                    // 409: what cannot be decoded is a plain name, in a folder that is not there.
                    assert!(matches!(status, 400 | 403 | 404 | 409), "{power}: {method} to {there}: {status}");
                }
            }
        }
        for path in ODD_NAMES {
            for method in ["GET", "HEAD", "PROPFIND", "PUT", "DELETE", "MKCOL"] {
                let body = if method == "PUT" { "new" } else { "" };
                let status = wire.status(&token, Ask { method, path, headers: DEPTH_0, body }).await;
                // A name in `foo` like any other.
                let may_make = matches!(power, "create" | "modify" | "all") && matches!(method, "PUT" | "MKCOL");
                assert!(status == 201 && may_make || status >= 400, "{power}: {method} {path}: {status}");
            }
        }
    }
    wire.end(2_700).await;
}

/// Links that somebody put there are not followed, whatever the scope.
#[tokio::test]
async fn no_link_leads_out() {
    let mut wire = Wire::start().await;
    let token = wire.token_of("all", "/foo").await;
    for path in ["/foo/link", "/foo/link/", "/foo/folder-link/a", "/foo/folder-link/", "/foo/folder-link/../a"] {
        for method in ["GET", "HEAD", "PROPFIND", "MKCOL", "MOVE", "COPY"] {
            let headers = if method == "PROPFIND" { DEPTH_1 } else { TO_NEW };
            let status = wire.status(&token, Ask { method, path, headers, body: "" }).await;
            assert!((400..500).contains(&status), "{method} {path}: {status}");
        }
    }
    for ask in [put("/foo/folder-link/a"), put("/foo/folder-link/new"), ask("DELETE", "/foo/folder-link/a")] {
        let status = wire.status(&token, ask).await;
        assert!((400..500).contains(&status), "{ask:?}: {status}");
    }
    // Copied with its folder, a link is left out.
    let copied = wire.status(&token, Ask { headers: &[("Destination", "/dav/local/foo/e")], ..ask("COPY", "/foo/d") });
    assert_eq!(copied.await, 204);
    let copy = wire.scene.folder("local").join("foo/e");
    assert!(copy.join("f").exists() && copy.join("link").symlink_metadata().is_err());
    // A file may take the name of a link; what it led to is as it was.
    assert_eq!(wire.status(&token, put("/foo/link")).await, 204);
    assert_eq!(wire.status(&token, ask("DELETE", "/foo/link")).await, 403);
    wire.end(30).await;
}

/// A scope with a slash at its end is for a folder: not for a file of that name.
#[tokio::test]
async fn a_slash_at_the_end_is_for_a_folder() {
    let mut wire = Wire::start().await;
    let token = wire.token_of("all", "/foo/a/").await;
    for path in ["/foo/a", "/foo/a/"] {
        for method in ["GET", "HEAD", "PROPFIND", "PUT", "DELETE", "MOVE", "COPY"] {
            let headers = if method == "PROPFIND" { DEPTH_0 } else { &[("Destination", "/dav/local/foo/a/new")] };
            let body = if method == "PUT" { "new" } else { "" };
            let status = wire.status(&token, Ask { method, path, headers, body }).await;
            assert!((400..500).contains(&status), "{method} {path}: {status}");
        }
    }
    let scopes = all("/foo/new/");
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).chain(["storage.read:/local/foo/b"]).collect();
    let token = wire.token(&scopes).await;
    assert_eq!(wire.status(&token, put("/foo/new")).await, 403);
    for there in ["/dav/local/foo/new", "/dav/local/foo/new/"] {
        let headers: &[(&str, &str)] = &[("Destination", there)];
        assert_eq!(wire.status(&token, Ask { headers, ..ask("COPY", "/foo/b") }).await, 403, "{there}");
    }
    assert_eq!(wire.status(&token, ask("MKCOL", "/foo/new")).await, 201);
    assert_eq!(wire.status(&token, put("/foo/new/f")).await, 201);
    let token = wire.token_of("all", "/foo/e/").await;
    for path in ["/foo/e", "/foo/e/"] {
        assert_eq!(wire.status(&token, ask("GET", path)).await, 200, "{path}");
        let listing = Ask { headers: DEPTH_1, ..ask("PROPFIND", path) };
        assert_eq!(wire.status(&token, listing).await, 207, "{path}");
    }
    wire.end(20).await;
}

/// Who may create in a place may make the folders that lead to it, and put nothing else into them.
#[tokio::test]
async fn folders_that_lead_there() {
    let mut wire = Wire::start().await;
    for power in ["create", "modify"] {
        let scope = format!("storage.{power}:/local/foo/x/y/z");
        let token = wire.token(&[&scope, "storage.read:/local/foo/d", "storage.modify:/local/foo/e"]).await;
        assert_eq!(wire.status(&token, put("/foo/x/y/z/f")).await, 201);
        assert_eq!(wire.status(&token, ask("MKCOL", "/foo/x")).await, 201);
        assert_eq!(wire.status(&token, ask("HEAD", "/foo")).await, 200);
        for ask in
            [ask("GET", "/foo"), put("/foo/x"), put("/foo/x/y"), ask("MKCOL", "/foo/xx"), ask("DELETE", "/foo/x/")]
        {
            assert_eq!(wire.status(&token, ask).await, 403, "{power}: {ask:?}");
        }
        for (method, path) in [("COPY", "/foo/d/"), ("COPY", "/foo/d/f"), ("MOVE", "/foo/e/"), ("MOVE", "/foo/")] {
            for there in ["/dav/local/foo/x/", "/dav/local/foo/x/y/", "/dav/local/foo/"] {
                let headers: &[(&str, &str)] = &[("Destination", there)];
                assert_eq!(
                    wire.status(&token, Ask { headers, ..ask(method, path) }).await,
                    403,
                    "{method} {path} {there}"
                );
            }
        }
        // A file where a folder should lead on is none of theirs.
        let token = wire.token(&[&format!("storage.{power}:/local/foo/a/z")]).await;
        for ask in [ask("HEAD", "/foo/a"), ask("GET", "/foo/a"), Ask { headers: DEPTH_0, ..ask("PROPFIND", "/foo/a") }]
        {
            assert_eq!(wire.status(&token, ask).await, 403, "{power}: {ask:?}");
        }
    }
    // Seeing that something is there is not listing it.
    for power in ["create", "modify", "stage", "poll"] {
        let token = wire.token(&[&format!("storage.{power}:/local")]).await;
        for path in ["", "/"] {
            assert_eq!(wire.status(&token, ask("GET", path)).await, 403, "{power} {path:?}");
            assert_eq!(wire.status(&token, ask("HEAD", path)).await, 200, "{power} {path:?}");
        }
    }
    wire.end(60).await;
}
