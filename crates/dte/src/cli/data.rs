//! What may be typed about moving data.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use dte_protocol_webdav::digest::{Algorithm, Digest};
use uuid::Uuid;

use super::span;

#[derive(Debug, Subcommand)]
pub enum Transfer {
    /// Ask for copies from storage to storage; prints the job's identifier
    Submit(Box<TransferSubmit>),
    /// The jobs that have not ended
    List(TransferList),
    /// How a job is, with its files
    #[command(visible_alias = "status")]
    Show { job: Uuid },
    /// The files of a job
    Files {
        job: Uuid,
        /// Only those in this state, for example FAILED; may be repeated
        #[arg(long, value_name = "STATE", value_parser = file_state)]
        state: Vec<String>,
    },
    /// Cancel jobs; what has arrived stays
    Cancel {
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<Uuid>,
    },
    /// Why files wait, or why they failed
    Explain {
        /// A job, or one of its files
        #[arg(value_name = "JOB[/FILE]")]
        what: String,
    },
    /// Wait for the end of a job and show how far it is
    Follow { job: Uuid },
}

/// One of the protocol's words for the state of a file.
fn file_state(text: &str) -> Result<String, String> {
    let word = text.to_ascii_uppercase();
    word.parse::<dte_protocol_fts::FileState>().map(|state| state.to_string()).map_err(|error| error.to_string())
}

fn job_state(text: &str) -> Result<String, String> {
    let word = text.to_ascii_uppercase();
    word.parse::<dte_protocol_fts::JobState>().map(|state| state.to_string()).map_err(|error| error.to_string())
}

#[derive(Debug, Args)]
#[command(
    after_help = "A file of pairs has one copy a line: SOURCE DESTINATION [ALGORITHM:CHECKSUM [BYTES]]. Lines that begin \
                        with # are comments."
)]
pub struct TransferSubmit {
    /// Where the file is, for example davs://storage.example/data/a
    #[arg(required_unless_present = "from_file", conflicts_with = "from_file", requires = "destination")]
    pub source: Option<String>,
    /// Where its copy shall be
    pub destination: Option<String>,
    /// Many copies as one job, from a file of pairs; - is the standard input
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// What the file has, for example adler32:0a1b2c3d
    #[arg(long, value_name = "ALGORITHM:VALUE", conflicts_with = "from_file")]
    pub checksum: Option<String>,
    /// Against which ends checksums are held [default: the destination where a checksum is said]
    #[arg(long, value_enum, value_name = "ENDS")]
    pub verify: Option<Verify>,
    /// Replace what is at the destination
    #[arg(long)]
    pub overwrite: bool,
    /// From 1 to 5; jobs with more go first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub priority: Option<u8>,
    /// How often a file is tried again when that may help [default: as the server thinks]
    #[arg(long, value_name = "N")]
    pub retry: Option<u16>,
    /// The wait before a file is tried again
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub retry_delay: Option<Duration>,
    /// A copy that takes longer is given up
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub timeout: Option<Duration>,
    /// What the copies are for; activities share a link by their weights
    #[arg(long, value_name = "NAME")]
    pub activity: Option<String>,
    /// The copies are hops of one way: each begins where the last one ended
    #[arg(long)]
    pub multihop: bool,
    /// Wait for the end and show how far it is
    #[arg(long, visible_alias = "follow")]
    pub wait: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Verify {
    None,
    Source,
    Target,
    Both,
}

#[derive(Debug, Args)]
pub struct TransferList {
    /// Those that have ended too
    #[arg(long)]
    pub all: bool,
    /// Only those in this state, for example FAILED; may be repeated
    #[arg(long, value_name = "STATE", value_parser = job_state)]
    pub state: Vec<String>,
    /// Only those from this storage, for example https://storage.example
    #[arg(long, value_name = "STORAGE")]
    pub source: Option<String>,
    /// Only those to this storage
    #[arg(long, value_name = "STORAGE")]
    pub destination: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub limit: u16,
}

/// What may be typed about files by their URLs.
#[derive(Debug, Args)]
#[command(
    after_help = "A place is a path of this machine or a URL: file, https or davs, http or dav, s3s or s3 (s3s://host/bucket/key, \
                        with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY). A token goes to servers over TLS \
                        and to this machine only: the one of the longest --token-for that fits, else --token-file, BEARER_TOKEN, \
                        BEARER_TOKEN_FILE, $XDG_RUNTIME_DIR/bt_uUID, /tmp/bt_uUID. The exit code of a failure is its errno: 2 no \
                        such file, 13 not allowed, 17 it exists."
)]
pub struct Fs {
    /// A token for what begins with this URL only; may be repeated
    #[arg(long, global = true, value_name = "URL=FILE", value_parser = token_for)]
    pub token_for: Vec<(url::Url, PathBuf)>,
    #[command(subcommand)]
    pub command: FsCommand,
}

