//! Rules, locks, transfers, and when a dataset is ready.

mod support;

use dte_protocol_rucio::{Attachment, Class, Did, LockState, NewDid, NewRule, RuleState};
use http::Method;
use serde_json::json;
use support::{Mood, World, worlds};

#[tokio::test]
async fn a_rule_brings_copies_and_the_dataset_is_ready_once() {
    for world in worlds().await {
        let lake = world.lake();
        world.rse("FAR").await;
        let files = world.files("enso", &["a", "b"]).await;
        let dataset = Did::new("enso", "ds");
        lake.ensure_dids(&[NewDid::dataset(&dataset)]).await.expect("dataset");
        let rule = lake.add_rule(&NewRule::new(dataset.clone(), 2, "LOCAL|FAR")).await.expect("rule");
        assert_eq!(lake.get_rule(&rule).await.expect("rule").state, RuleState::Ok, "nothing to do yet");
        assert_eq!(lake.add_rule(&NewRule::new(dataset.clone(), 2, "LOCAL|FAR")).await.expect("again"), rule);
        lake.attach(&[Attachment::new(&dataset, files.clone())]).await.expect("attach");
        lake.close(&dataset).await.expect("close");
        lake.close(&dataset).await.expect("closed already is done");
        world
            .until("the rule is OK", || async { lake.get_rule(&rule).await.expect("rule").state == RuleState::Ok })
            .await;
        let info = lake.get_rule(&rule).await.expect("rule");
        assert_eq!((info.locks_ok_cnt, info.locks_replicating_cnt, info.locks_stuck_cnt), (4, 0, 0));
        let replicas = lake.list_replicas(std::slice::from_ref(&dataset)).await.expect("replicas");
        assert_eq!(replicas.len(), 2);
        assert!(replicas[0].rses["FAR"][0].starts_with("davs://far.example.org:443/data/enso/"), "{replicas:?}");
        world.told("org.dte.lake.dataset.closed", 1).await;
        let ready = world.told("org.dte.lake.dataset.ready", 1).await;
        assert_eq!((&ready[0].data["files"], &ready[0].data["bytes"]), (&json!(2), &json!(20)));
        assert_eq!(world.fts.count(), 2);
        world.told("org.dte.lake.replica.available", 4).await;
        let usage = world.get("/rses/FAR/usage").await.lines();
        assert_eq!((&usage[0]["files"], &usage[0]["used"]), (&json!(2), &json!(20)));
        let usage = world.get("/accounts/root/usage").await.lines();
        assert_eq!((&usage[0]["files"], &usage[0]["bytes"]), (&json!(2), &json!(20)));
        // Ready is told once, whatever rules come later.
        world.rse("THIRD").await;
        lake.add_rule(&NewRule::new(dataset.clone(), 1, "THIRD")).await.expect("rule");
        world.until("all transfers", || async { world.fts.count() == 4 }).await;
        world.until("rule.ok", || async { world.events("org.dte.lake.rule.ok").await.len() >= 3 }).await;
        assert_eq!(world.events("org.dte.lake.dataset.ready").await.len(), 1);
    }
}

