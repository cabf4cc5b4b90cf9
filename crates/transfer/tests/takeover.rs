//! Files whose mover lost them to another, and files that no mover has.

use std::time::Duration;

use dte_base::id::new_id;
use dte_base::tasks::Tasks;
use dte_base::time::Timestamp;
use dte_identity::UserRef;
use dte_protocol_fts::{FileState, JobState};
use dte_store::testing::TemporaryStore;
use dte_store::{Claim, Error, Store, Tx, Worker, params};
use dte_transfer::model::failure::Failure;
use dte_transfer::model::submission;
use dte_transfer::store::begin::{Assignment, Taken, begin};
use dte_transfer::store::finish::{Ended, How, finish};
use dte_transfer::store::row::{FileRow, JobRow};
use dte_transfer::store::submit::{Inserted, Submitter, insert};
use dte_transfer::store::{BAN_QUEUE, COPY_QUEUE, MIGRATIONS, ban, reap, row, rules};
use serde_json::json;
use tokio::sync::mpsc::Receiver;
use uuid::Uuid;

const SOURCE: &str = "https://a.example";

struct Desk {
    store: TemporaryStore,
    tasks: Tasks,
    claims: Receiver<Claim>,
    job_id: Uuid,
}

impl Desk {
    /// A job of one file, and a worker that takes claims and ends none.
    async fn all() -> Vec<Desk> {
        let mut desks = Vec::new();
        for store in dte_store::testing::stores().await.expect("stores") {
            store.migrate("transfer", MIGRATIONS).await.expect("migrates");
            let job_id = new_id();
            write(&store, move |tx| {
                let submission = json!({"files": [{"sources": [format!("{SOURCE}/x/a")], "destinations": ["https://b.example/x/b"]}]});
                let job = submission::parse(submission.to_string().as_bytes(), 4, Timestamp::now()).expect("a job");
                let owner: UserRef = serde_json::from_value(json!({"issuer": "i", "subject": "s", "name": "n"})).expect("a user");
                let by = Submitter { owner, user_dn: "s".into(), cred_id: "c".into(), vo: "v".into() };
                assert_eq!(insert(tx, job_id, &job, &by, Timestamp::now())?, Inserted::New);
                Ok(())
            })
            .await;
            let tasks = Tasks::new();
            let (sender, claims) = tokio::sync::mpsc::channel(4);
            Worker::new(&store, COPY_QUEUE).concurrency(8).per_lane(8).run(&tasks, move |claim| {
                let sender = sender.clone();
                async move {
                    sender.send(claim).await.expect("is received");
                    std::future::pending().await
                }
            });
            desks.push(Desk { store, tasks, claims, job_id });
        }
        desks
    }

    async fn claim(&mut self) -> Taken {
        let claim = tokio::time::timeout(Duration::from_secs(60), self.claims.recv()).await;
        let claim = claim.expect("in time").expect("a claim");
        Taken { file_id: claim.id.parse().expect("a number"), claim }
    }

    /// Takes the file from whoever has it.
    async fn lose(&self) {
        let lose = |tx: &mut Tx<'_>| {
            tx.look_again(COPY_QUEUE);
            tx.execute(
                "UPDATE work SET state = 0, lease = NULL, lease_until = NULL WHERE queue = ?1",
                &params![COPY_QUEUE],
            )
        };
        assert_eq!(write(&self.store, lose).await, 1);
    }

    async fn begin(&self, taken: &[&Taken]) -> Vec<Option<Assignment>> {
        let taken: Vec<Taken> = taken.iter().map(|taken| (*taken).clone()).collect();
        self.store
            .claim(move |tx| begin(tx, &taken, "h", Timestamp::now()))
            .await
            .map_err(|e: Error| e)
            .expect("begins")
    }

    async fn finish(&self, ended: Vec<Ended>) -> Vec<bool> {
        self.store.claim(move |tx| finish(tx, &ended, "h", Timestamp::now())).await.map_err(|e: Error| e).expect("ends")
    }

    async fn rows(&self) -> (JobRow, FileRow) {
        let job_id = self.job_id;
        let read =
            move |tx: &mut Tx<'_>| Ok((row::job(tx, job_id)?.expect("a job"), row::files(tx, job_id)?.remove(0)));
        write(&self.store, read).await
    }

    async fn close(self) {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(60)).await);
    }
}

async fn write<T: Send + 'static>(
    store: &Store,
    closure: impl Fn(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
) -> T {
    store.write(closure).await.expect("writes")
}

fn arrived() -> How {
    How::Arrived { bytes: 3, adler32: "00000001".into() }
}

