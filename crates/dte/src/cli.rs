//! The command line: what may be typed, and which command it means.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use dte_base::units::Span;

mod data;
mod people;

pub use data::{Fs, FsCommand, FsCopy, Transfer, TransferList, TransferSubmit, Verify};
pub use people::{Group, GroupRequest, Member, Trace};

/// The digital twin engine: one program for data, transfers, offloading, workflows, provenance and accounting.
#[derive(Debug, Parser)]
#[command(name = "dte", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Where this engine keeps what it knows
    #[arg(long, global = true, default_value = "./.dte", env = "DTE_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Configuration file [default: dte.toml in the data directory or here, if there is one]
    #[arg(long, global = true, env = "DTE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A running engine [default: the one of the data directory, else http://127.0.0.1:8990]
    #[arg(long, global = true, env = "DTE_URL", value_name = "URL")]
    pub url: Option<url::Url>,
    /// A file that holds a bearer token [default: BEARER_TOKEN, BEARER_TOKEN_FILE, else the engine's own user asks its socket]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole engine
    Up(Up),
    /// Run some services of an engine
    Serve(Serve),
    /// Run the example twin of the eastern Pacific from its first observation to its last
    Demo(Demo),
    /// Print a bearer token
    Token(Token),
    /// Local accounts
    #[command(subcommand)]
    User(User),
    /// Communities, their groups, members and requests
    #[command(subcommand)]
    Group(Group),
    /// Programs that get tokens by client credentials
    #[command(subcommand)]
    Client(Client),
    /// Who may not work here any more
    #[command(subcommand)]
    Ban(Ban),
    /// The trail of denials and changes
    #[command(subcommand)]
    Audit(Audit),
    /// What each route demands
    #[command(subcommand)]
    Auth(Auth),
    /// The configuration
    #[command(subcommand)]
    Config(Config),
    /// Say what this machine offers and what is missing
    Doctor,
    /// Twins: declare, watch, remove
    #[command(subcommand)]
    Twin(Twin),
    /// The data lake: what there is and where
    #[command(subcommand)]
    Lake(Lake),
    /// Files by their URLs, here and on storages: list, copy, delete, checksum
    Fs(Fs),
    /// Copies from storage to storage, made by the engine: order, watch, cancel
    #[command(subcommand)]
    Transfer(Transfer),
    /// Run a program, or a pod from a file, at a site
    Run(Box<Run>),
    /// The pods that wait or run, or one pod in full
    Pods(Pods),
    /// What a pod writes
    Logs(Logs),
    /// Run a program in a container of a pod that runs
    Exec(Exec),
    /// See what a container's own program writes from now on, and type what it reads
    Attach(Attach),
    /// Let ports here lead to ports on which a pod's own processes listen
    PortForward(PortForward),
    /// The places where pods run: what they have, and how busy they are
    Sites,
    /// Be a node of a Kubernetes cluster whose pods run at a site
    Vkubelet(Box<Vkubelet>),
    /// Print a link with which the page opens in a browser
    Ui,
}

#[derive(Clone, Debug, Args)]
pub struct Listening {
    /// The address to listen on
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Write the address to this file once the engine is ready
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// Files of upstream's interLink, so that an existing installation starts with its own; `dte.toml` and flags win over them.
#[derive(Clone, Debug, Default, Args)]
pub struct DropIn {
    /// InterLinkConfig.yaml of upstream's API server: be that server
    #[arg(long, value_name = "FILE")]
    pub interlink_config: Option<PathBuf>,
    /// SlurmConfig.yaml of upstream's Slurm plugin: have its Slurm as a site, and be that plugin
    #[arg(long, value_name = "FILE")]
    pub slurm_plugin_config: Option<PathBuf>,
    /// The account for those who come without a token where these files let them in
    #[arg(long, default_value = "admin", value_name = "NAME")]
    pub interlink_account: String,
}

#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub listening: Listening,
    #[command(flatten)]
    pub drop_in: DropIn,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// The services: lake, transfer, edge, events, offload, workflow, provenance, accounting, dashboard
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
    #[command(flatten)]
    pub listening: Listening,
    #[command(flatten)]
    pub drop_in: DropIn,
}

#[derive(Debug, Args)]
pub struct Demo {
    #[command(flatten)]
    pub listening: Listening,
    /// Let an observation arrive this often, and stay until Ctrl-C [default: as fast as the engine can, then stop]
    #[arg(long, value_parser = span, value_name = "TIME")]
    pub pace: Option<Duration>,
    /// Stop after this many months
    #[arg(long, value_name = "N")]
    pub months: Option<usize>,
    /// The model program [default: enso-model beside this program]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Keep serving at the end, until Ctrl-C
    #[arg(long)]
    pub stay: bool,
}