#[tokio::test]
async fn datasets_without_rules_are_ready_when_closed_and_containers_cover() {
    for world in worlds().await {
        let lake = world.lake();
        world.rse("FAR").await;
        let files = world.files("enso", &["a", "b", "c"]).await;
        let (free, one, two, all) =
            (Did::new("enso", "free"), Did::new("enso", "one"), Did::new("enso", "two"), Did::new("enso", "all"));
        lake.ensure_dids(&[
            NewDid::dataset(&free),
            NewDid::dataset(&one),
            NewDid::dataset(&two),
            NewDid::container(&all),
        ])
        .await
        .expect("collections");
        lake.attach(&[Attachment::new(&free, [files[0].clone()])]).await.expect("attach");
        lake.close(&free).await.expect("close");
        world.told("org.dte.lake.dataset.ready", 1).await;

        world.fts.set(Mood::Hold);
        let rule = lake.add_rule(&NewRule::new(all.clone(), 1, "FAR")).await.expect("rule");
        lake.attach(&[
            Attachment::new(&all, [one.clone(), two.clone()]),
            Attachment::new(&one, [files[1].clone()]),
            Attachment::new(&two, [files[2].clone()]),
        ])
        .await
        .expect("attach");
        lake.close(&one).await.expect("close");
        lake.close(&two).await.expect("close");
        world.until("two jobs", || async { world.fts.count() == 2 }).await;
        assert_eq!(world.events("org.dte.lake.dataset.ready").await.len(), 1, "the rule above covers them");
        let job_of = |name: &'static str| {
            let jobs = world.fts.jobs.lock().expect("lock");
            jobs.iter()
                .find(|(_, job)| job["files"][0]["metadata"]["name"] == name)
                .map(|(id, _)| id.clone())
                .expect("job")
        };
        world.fts.tell(&job_of("b"), true).await;
        world.told("org.dte.lake.dataset.ready", 2).await;
        assert_eq!(lake.get_rule(&rule).await.expect("rule").state, RuleState::Replicating, "the other is not");
        let told = job_of("c");
        world.fts.tell(&told, true).await;
        world.fts.tell(&told, true).await;
        world.told("org.dte.lake.dataset.ready", 3).await;
        assert_eq!(lake.get_rule(&rule).await.expect("rule").state, RuleState::Ok);
    }
}

#[tokio::test]
async fn what_fails_is_stuck_with_a_reason_and_comes_back() {
    for world in worlds().await {
        let lake = world.lake();
        world.rse("FAR").await;
        lake.ensure_scope("root", "enso").await.expect("scope");
        // A file of which no copy can be read: the upload has not ended.
        let did = Did::new("enso", "late");
        let body = json!({"rse": "LOCAL", "files": [{"scope": "enso", "name": "late", "bytes": 3, "adler32": "0000000a", "state": "C"}]});
        assert_eq!(world.post("/replicas", body).await.status, 201);
        let here = lake.add_rule(&NewRule::new(did.clone(), 1, "LOCAL")).await.expect("rule");
        let far = lake.add_rule(&NewRule::new(did.clone(), 1, "FAR")).await.expect("rule");
        assert_eq!(lake.get_rule(&here).await.expect("rule").state, RuleState::Replicating);
        let stuck = lake.get_rule(&far).await.expect("rule");
        assert_eq!(stuck.state, RuleState::Stuck);
        assert!(stuck.error.expect("reason").contains("MissingSourceReplica"));
        world.told("org.dte.lake.rule.stuck", 1).await;
        let dataset = Did::new("enso", "ds");
        lake.ensure_dids(&[NewDid::dataset(&dataset)]).await.expect("dataset");
        lake.attach(&[Attachment::new(&dataset, [did.clone()])]).await.expect("attach");
        lake.add_rule(&NewRule::new(dataset.clone(), 1, "FAR")).await.expect("rule");
        lake.close(&dataset).await.expect("close");
        assert!(world.events("org.dte.lake.dataset.ready").await.is_empty());
        // The upload ends: everything follows.
        let body = json!({"rse": "LOCAL", "files": [{"scope": "enso", "name": "late", "state": "A"}]});
        assert_eq!(world.call(&world.root, Method::PUT, "/replicas", Some(&body)).await.status, 200);
        assert_eq!(lake.get_rule(&here).await.expect("rule").state, RuleState::Ok);
        world
            .until("the far rule is OK", || async { lake.get_rule(&far).await.expect("rule").state == RuleState::Ok })
            .await;
        world.told("org.dte.lake.dataset.ready", 1).await;
        assert!(lake.get_rule(&far).await.expect("rule").error.is_none());
        assert_eq!(world.fts.count(), 1, "one transfer serves both rules");
    }
}