/// `davs://host/path=FILE`. The file stands after the last equals sign: those in a URL can be written as %3D.
fn token_for(text: &str) -> Result<(url::Url, PathBuf), String> {
    let (url, file) = text.rsplit_once('=').ok_or_else(|| format!("{text:?}: write URL=FILE"))?;
    let plain = match url.split_once("://") {
        Some(("davs", rest)) => format!("https://{rest}"),
        Some(("dav", rest)) => format!("http://{rest}"),
        _ => url.to_owned(),
    };
    let url = plain.parse::<url::Url>().map_err(|error| format!("{url:?} is not a URL: {error}"))?;
    Ok((url, PathBuf::from(file)))
}

#[derive(Debug, Subcommand)]
pub enum FsCommand {
    /// What is in folders
    Ls {
        #[arg(required = true, value_name = "URL")]
        places: Vec<String>,
        /// With size and time
        #[arg(short, long)]
        long: bool,
        /// The folders themselves, not what is in them
        #[arg(short, long)]
        directory: bool,
        /// Sizes as 1.5 MiB
        #[arg(short = 'H', long)]
        human: bool,
    },
    /// What is known of files and folders
    Stat {
        #[arg(required = true, value_name = "URL")]
        places: Vec<String>,
    },
    /// Copy files; each is checked before it gets its name
    Cp(Box<FsCopy>),
    /// Give a file or folder another name on the same storage
    Mv {
        source: String,
        destination: String,
        /// Replace what is there
        #[arg(short, long)]
        force: bool,
    },
    /// Delete files
    Rm {
        #[arg(required = true, value_name = "URL")]
        places: Vec<String>,
        /// Folders too, with all that is in them
        #[arg(short, long, visible_short_alias = 'R')]
        recursive: bool,
        /// Only say what would be deleted
        #[arg(long)]
        dry_run: bool,
    },
    /// Make folders
    Mkdir {
        #[arg(required = true, value_name = "URL")]
        places: Vec<String>,
        /// Those above too; one that exists is fine
        #[arg(short, long)]
        parents: bool,
    },
    /// The checksum of a file: the storage's own word, else computed
    Sum {
        place: String,
        /// adler32, crc32c, md5 or sha-256
        #[arg(default_value = "adler32", value_parser = algorithm)]
        algorithm: Algorithm,
    },
    /// Write files to the standard output
    Cat {
        #[arg(required = true, value_name = "URL")]
        places: Vec<String>,
    },
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text).ok_or_else(|| format!("{text:?} is none of adler32, crc32c, md5, sha-256"))
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse_pair(text).ok_or_else(|| format!("{text:?} is no checksum such as adler32:0a1b2c3d"))
}

#[derive(Debug, Args)]
#[command(
    after_help = "What breaks off goes on where it stopped when a file comes from a server to this machine, also with a later \
                        command. Folders above a destination are made."
)]
pub struct FsCopy {
    /// Sources, then the destination; several sources go into it as a folder
    #[arg(required = true, num_args = 1.., value_name = "URL")]
    pub places: Vec<String>,
    /// Sources from a file, one a line; - is the standard input
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// Folders with all that is in them
    #[arg(short, long)]
    pub recursive: bool,
    /// Replace files that are there
    #[arg(short, long)]
    pub force: bool,
    /// Files at once
    #[arg(short = 'n', long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// What the one file must have, for example adler32:0a1b2c3d
    #[arg(short = 'K', long, value_name = "ALGORITHM:VALUE", value_parser = digest)]
    pub checksum: Option<Digest>,
    /// Stop at the first file that cannot be copied
    #[arg(long)]
    pub abort_on_failure: bool,
    /// Only say what would be copied
    #[arg(long)]
    pub dry_run: bool,
}
