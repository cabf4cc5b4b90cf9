//! Copies between two other storages, made by one of them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dte_identity::UserRef;
use dte_protocol_webdav::path::ResourcePath;
use dte_storage::third_party::{Active, Party, Undone, copy_between, offers_copies};
use dte_storage::{Copied, CopyOrder, Errno, Error, Location, Side};

use crate::model::place::StorageUrl;
use crate::model::support::TpcSupport;
use crate::shared::Shared;
use crate::store::storages;
use crate::work::storage::Parties;

/// How long is believed what a storage said of itself.
const MEMORY: Duration = Duration::from_secs(600);
/// Storages that are remembered; when there are more, all are asked again.
const MOST_KNOWN: usize = 10_000;

/// Where an answer of a storage counts: in one area, and for the person with whose URL it was asked, so that nobody's URLs
/// decide about the copies of others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reach {
    issuer: String,
    subject: String,
    area: String,
}

impl Reach {
    pub fn of(user: &UserRef, url: &StorageUrl) -> Reach {
        Reach { issuer: user.issuer.clone(), subject: user.subject.clone(), area: url.link_end() }
    }
}

/// Which storages copy to and from others by themselves.
#[derive(Default)]
pub struct Copiers(Mutex<HashMap<Reach, (Instant, bool)>>);

impl Copiers {
    fn known(&self, reach: &Reach) -> Option<bool> {
        let known = self.0.lock().ok()?;
        known.get(reach).filter(|(since, _)| since.elapsed() < MEMORY).map(|(_, copies)| *copies)
    }

    fn note(&self, reach: &Reach, copies: bool) {
        if let Ok(mut known) = self.0.lock() {
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
            known.insert(reach.clone(), (Instant::now(), copies));
        }
    }

    async fn ask(&self, party: &Party, reach: &Reach) -> bool {
        if let Some(known) = self.known(reach) {
            return known;
        }
        match offers_copies(party).await {
            Ok(copies) => {
                self.note(reach, copies);
                copies
            }
            Err(error) => {
                // A storage that is away, or refuses this URL, has said nothing of others.
                if error.errno == Errno::ENOSYS {
                    self.note(reach, false);
                }
                false
            }
        }
    }
}

/// The destination fetches the file, or the source brings it, whichever can and may. `names` are the storage elements of both.
pub async fn make(
    shared: &Shared,
    parties: &Parties,
    names: [&str; 2],
    destination: &Location,
    order: &CopyOrder,
) -> Result<Copied, Undone> {
    let said = support(shared, names).await?;
    let mut last = Error::new(Errno::ENOSYS, "neither storage copies to or from others by itself").at(Side::Transfer);
    let [from, to] = &parties.reaches;
    let ways = [(Active::Destination, &parties.destination, to), (Active::Source, &parties.source, from)];
    for (active, party, reach) in ways {
        if !said.iter().all(|support| support.allows(active)) || !shared.copiers.ask(party, reach).await {
            continue;
        }
        make_folder(destination).await?;
        match copy_between(&parties.source, &parties.destination, active, order, &shared.tasks).await {
            Err(Undone::Unsupported(error)) => {
                shared.copiers.note(reach, false);
                last = error;
            }
            Err(Undone::Declined(error)) => last = error,
            other => return other,
        }
    }
    Err(Undone::Unsupported(last))
}

/// What an administrator says of both.
async fn support(shared: &Shared, names: [&str; 2]) -> Result<[TpcSupport; 2], Error> {
    let [from, to] = names.map(str::to_owned);
    let read = shared
        .store
        .read(move |tx| Ok::<_, dte_store::Error>([storages::support_of(tx, &from)?, storages::support_of(tx, &to)?]));
    read.await.map_err(|error| Error::new(Errno::EIO, error.to_string()).at(Side::Transfer))
}

/// Servers differ in whether they make the folders that lead to a file.
async fn make_folder(destination: &Location) -> Result<(), Error> {
    let folder: ResourcePath = destination.path.parent().unwrap_or_default();
    match destination.store.make_folder(&folder).await {
        // A server may know folders by the names of files only, or give tokens no right to make any.
        Err(error) if matches!(error.errno, Errno::ENOSYS | Errno::EACCES) => Ok(()),
        other => other.map_err(|error| error.at(Side::Destination)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_for_one_person_and_area() {
        let user = |subject: &str| UserRef { issuer: "i".into(), subject: subject.into(), name: subject.into() };
        let reach = |subject: &str, url: &str| Reach::of(&user(subject), &StorageUrl::parse(url).expect("a URL"));
        let copiers = Copiers::default();
        copiers.note(&reach("mallory", "davs://h:443/data/bad"), false);
        assert_eq!(copiers.known(&reach("mallory", "https://h/data/other")), Some(false));
        assert_eq!(copiers.known(&reach("mallory", "https://h/scratch/other")), None);
        assert_eq!(copiers.known(&reach("alice", "https://h/data/other")), None);
    }

    #[tokio::test]
    async fn only_a_plain_no_is_remembered() {
        for (answer, remembered) in [
            ("200 OK\r\nAllow: GET, COPY", Some(true)),
            ("200 OK\r\nAllow: GET", Some(false)),
            ("501 Not Implemented", Some(false)),
            ("403 Forbidden", None),
            ("404 Not Found", None),
            ("405 Method Not Allowed", None),
            ("502 Bad Gateway", None),
        ] {
            let url = answering(answer).await;
            let user = UserRef { issuer: "i".into(), subject: "s".into(), name: "n".into() };
            let reach = Reach::of(&user, &StorageUrl::parse(&url).expect("a URL"));
            let settings = dte_http::HttpConfig {
                outbound: dte_http::OutboundConfig {
                    allow: vec!["127.0.0.0/8".parse().expect("a rule")],
                    ..dte_http::OutboundConfig::default()
                },
                ..dte_http::HttpConfig::default()
            };
            let client = dte_http::Client::new(&settings, "http://127.0.0.1:1".parse().expect("a URL"));
            let party = Party::new(client.untrusted(), &url, http::HeaderMap::new()).expect("a party");
            let copiers = Copiers::default();
            assert_eq!(copiers.ask(&party, &reach).await, remembered == Some(true), "{answer}");
            assert_eq!(copiers.known(&reach), remembered, "{answer}");
        }
    }

    /// A server that says this once.
    async fn answering(answer: &'static str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/area/file", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(socket.read_u8().await.expect("a request"));
            }
            let text = format!("HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            socket.write_all(text.as_bytes()).await.expect("answers");
        });
        url
    }
}
