//! A ban comes while programs spin: one that refreshes a person's token without end, one with credentials of its own. Both
//! are out within moments, what they hold is worthless at once, and lifting the ban does not give the person's grant back.

mod issuer_support;

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use dte_base::secret::Secret;
use dte_identity::testing::{TestEngine, TestSetup};
use dte_identity::{AdminClient, Mount, NewBan, Require, Routes};
use dte_store::Store;
use dte_store::testing::{POSTGRES_VARIABLE, postgres_options};
use issuer_support::*;
use serde_json::{Value, json};

const CONFIG: &str = "[identity.issuer]\nregistrations_per_minute = 1000\n";
const AGENT: &str = "openid wlcg offline_access";
/// In one process it is a matter of milliseconds, across two of two seconds; what is asserted leaves room for a machine
/// that does much else.
const LIMIT_HERE: Duration = Duration::from_secs(10);
const LIMIT_ACROSS: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(30);

fn mounts() -> Vec<Mount> {
    let routes = Routes::new("demo")
        .get("/me", Require::Authenticated, async || "ok")
        .post("/things", Require::Authenticated, async || "begun")
        .post("/pods", Require::Scope("compute.create"), async || "begun");
    vec![Mount { prefix: "/demo", routes }]
}

/// What a spinning program has come to.
#[derive(Default)]
struct Spinning {
    tries: Cell<u32>,
    good: Cell<u32>,
    /// Good ones that began when the ban was in force.
    late: Cell<u32>,
    is_banned: Cell<bool>,
    refused: Cell<Option<Instant>>,
    is_over: Cell<bool>,
}