#[tokio::test]
async fn a_transfer_service_that_is_away_is_asked_again() {
    for world in worlds().await {
        let lake = world.lake();
        world.rse("FAR").await;
        let files = world.files("enso", &["a"]).await;
        world.fts.set(Mood::Away);
        let rule = lake.add_rule(&NewRule::new(files[0].clone(), 1, "FAR")).await.expect("rule");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let state = lake.get_rule(&rule).await.expect("rule");
        assert_eq!((state.state, state.locks_replicating_cnt), (RuleState::Replicating, 1));
        world.fts.set(Mood::Fail);
        world.until("an attempt failed", || async { world.fts.count() >= 1 }).await;
        world.fts.set(Mood::Finish);
        world
            .until("the rule is OK", || async { lake.get_rule(&rule).await.expect("rule").state == RuleState::Ok })
            .await;
        let locks = lake.list_locks(&rule).await.expect("locks");
        assert_eq!((locks.len(), locks[0].state, locks[0].rse.as_str()), (1, LockState::Ok, "FAR"));
        assert!(world.fts.count() >= 2, "each attempt is a job of its own");
    }
}

#[tokio::test]
async fn rules_end_and_copies_are_free_to_go() {
    for world in worlds().await {
        let lake = world.lake();
        world.rse("FAR").await;
        let files = world.files("enso", &["a", "b"]).await;
        let dataset = Did::new("enso", "ds");
        lake.ensure_dids(&[NewDid::dataset(&dataset)]).await.expect("dataset");
        lake.attach(&[Attachment::new(&dataset, files.clone())]).await.expect("attach");
        let rule = lake.add_rule(&NewRule::new(dataset.clone(), 1, "FAR")).await.expect("rule");
        world.until("OK", || async { lake.get_rule(&rule).await.expect("rule").state == RuleState::Ok }).await;
        // Detached: the lock goes with the file.
        lake.detach(&dataset, &files[..1]).await.expect("detach");
        let info = lake.get_rule(&rule).await.expect("rule");
        assert_eq!((info.locks_ok_cnt, info.state), (1, RuleState::Ok));
        let history = world.get("/dids/enso/ds/dids/history").await.lines();
        assert_eq!(history[0]["name"], "a");
        // A locked copy cannot be given up; a free one can.
        let bury = |name: &str| json!({"replicas": [{"rse": "FAR", "scope": "enso", "name": name}]});
        let answer = world.post("/replicas/tombstone", bury("b")).await;
        assert_eq!((answer.status, answer.class.as_str()), (423, "ReplicaIsLocked"));
        assert_eq!(world.post("/replicas/tombstone", bury("a")).await.status, 201);
        // The rule lives an hour more, unless somebody says now.
        lake.delete_rule(&rule).await.expect("delete");
        assert!(world.get(&format!("/rules/{rule}")).await.json()["expires_at"].is_string());
        let now = json!({"options": {"lifetime": 0}});
        assert_eq!(world.call(&world.root, Method::PUT, &format!("/rules/{rule}"), Some(&now)).await.status, 200);
        world
            .until("the rule is gone", || async {
                lake.get_rule(&rule).await.is_err_and(|error| error.is(Class::RuleNotFound))
            })
            .await;
        assert_eq!(world.get("/accounts/root/usage").await.lines()[0]["files"], 0);
        assert_eq!(world.post("/replicas/tombstone", bury("b")).await.status, 201);
        let gone = json!({"rse": "FAR", "files": [{"scope": "enso", "name": "b"}]});
        assert_eq!(world.call(&world.root, Method::DELETE, "/replicas", Some(&gone)).await.status, 200);
        assert_eq!(world.get("/rses/FAR/usage").await.lines()[0]["files"], 1);
    }
}