#[tokio::test]
async fn a_lost_claim_in_the_same_batch_takes_nothing_from_the_valid_one() {
    for mut desk in Desk::all().await {
        let stale = desk.claim().await;
        let first = desk.begin(&[&stale]).await.remove(0).expect("begins");
        desk.lose().await;
        let valid = desk.claim().await;
        let mut answers = desk.begin(&[&stale, &valid]).await;
        let second = answers.remove(1).expect("begins");
        assert!(answers[0].is_none() && second.is_again);
        let ended = |taken: &Taken, assignment: &Assignment, how: How| Ended {
            claim: taken.claim.clone(),
            assignment: assignment.clone(),
            how,
        };
        let failure = || How::FailedForNow(Failure::user_refused("away"));
        // What the lost one says counts for nothing, and the other one's try goes on.
        let goes_on = desk.finish(vec![ended(&stale, &first, arrived()), ended(&valid, &second, failure())]).await;
        assert_eq!(goes_on, [false, true]);
        let (_, file) = desk.rows().await;
        assert_eq!((file.state, file.retries), (FileState::Submitted, 1));
        let second = desk.begin(&[&valid]).await.remove(0).expect("begins");
        let goes_on = desk.finish(vec![ended(&stale, &first, failure()), ended(&valid, &second, arrived())]).await;
        assert_eq!(goes_on, [false, false]);
        let (job, file) = desk.rows().await;
        assert_eq!((job.state, file.state, file.bytes), (JobState::Finished, FileState::Finished, Some(3)));
        desk.close().await;
    }
}

#[tokio::test]
async fn a_file_that_was_held_while_its_ban_was_lifted_is_released() {
    for mut desk in Desk::all().await {
        let taken = desk.claim().await;
        let sql = "INSERT INTO transfer_banned_storages (storage, status, added, admin) VALUES (?1, 'WAIT', 0, 'x')";
        write(&desk.store, move |tx| tx.execute(sql, &params![SOURCE])).await;
        assert!(desk.begin(&[&taken]).await.remove(0).is_none());
        assert_eq!(desk.rows().await.1.state, FileState::OnHold);
        // The ban goes and is carried out before the hold can be seen: the work that came with the hold sees it.
        let subject = ban::Subject::Storage(SOURCE.to_owned());
        let id = subject.id();
        assert!(write(&desk.store, move |tx| tx.has_work(BAN_QUEUE, &id)).await);
        write(&desk.store, |tx| tx.execute("DELETE FROM transfer_banned_storages", &[])).await;
        write(&desk.store, move |tx| ban::enforce(tx, &subject, Timestamp::now())).await;
        assert_eq!(desk.rows().await.1.state, FileState::Submitted);
        assert_eq!(desk.claim().await.file_id, taken.file_id);
        desk.close().await;
    }
}

#[tokio::test]
async fn what_nobody_works_on_is_found() {
    for mut desk in Desk::all().await {
        let taken = desk.claim().await;
        desk.begin(&[&taken]).await.remove(0).expect("begins");
        assert_eq!(write(&desk.store, reap::lost).await, reap::Lost::default());
        write(&desk.store, |tx| tx.execute("DELETE FROM work WHERE queue = ?1", &params![COPY_QUEUE])).await;
        let found = write(&desk.store, reap::lost).await;
        assert_eq!(found, reap::Lost { files: vec![taken.file_id], jobs: vec![] });
        write(&desk.store, move |tx| reap::recover(tx, &found, Timestamp::now())).await;
        let again = desk.claim().await;
        assert_eq!(again.file_id, taken.file_id);
        // An older mover ends the file and does not look at the job.
        let ends = "UPDATE transfer_files SET state = 'FINISHED', finished = 1";
        write(&desk.store, move |tx| tx.execute(ends, &[])).await;
        let found = write(&desk.store, reap::lost).await;
        assert_eq!(found, reap::Lost { files: vec![], jobs: vec![desk.job_id] });
        write(&desk.store, move |tx| reap::recover(tx, &found, Timestamp::now())).await;
        assert_eq!(desk.rows().await.0.state, JobState::Finished);
        assert_eq!(write(&desk.store, reap::lost).await, reap::Lost::default());
        desk.close().await;
    }
}

#[tokio::test]
async fn storages_of_older_engines_get_their_one_name() {
    for store in dte_store::testing::stores().await.expect("stores") {
        store.migrate("transfer", &MIGRATIONS[..5]).await.expect("migrates");
        let said = |tx: &mut Tx<'_>| {
            for name in ["davs://a", "davs://b", "https://b", "dav://c"] {
                let sql =
                    "INSERT INTO transfer_banned_storages (storage, status, added, admin) VALUES (?1, 'WAIT', 0, 'x')";
                tx.execute(sql, &params![name])?;
                let sql = "INSERT INTO transfer_links (name, source, destination, min_active, max_active, mode)
                           VALUES (?1, '*', ?1, 1, 1, 0)";
                tx.execute(sql, &params![name])?;
            }
            Ok(())
        };
        write(&store, said).await;
        store.migrate("transfer", MIGRATIONS).await.expect("migrates");
        let bans = write(&store, ban::storages).await.into_iter().map(|ban| ban.storage);
        assert_eq!(bans.collect::<Vec<_>>(), ["http://c", "https://a", "https://b"]);
        let links = write(&store, rules::links).await.into_iter().map(|link| link.destination);
        assert_eq!(links.collect::<Vec<_>>(), ["http://c", "https://a", "https://b"]);
    }
}