#[derive(Debug, Args)]
pub struct Token {
    /// Whose token
    #[arg(long, default_value = "admin")]
    pub user: String,
    /// What it may do, separated by spaces [default: all that the user may]
    #[arg(long)]
    pub scope: Option<String>,
    /// Whom it is for [default: this engine]
    #[arg(long)]
    pub audience: Option<String>,
    /// How long it lasts
    #[arg(long, default_value = "1h", value_parser = span)]
    pub lifetime: Duration,
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// Make an account
    Add {
        name: String,
        /// It may do everything
        #[arg(long)]
        admin: bool,
    },
    /// Change what an account is
    Set {
        name: String,
        /// Whether it may do everything
        #[arg(long, value_name = "true|false")]
        admin: Option<bool>,
        /// Whether it may do anything at all; what runs for it stops at once when it may not
        #[arg(long, value_name = "true|false")]
        active: Option<bool>,
    },
    /// List the accounts
    List,
    /// Erase a person for good: what must be kept is kept under a pseudonym
    Erase {
        name: String,
        /// There is no way back
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Give an account a password; its sessions end
    Password {
        name: String,
        /// Read the password, of at least 10 characters, from the first line of the standard input
        #[arg(long, required = true)]
        stdin: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Client {
    /// Make a client of the built-in issuer; its secret is printed once
    Add {
        client_id: String,
        /// What it may ask for, separated by spaces
        #[arg(long, default_value = "")]
        scope: String,
    },
    /// List the clients, those that registered themselves too
    List,
    /// Shut a client out: nothing that it holds counts until it is let in again
    Suspend { client_id: String },
    /// Let a suspended client in again
    Resume { client_id: String },
    /// Take a client away with all that it was given
    Delete { client_id: String },
}

#[derive(Debug, Subcommand)]
pub enum Ban {
    /// Ban somebody, from now on, everywhere
    Add {
        /// Whom: the name of an account, or what the issuer calls somebody
        #[arg(long, required_unless_present = "group")]
        subject: Option<String>,
        #[arg(long)]
        issuer: Option<String>,
        /// Everybody in this group or beneath it, here or by the word of their issuer: /vo/group
        #[arg(long)]
        group: Option<String>,
        #[arg(long)]
        reason: String,
    },
    /// Refuse all tokens that an issuer gave out before a moment
    Tokens {
        /// As in the tokens' `iss`
        #[arg(long)]
        issuer: String,
        /// Only those of this client
        #[arg(long)]
        client: Option<String>,
        /// Only those of this subject
        #[arg(long)]
        subject: Option<String>,
        /// The moment, for example 2026-11-21T12:00:00Z [default: now]
        #[arg(long, value_name = "TIME")]
        before: Option<dte_base::time::Timestamp>,
        #[arg(long)]
        reason: String,
    },
    /// Which tokens are refused for their age; with --lift, end one of these rules
    Revoked {
        #[arg(long, value_name = "ID")]
        lift: Option<String>,
    },
    /// Who is banned
    List,
    /// End a ban
    Lift {
        #[arg(long, required_unless_present = "group")]
        subject: Option<String>,
        #[arg(long)]
        issuer: Option<String>,
        /// As it was banned
        #[arg(long)]
        group: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check that nothing was taken out of the trail or changed in it
    Verify,
    /// What is written about somebody; or who was behind something, with what they had agreed to, and every action
    Trace(Trace),
}

#[derive(Debug, Subcommand)]
pub enum Auth {
    /// All routes with what they demand
    Routes,
    /// Say step by step whether a token (read from standard input) or a subject may do something
    Explain(Explain),
    /// The keys that sign tokens
    Keys {
        #[command(subcommand)]
        command: Option<Keys>,
    },
}

#[derive(Debug, Args)]
pub struct Explain {
    /// A scope such as compute.create; admin; or storage.read, storage.create, storage.modify, storage.stat, storage.stage
    pub action: String,
    /// The path that a storage action is about, as below /dav
    pub object: Option<String>,
    /// Somebody with a fresh token, in place of a token on standard input
    #[arg(long)]
    pub subject: Option<String>,
    /// The subject is one of this trusted issuer [default: a local account]
    #[arg(long, requires = "subject")]
    pub issuer: Option<String>,
    /// The scopes of that token, separated by spaces [default: all rights]
    #[arg(long, requires = "subject")]
    pub scope: Option<String>,
    /// A group that the issuer would name; may be repeated
    #[arg(long, requires = "subject")]
    pub group: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Publish the next key now; it signs when everybody has had the time to see it
    Rotate,
    /// Emergency: a key is no longer ours; what it signed is void at once
    Drop { kid: String },
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Name every unknown key and bad value with its line
    Check,
}

#[derive(Debug, Subcommand)]
pub enum Twin {
    /// Declare the twin that a document describes, or change it
    Apply { file: PathBuf },
    /// How the twin is
    Status { name: String },
    /// All twins
    List,
    /// What the model wrote in its last run, or in the run named
    Logs {
        name: String,
        #[arg(long)]
        run: Option<String>,
    },
    /// Where the newest forecast comes from: observations, code, site, agent
    Lineage {
        name: String,
        /// Another output than the newest: SCOPE:NAME
        #[arg(long)]
        did: Option<String>,
    },
    /// Forget the twin; its data stays
    Delete { name: String },
}

#[derive(Debug, Subcommand)]
pub enum Lake {
    /// What is in a scope, a dataset or a container
    Ls {
        /// SCOPE, SCOPE:NAME or SCOPE:PATTERN*
        did: String,
    },
    /// Where the copies of a dataset's or container's files are
    Replicas { did: String },
    /// The rules on a dataset or container
    Rules { did: String },
    /// Storage elements
    Rses,
    /// Who may read the files of a scope, besides its owner; say it anew with --reader or --everybody
    Access {
        scope: String,
        /// An account, or a group such as /vo/group; may be given several times
        #[arg(long = "reader", value_name = "NAME", conflicts_with = "everybody")]
        readers: Vec<String>,
        /// Every account
        #[arg(long)]
        everybody: bool,
    },
    /// Fetch files, checked
    Get {
        did: String,
        /// Into this folder
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Upload a file and register it
    Put {
        file: PathBuf,
        did: String,
        #[arg(long, default_value = "LOCAL")]
        rse: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example: dte run --cpu 2 --memory 4Gi --env N=8 fit -- python3 fit.py --steps 100")]
pub struct Run {
    /// A pod (or a job with one pod) as YAML or JSON, with the config maps and secrets that it mounts; - is the standard input
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["image", "cpu", "memory", "gpu", "env", "input", "output", "timeout"])]
    pub file: Option<PathBuf>,
    /// The image of its container
    #[arg(long, default_value = "host")]
    pub image: String,
    /// Where to run it [default: the engine chooses; see `dte pods explain`]
    #[arg(long)]
    pub site: Option<String>,
    /// Processors, for example 2 or 500m
    #[arg(long, value_name = "QUANTITY")]
    pub cpu: Option<String>,
    /// Memory, for example 4Gi
    #[arg(long, value_name = "QUANTITY")]
    pub memory: Option<String>,
    /// Accelerators
    #[arg(long, value_name = "N")]
    pub gpu: Option<u32>,
    /// Which accelerators
    #[arg(long, default_value = "nvidia.com/gpu", value_name = "RESOURCE")]
    pub gpu_resource: String,
    /// An environment variable, NAME=VALUE
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// A file of the data lake to have in $DTE_INPUTS, SCOPE:NAME, or SCOPE:NAME=PATH there
    #[arg(long, value_name = "DID[=PATH]")]
    pub input: Vec<String>,
    /// A file in $DTE_OUTPUTS to keep in the data lake, PATH=SCOPE:NAME, or PATH=SCOPE:NAME@RSE
    #[arg(long, value_name = "PATH=DID[@RSE]")]
    pub output: Vec<String>,
    /// End it after this time
    #[arg(long, value_parser = span, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Its standard input is this one
    #[arg(short = 'i', long, conflicts_with_all = ["file", "wait"])]
    pub stdin: bool,
    /// It runs at a terminal: this one
    #[arg(short = 't', long, conflicts_with_all = ["file", "wait"])]
    pub tty: bool,
    /// Show what it writes while it runs, and end with its exit code (this is what happens anyway)
    #[arg(long)]
    pub follow: bool,
    /// Wait for its end without showing what it writes, and end with its exit code
    #[arg(long, conflicts_with = "follow")]
    pub wait: bool,
    /// Do not wait
    #[arg(short, long, conflicts_with_all = ["follow", "wait"])]
    pub detach: bool,
    /// A name for the pod, then -- and the program with its arguments; the name may be left out
    #[arg(trailing_var_arg = true, required_unless_present = "file", value_name = "[NAME] -- PROGRAM")]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Pods {
    #[command(subcommand)]
    pub command: Option<PodCommand>,
    /// One pod in full: its name or UID
    pub name: Option<String>,
    /// Those that have ended too
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Subcommand)]
pub enum PodCommand {
    /// Say why a pod runs where it runs, or why it waits
    Explain { name: String },
    /// End pods and forget them
    Delete {
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct Logs {
    /// The pod's name or UID
    pub name: String,
    /// Go on while it writes
    #[arg(short, long)]
    pub follow: bool,
    /// Of this container [default: the only or first one]
    #[arg(short, long, default_value = "")]
    pub container: String,
    /// Only the last lines
    #[arg(long, value_name = "N")]
    pub tail: Option<u32>,
    /// Only what is younger, for example 5m
    #[arg(long, value_parser = span, value_name = "TIME")]
    pub since: Option<Duration>,
    /// With the time of each line
    #[arg(long)]
    pub timestamps: bool,
    /// What the container wrote before it was started again
    #[arg(short, long)]
    pub previous: bool,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// The pod's name or UID
    pub name: String,
    /// In this container [default: the only or first one]
    #[arg(short, long, default_value = "")]
    pub container: String,
    /// Pass the standard input on
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Give the program a terminal: this one, or one of its own if there is none here
    #[arg(short = 't', long)]
    pub tty: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Attach {
    /// The pod's name or UID
    pub name: String,
    /// To this container [default: the only or first one]
    #[arg(short, long, default_value = "")]
    pub container: String,
    /// Pass the standard input on, to a container that has `stdin: true`
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// This terminal is the one of a container that has `tty: true`
    #[arg(short = 't', long)]
    pub tty: bool,
}

#[derive(Debug, Args)]
pub struct PortForward {
    /// The pod's name or UID
    pub name: String,
    /// The port here and the pod's; without the first the same one, with an empty one any that is free
    #[arg(required = true, value_parser = port_pair, value_name = "[LOCAL:]REMOTE")]
    pub ports: Vec<PortPair>,
    /// Where to listen; who reaches this address reaches the pod's port
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDR")]
    pub address: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPair {
    pub local: u16,
    pub remote: u16,
}

fn port_pair(text: &str) -> Result<PortPair, String> {
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is not a port"));
    let (local, remote) = match text.split_once(':') {
        None => (port(text)?, port(text)?),
        Some(("", remote)) => (0, port(remote)?),
        Some((local, remote)) => (port(local)?, port(remote)?),
    };
    if remote == 0 {
        return Err("the pod's port must not be 0".to_owned());
    }
    Ok(PortPair { local, remote })
}

#[derive(Debug, Args)]
pub struct Vkubelet {
    /// The node's name
    #[arg(long, env = "NODENAME", value_name = "NAME")]
    pub node_name: String,
    /// The cluster [default: KUBECONFIG, else the cluster that this process runs in]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where the site's interLink API begins [default: /interlink of --url, or what --drop-in names]
    #[arg(long, value_name = "URL")]
    pub interlink_url: Option<url::Url>,
    /// The authority of that API's certificate, PEM, if this machine does not know it
    #[arg(long, value_name = "FILE")]
    pub site_ca: Option<PathBuf>,
    /// The certificate to show there, PEM, instead of a token or besides
    #[arg(long, requires = "site_key", value_name = "FILE")]
    pub site_cert: Option<PathBuf>,
    #[arg(long, requires = "site_cert", value_name = "FILE")]
    pub site_key: Option<PathBuf>,
    /// One site of an engine that has several
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// Upstream's InterLinkConfig.yaml; flags win over it
    #[arg(long, env = "CONFIGPATH", value_name = "FILE")]
    pub drop_in: Option<PathBuf>,
    /// The address at which the API server reaches this node [default: 127.0.0.1]
    #[arg(long, env = "POD_IP", value_name = "ADDR")]
    pub node_ip: Option<std::net::IpAddr>,
    /// Where to serve logs and exec, with TLS [default: port 5820 of the node's address]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Certificate chain of that address, PEM [default: self-signed]
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Ask the cluster for that certificate; somebody approves the request
    #[arg(long, value_name = "SIGNER", num_args = 0..=1, default_missing_value = dte_vkubelet::server::serving::USUAL_SIGNER, conflicts_with = "tls_cert")]
    pub serving_signer: Option<String>,
    /// Whose certificates may call, PEM [default: what the cluster publishes]
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// Where it is noted which pods were handed to the site [default: vkubelet in the data directory]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// A label of the node, KEY=VALUE
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// What the node has where the site does not say: cpu=4, nvidia.com/gpu=1
    #[arg(long = "resource", value_name = "NAME=AMOUNT")]
    pub resources: Vec<String>,
    /// Say kubernetes.io/os=linux, as a real node does, so that workloads that select it come here
    #[arg(long)]
    pub real_platform_labels: bool,
    /// How pods reach the cluster's API server from the site
    #[arg(long, value_name = "HOST:PORT")]
    pub kubernetes_api: Option<String>,
    /// Let the cluster evict pods while the site is away; their work at the site is ended then
    #[arg(long)]
    pub evict_when_away: bool,
    /// How often the site is asked whether it is well
    #[arg(long, default_value = "10s", value_parser = span, value_name = "TIME")]
    pub ping_every: Duration,
    /// How often the site is asked how the pods go
    #[arg(long, default_value = "1s", value_parser = span, value_name = "TIME")]
    pub status_every: Duration,
}

fn span(text: &str) -> Result<Duration, String> {
    text.parse::<Span>().map(|span| span.0).map_err(|error| error.to_string())
}