#[tokio::test]
async fn what_nobody_wants_any_more_is_called_off() {
    for world in worlds().await {
        let lake = world.lake();
        world.rse("FAR").await;
        let files = world.files("enso", &["a", "b"]).await;
        let dataset = Did::new("enso", "ds");
        lake.ensure_dids(&[NewDid::dataset(&dataset)]).await.expect("dataset");
        lake.attach(&[Attachment::new(&dataset, files.clone())]).await.expect("attach");
        world.fts.set(Mood::Hold);
        let rule = lake.add_rule(&NewRule::new(dataset.clone(), 1, "FAR")).await.expect("rule");
        lake.close(&dataset).await.expect("close");
        world.until("two jobs", || async { world.fts.count() == 2 }).await;
        let request = "/requests/enso/a/FAR";
        assert_eq!(world.get(request).await.json()["state"], "SUBMITTED");
        lake.detach(&dataset, &files[..1]).await.expect("detach");
        world.until("called off", || async { world.fts.cancelled.lock().expect("lock").len() == 1 }).await;
        assert_eq!(world.get(request).await.class, "RequestNotFound");
        assert!(world.events("org.dte.lake.dataset.ready").await.is_empty(), "b is still wanted");
        // The end of the rule makes the dataset ready: nothing covers it any more.
        let now = json!({"options": {"lifetime": 0}});
        assert_eq!(world.call(&world.root, Method::PUT, &format!("/rules/{rule}"), Some(&now)).await.status, 200);
        world.told("org.dte.lake.dataset.ready", 1).await;
        world.until("called off", || async { world.fts.cancelled.lock().expect("lock").len() == 2 }).await;
        // What arrives nevertheless changes nothing.
        let ids: Vec<String> = world.fts.jobs.lock().expect("lock").keys().cloned().collect();
        for id in &ids {
            world.fts.tell(id, true).await;
        }
        world.files("enso", &["c"]).await;
        world.told("org.dte.lake.replica.available", 3).await;
    }
}