impl Spinning {
    async fn spin(&self, ask: impl AsyncFn() -> bool) {
        while !self.is_over.get() {
            let was_banned = self.is_banned.get();
            if ask().await {
                self.good.set(self.good.get() + 1);
                self.late.set(self.late.get() + u32::from(was_banned));
            } else if self.refused.get().is_none() {
                self.refused.set(Some(Instant::now()));
            }
            self.tries.set(self.tries.get() + 1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Refreshes once; keeps what it gets.
async fn refreshes(engine: &TestEngine, app: &App, held: &RefCell<Value>) -> bool {
    let present = text(&held.borrow(), "refresh_token").to_owned();
    let (status, answer) = refresh(engine, app, &present, &[]).await;
    if status == 200 {
        held.replace(answer);
    }
    status == 200
}

/// Gets a token of its own and begins something with it.
async fn works(engine: &TestEngine, robot: &App, held: &RefCell<Value>) -> bool {
    let (status, answer) = token(engine, robot, &[("grant_type", "client_credentials")]).await;
    if status != 200 {
        return false;
    }
    let begun = begins(engine, "/demo/pods", text(&answer, "access_token")).await == 200;
    if begun {
        held.replace(answer);
    }
    begun
}

async fn begins(engine: &TestEngine, path: &str, token: &str) -> u16 {
    let request = engine.client.post(engine.url_of(path)).header("authorization", format!("Bearer {token}"));
    request.send().await.expect("an answer").status.as_u16()
}

async fn ask(engine: &TestEngine, token: &Secret, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let method = http::Method::from_bytes(method.as_bytes()).expect("a method");
    let request = engine.client.request(method, engine.url_of(path)).bearer(token);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let reply = request.send().await.expect("an answer");
    let status = reply.status.as_u16();
    let text = reply.text().await.expect("a text");
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn robot(engine: &TestEngine) -> App {
    let metadata = json!({"client_name": "robot", "grant_types": ["client_credentials"], "scope": "compute.create"});
    register_trusted(engine, metadata).await
}

fn bans(robot: &App) -> [NewBan; 2] {
    let why = || "stolen credentials".to_owned();
    [
        NewBan { subject: Some("alice".to_owned()), reason: why(), ..NewBan::default() },
        NewBan { client_id: Some(robot.id.clone()), reason: why(), ..NewBan::default() },
    ]
}

/// All records of the trail that the answers to one question hold, and the first answer.
async fn traced(engine: &TestEngine, subject: &str) -> (Value, Vec<Value>) {
    let (mut first, mut records, mut after) = (None, Vec::new(), 0);
    loop {
        let path = format!("/policy/v1/trace?subject={subject}&after={after}");
        let (status, answer) = ask(engine, &engine.admin_token(), "GET", &path, None).await;
        assert_eq!(status, 200, "{answer}");
        records.extend(answer["records"].as_array().expect("a list").iter().cloned());
        let next = answer["next"].as_i64();
        first.get_or_insert(answer);
        match next {
            Some(next) => after = next,
            None => return (first.expect("an answer"), records),
        }
    }
}

#[tokio::test]
async fn spinning_programs_are_out_at_once_and_the_grant_stays_dead() {
    for store in dte_store::testing::stores().await.expect("stores") {
        let setup = TestSetup { config: CONFIG.to_owned(), store: Some(store), ..TestSetup::default() };
        let engine = TestEngine::start_with(setup, async |_| Ok(mounts())).await;
        engine.identity.serve_admin_socket(engine.data_dir(), &engine.tasks).expect("served");
        let socket = AdminClient::new(engine.data_dir());
        engine.identity.add_user("alice", false, "test").await.expect("made");
        let terms = json!({"url": "https://example.org/aup", "signatureValidityInDays": 0});
        assert_eq!(ask(&engine, &engine.admin_token(), "POST", "/oidc/iam/aup", Some(&terms)).await.0, 201);
        let herself = engine.token_for("alice", &[]).await;
        assert_eq!(ask(&engine, &herself, "POST", "/oidc/iam/aup/signature", None).await.0, 201);
        let bystander = engine.token_for("bob", &[]).await;
        // A program without a secret: its refresh token changes with each use.
        let (app, robot) = (public_app(&engine).await, robot(&engine).await);

        for by_socket in [true, false] {
            let alice = Browser::signed_in(&engine, "alice").await;
            let (held, own) = (RefCell::new(alice.tokens(&app, AGENT).await), RefCell::new(Value::Null));
            let (person, program) = (Spinning::default(), Spinning::default());
            let both = [&person, &program];
            let story = async {
                until("both spin", || both.iter().all(|one| one.good.get() >= 5)).await;
                let begun = Instant::now();
                let mut made = Vec::new();
                for ban in bans(&robot) {
                    made.push(if by_socket {
                        socket.add_ban(&ban).await.expect("banned")
                    } else {
                        engine.identity.ban(ban, "admin").await.expect("banned")
                    });
                }
                both.iter().for_each(|one| one.is_banned.set(true));
                // What they hold is worth nothing from the moment that the ban is told to be in force.
                let (hers, its) = (held.borrow().clone(), own.borrow().clone());
                assert_eq!(begins(&engine, "/demo/things", text(&hers, "access_token")).await, 401);
                assert_eq!(begins(&engine, "/demo/pods", text(&its, "access_token")).await, 401);
                assert_eq!(get_with(&engine, "/oidc/userinfo", text(&hers, "access_token")).await, 401);
                assert_eq!(alice.get("/oidc/account").await.status, 303, "her browser is out, too");
                until("both are refused", || both.iter().all(|one| one.refused.get().is_some())).await;
                for (name, one) in [("refresh", &person), ("client credentials", &program)] {
                    let took = one.refused.get().expect("refused").duration_since(begun);
                    eprintln!("{name}: refused {took:?} after the ban was asked for (by socket: {by_socket})");
                    assert!(took < LIMIT_HERE, "{name}: {took:?}");
                }
                assert_eq!(get_with(&engine, "/demo/me", bystander.expose()).await, 200, "nobody else is");
                let tries = both.map(|one| one.tries.get() + 5);
                until("they go on trying", || both.iter().zip(tries).all(|(one, wanted)| one.tries.get() > wanted))
                    .await;
                assert_eq!(both.map(|one| one.late.get()), [0, 0], "good answers although banned");

                both.iter().for_each(|one| one.is_banned.set(false));
                let before = (person.good.get(), person.tries.get());
                for ban in made {
                    if by_socket {
                        socket.lift_ban(&ban.id).await.expect("lifted");
                    } else {
                        engine.identity.lift_ban(&ban.id, "admin").await.expect("lifted");
                    }
                }
                // The program gets in again with its secret; the person's grant is gone for good.
                let good = program.good.get();
                until("the program works again", || program.good.get() > good).await;
                until("it goes on trying", || person.tries.get() > before.1 + 5).await;
                assert_eq!(person.good.get(), before.0, "a grant came back");
                both.iter().for_each(|one| one.is_over.set(true));
            };
            tokio::join!(
                person.spin(async || refreshes(&engine, &app, &held).await),
                program.spin(async || works(&engine, &robot, &own).await),
                story
            );
            let again = Browser::signed_in(&engine, "alice").await.tokens(&app, AGENT).await;
            assert_eq!(refresh(&engine, &app, text(&again, "refresh_token"), &[]).await.0, 200, "a new login helps");
            assert_eq!(begins(&engine, "/demo/things", text(&again, "access_token")).await, 200);
        }

        // Who it was, what was agreed to, through which program, and what was done.
        engine.identity.audit().write_permits().await;
        let (first, records) = traced(&engine, "alice").await;
        let person = first["identities"].as_array().expect("a list").iter().find(|one| one["name"] == "alice");
        let person = person.expect("alice");
        assert_eq!((&person["kind"], &person["aup"][0]["version"]), (&json!("account"), &json!("1.0.0")), "{person}");
        let issued = |one: &&Value| one["action"] == "token.issue" && one["detail"]["client"] == app.id.as_str();
        assert!(records.iter().filter(issued).count() >= 10, "each token names the program that it was for");
        for action in ["user.add", "aup.accept", "consent.give", "ban.add", "grant.end"] {
            assert!(records.iter().any(|one| one["action"] == action), "{action}");
        }
        let did = |one: &&Value| one["kind"] == "permits" && one["subject"] == "alice" && one["route"] == "/things";
        let deed = records.iter().find(did).expect("what she did");
        assert_eq!((&deed["method"], &deed["client_id"]), (&json!("POST"), &json!(app.id)), "{deed}");
        assert!(records.iter().all(|one| one["subject"] != "bob" && one["by"] != "bob"));
        let (_, of_robot) = traced(&engine, &robot.id).await;
        let did = |one: &Value| one["kind"] == "permits" && one["route"] == "/pods";
        assert!(of_robot.iter().any(did), "what the program did");
        let report = engine.identity.audit().verify().await.expect("read");
        assert!(report.broken_at.is_none(), "{report:?}");
        assert!(engine.stop().await);
    }
}

#[tokio::test]
async fn across_two_processes() {
    let Some(options) = postgres_options() else {
        eprintln!("SKIPPED: {POSTGRES_VARIABLE} is not set");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("shared.key");
    let shared =
        format!("[http]\npublic_url = 'https://twin.example'\n[identity]\nsecret_key_file = '{}'\n", key.display());
    let config = format!("{shared}{CONFIG}");
    let engine = async || {
        let store = Store::open(&options).await.expect("a store");
        let setup = TestSetup { config: config.clone(), shared_store: Some(store), ..TestSetup::default() };
        TestEngine::start_with(setup, async |_| Ok(mounts())).await
    };
    let (one, two) = tokio::join!(engine(), engine());
    one.identity.add_user("alice", false, "test").await.expect("made");
    let (app, robot) = (public_app(&one).await, robot(&one).await);
    let tokens = Browser::signed_in(&one, "alice").await.tokens(&app, AGENT).await;
    let first = text(&tokens, "access_token").to_owned();
    let (held, own) = (RefCell::new(tokens), RefCell::new(Value::Null));
    // The other process has to learn of the account and the program before they can spin there.
    let started = Instant::now();
    while !works(&two, &robot, &own).await || get_with(&two, "/demo/me", &first).await != 200 {
        assert!(started.elapsed() < PATIENCE, "the other process does not know them");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (person, program) = (Spinning::default(), Spinning::default());
    let both = [&person, &program];
    let story = async {
        until("both spin", || both.iter().all(|one| one.good.get() >= 5)).await;
        let begun = Instant::now();
        let mut made = Vec::new();
        for ban in bans(&robot) {
            made.push(one.identity.ban(ban, "admin").await.expect("banned"));
        }
        let hers = held.borrow().clone();
        assert_eq!(
            get_with(&one, "/demo/me", text(&hers, "access_token")).await,
            401,
            "at once where it was asked for"
        );
        until("both are refused", || both.iter().all(|one| one.refused.get().is_some())).await;
        for (name, one) in [("refresh", &person), ("client credentials", &program)] {
            let took = one.refused.get().expect("refused").duration_since(begun);
            eprintln!("{name}: refused by the other process {took:?} after the ban was asked for");
            assert!(took < LIMIT_ACROSS, "{name}: {took:?}");
        }
        // Tokens that were good until now, at the other process.
        let (hers, its) = (held.borrow().clone(), own.borrow().clone());
        let last = Instant::now();
        while get_with(&two, "/demo/me", text(&hers, "access_token")).await != 401
            || begins(&two, "/demo/pods", text(&its, "access_token")).await != 401
        {
            assert!(last.elapsed() < LIMIT_ACROSS, "tokens live on at the other process");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        eprintln!("tokens: refused by the other process {:?} after the ban was asked for", begun.elapsed());
        let before = person.good.get();
        for ban in made {
            one.identity.lift_ban(&ban.id, "admin").await.expect("lifted");
        }
        let good = program.good.get();
        until("the program works again", || program.good.get() > good).await;
        let tries = person.tries.get();
        until("it goes on trying", || person.tries.get() > tries + 5).await;
        assert_eq!(person.good.get(), before, "a grant came back");
        both.iter().for_each(|one| one.is_over.set(true));
    };
    tokio::join!(
        person.spin(async || refreshes(&two, &app, &held).await),
        program.spin(async || works(&two, &robot, &own).await),
        story
    );
    assert!(one.stop().await && two.stop().await);
}
