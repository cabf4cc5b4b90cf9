//! An engine in this process: opens the store, then identity, then the services; listens; stops in good order.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use dte_base::tasks::Tasks;
use dte_http::{Assembly, Client, HttpConfig, ListenConfig, Listeners, ServerHandle};
use dte_identity::{Foundation, Identity, ServiceContext};
use dte_store::{Options, Store};
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use crate::failure::Failure;
use crate::remote::ADDRESS_FILE;
use crate::services::Entry;
use crate::settings::{LogConfig, Settings};

/// Everything must have stopped after this time.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A running engine.
pub struct Engine {
    pub context: ServiceContext,
    server: ServerHandle,
    tasks: Tasks,
    address_file: std::path::PathBuf,
}

impl Engine {
    /// Opens everything and listens.
    pub async fn start(settings: &Settings, services: &[&'static Entry]) -> Result<Self, Failure> {
        settings.check()?;
        let log: LogConfig = settings.document.section("log")?;
        let filter = std::env::var("RUST_LOG").unwrap_or(log.filter);
        dte_base::telemetry::init(&filter, log.format);
        make_data_dir(&settings.data_dir)?;
        let http: HttpConfig = settings.document.section("http")?;
        let listen: ListenConfig = settings.document.section("listen")?;
        let listeners = Listeners::bind(&listen, &http)?;
        let options: Options = settings.document.section("store")?;
        let store = Store::open(&options.clone().in_data_dir(&settings.data_dir)).await?;
        let public_url = crate::facts::public_url(&store, http.public_url.clone(), listeners.main_url()).await?;
        let tasks = Tasks::new();
        store.keep_events_for(options.event_retention.0, &tasks);
        let client = Client::new(&http, public_url.clone());
        let foundation = Foundation {
            store: store.clone(),
            client: client.clone(),
            tasks: tasks.clone(),
            config: std::sync::Arc::clone(&settings.document),
            data_dir: settings.data_dir.clone(),
            public_url: public_url.clone(),
        };
        let identity = Identity::open(&foundation).await?;
        let context = foundation.context(&identity);
        let mut mounts = identity.mounts();
        for entry in services {
            let opened = entry.open(&context).await;
            mounts.extend(opened.map_err(|error| Failure::new(format!("{} does not open: {error}", entry.name)))?);
        }
        let assembly = identity.assemble(mounts, Assembly::new().home("/ui"));
        let checked = store.clone();
        let assembly = assembly.ready_check("store", move || {
            let store = checked.clone();
            async move { store.latest_seq().await.map(drop).map_err(|error| error.to_string()) }
        });
        let front = assembly.build(&http)?;
        client.attach(front.clone(), &listeners.addresses());
        let server = listeners.serve(&front, &public_url, &http)?;
        identity.serve_admin_socket(&settings.data_dir, &tasks)?;
        front.set_ready(true);
        let address_file = settings.data_dir.join(ADDRESS_FILE);
        write_atomically(&address_file, server.url().as_str())?;
        Ok(Engine { context, server, tasks, address_file })
    }

    /// Where it listens.
    pub fn url(&self) -> &Url {
        self.server.url()
    }

    /// The address without the scheme, for `--ready-file`.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.addresses().first().map(|(_, address)| *address)
    }

    /// Tells scripts that wait for it.
    pub fn announce(&self, ready_file: Option<&Path>) -> Result<(), Failure> {
        let Some(file) = ready_file else { return Ok(()) };
        let address = self.address().ok_or_else(|| Failure::new("the engine listens nowhere"))?;
        write_atomically(file, &address.to_string())
    }

    /// Drains, stops, closes.
    pub async fn stop(self) -> Result<(), Failure> {
        self.tasks.stop();
        let drained = self.server.stop(STOP_LIMIT / 2).await;
        let ended = self.tasks.stop_and_wait(STOP_LIMIT / 2).await;
        self.context.client.detach();
        drop(std::fs::remove_file(&self.address_file));
        if drained && ended { Ok(()) } else { Err(Failure::new("not everything stopped in time; it will be resumed")) }
    }
}

/// Identity of an engine that does not run, with the store's lock held: for commands that need nobody else.
pub async fn identity_at_rest(settings: &Settings) -> Result<(Identity, Tasks), Failure> {
    make_data_dir(&settings.data_dir)?;
    let http: HttpConfig = settings.document.section("http")?;
    let listen: ListenConfig = settings.document.section("listen")?;
    let options: Options = settings.document.section("store")?;
    let store = Store::open(&options.in_data_dir(&settings.data_dir)).await?;
    let listening = Url::parse(&format!("http://{}", listen.main()))?;
    let public_url = crate::facts::public_url(&store, http.public_url.clone(), listening).await?;
    let tasks = Tasks::new();
    let foundation = Foundation {
        client: Client::new(&http, public_url.clone()),
        store,
        tasks: tasks.clone(),
        config: std::sync::Arc::clone(&settings.document),
        data_dir: settings.data_dir.clone(),
        public_url,
    };
    Ok((Identity::open(&foundation).await?, tasks))
}

/// Resolves at Ctrl-C or SIGTERM.
pub async fn asked_to_stop() -> Result<(), Failure> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Pods under other user ids must be able to pass through to their run folders, and to see nothing else: so others may
/// enter, not list, and everything inside has modes of its own; people's files are for the engine alone.
fn make_data_dir(path: &Path) -> Result<(), Failure> {
    make_folder(path, 0o711)?;
    make_folder(&path.join("storage"), 0o700)
}

fn make_folder(path: &Path, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn write_atomically(path: &Path, text: &str) -> Result<(), Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    std::fs::write(&name, text)
        .and_then(|()| std::fs::rename(&name, path))
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}