#[tokio::test]
async fn large_datasets_get_their_locks_in_steps() {
    for world in worlds().await {
        let lake = world.lake();
        world.rse("FAR").await;
        let names: Vec<String> = (0..620).map(|n| format!("f{n:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (mut files, dataset) = (Vec::new(), Did::new("big", "ds"));
        for part in names.chunks(400) {
            files.extend(world.files("big", part).await);
        }
        lake.ensure_dids(&[NewDid::dataset(&dataset)]).await.expect("dataset");
        for part in files.chunks(400) {
            lake.attach(&[Attachment::new(&dataset, part.to_vec())]).await.expect("attach");
        }
        let rule = lake.add_rule(&NewRule::new(dataset.clone(), 1, "FAR")).await.expect("rule");
        lake.close(&dataset).await.expect("close");
        world.until("OK", || async { lake.get_rule(&rule).await.expect("rule").state == RuleState::Ok }).await;
        assert_eq!(lake.get_rule(&rule).await.expect("rule").locks_ok_cnt, 620);
        assert_eq!(world.fts.count(), 620);
        world.told("org.dte.lake.dataset.ready", 1).await;
        assert_eq!(lake.list_files(&dataset).await.expect("files").len(), 620);
        assert_eq!(lake.list_locks(&rule).await.expect("locks").len(), 620);
        assert_eq!(lake.list_replicas(std::slice::from_ref(&dataset)).await.expect("replicas").len(), 620);
    }
}

#[tokio::test]
async fn refusals_of_rules() {
    for world in worlds().await {
        let lake = world.lake();
        world.rse("FAR").await;
        let files = world.files("enso", &["a"]).await;
        let rule = |copies: u32, expression: &str| NewRule::new(files[0].clone(), copies, expression);
        for (wish, class) in [
            (rule(0, "FAR"), Class::InvalidValueForKey),
            (rule(3, "*"), Class::InsufficientTargetRSEs),
            (rule(1, "NOPE"), Class::InvalidRSEExpression),
            (rule(1, "(FAR"), Class::InvalidRSEExpression),
            (NewRule::new(Did::new("enso", "nope"), 1, "FAR"), Class::DataIdentifierNotFound),
        ] {
            let error = lake.add_rule(&wish).await.expect_err("refused");
            assert!(error.is(class), "{error}");
        }
        let alice = world.engine.token_for("alice", &[]).await;
        let answer = world
            .call(&alice, Method::POST, "/rules/", Some(&json!({"dids": [{"scope": "enso", "name": "a"}], "account": "root", "copies": 1, "rse_expression": "FAR"})))
            .await;
        assert_eq!((answer.status, answer.class.as_str()), (403, "AccessDenied"));
        assert_eq!(
            world.post("/rules/", json!({"dids": [], "copies": 1, "rse_expression": "FAR"})).await.class,
            "KeyError"
        );
        let closed = json!({"availability_write": false});
        assert_eq!(world.call(&world.root, Method::PUT, "/rses/FAR", Some(&closed)).await.status, 201);
        assert!(lake.add_rule(&rule(1, "FAR")).await.expect_err("refused").is(Class::RSEWriteBlocked));
        let events = world.events("org.dte.lake.rule").await;
        assert!(events.is_empty(), "{events:?}");
    }
}

#[tokio::test]
async fn ends_of_which_nobody_tells_are_asked_for() {
    for world in worlds().await {
        let lake = world.lake();
        world.rse("FAR").await;
        let files = world.files("enso", &["a"]).await;
        world.fts.set(Mood::Hold);
        let rule = lake.add_rule(&NewRule::new(files[0].clone(), 1, "FAR")).await.expect("rule");
        world.until("the job is there", || async { world.fts.count() == 1 }).await;
        // The transfer service forgets the job: the same one is asked for again.
        let (id, _) = world.fts.jobs.lock().expect("lock").pop_first().expect("a job");
        world.until("the job is there again", || async { world.fts.count() == 1 }).await;
        assert!(world.fts.jobs.lock().expect("lock").contains_key(&id), "under the same identity");
        world.fts.set(Mood::Mute);
        world
            .until("the rule is OK", || async { lake.get_rule(&rule).await.expect("rule").state == RuleState::Ok })
            .await;
        world.told("org.dte.lake.rule.ok", 1).await;
    }
}

#[tokio::test]
async fn what_ends_while_the_engine_is_down_is_not_lost() {
    for store in dte_store::testing::stores().await.expect("stores") {
        let folder = tempfile::tempdir().expect("folder");
        let world = World::on(&store, Some(folder.path())).await;
        world.rse("FAR").await;
        let files = world.files("enso", &["a", "b"]).await;
        let dataset = Did::new("enso", "ds");
        let lake = world.lake();
        lake.ensure_dids(&[NewDid::dataset(&dataset)]).await.expect("dataset");
        lake.attach(&[Attachment::new(&dataset, files)]).await.expect("attach");
        world.fts.set(Mood::Hold);
        let rule = lake.add_rule(&NewRule::new(dataset.clone(), 1, "FAR")).await.expect("rule");
        lake.close(&dataset).await.expect("close");
        world.until("two jobs", || async { world.fts.count() == 2 }).await;
        world.engine.stop().await;
        let ids: Vec<String> = world.fts.jobs.lock().expect("lock").keys().cloned().collect();
        for id in &ids {
            world.fts.tell(id, true).await;
        }
        drop(world);
        let world = World::on(&store, Some(folder.path())).await;
        let lake = world.lake();
        world
            .until("the rule is OK", || async { lake.get_rule(&rule).await.expect("rule").state == RuleState::Ok })
            .await;
        world.told("org.dte.lake.dataset.ready", 1).await;
        assert_eq!(world.fts.count(), 0, "nothing is transferred again");
    }
}
