//! What may be typed about groups of people, and about who did something.

use clap::{Args, Subcommand};

/// One of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Trace {
    /// An account, or a subject of another issuer
    #[arg(long)]
    pub subject: Option<String>,
    /// The `jti` of a token
    #[arg(long, value_name = "ID")]
    pub token_id: Option<String>,
    /// The UID of a pod
    #[arg(long, value_name = "UID")]
    pub pod: Option<String>,
    /// The id of a transfer job
    #[arg(long, value_name = "ID")]
    pub transfer: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Group {
    /// Make a group: /ocean is a community, /ocean/modellers a group in it
    Add {
        path: String,
        #[arg(long, default_value = "")]
        description: String,
        /// An account that may change the group; may be repeated
        #[arg(long = "manager", value_name = "NAME")]
        managers: Vec<String>,
    },
    /// List the groups
    List,
    /// Delete a group; its members lose what it gave them
    Delete { path: String },
    /// Members of a group
    #[command(subcommand)]
    Member(Member),
    /// Who asks to be let in, and deciding about it
    #[command(subcommand)]
    Request(GroupRequest),
}

#[derive(Debug, Subcommand)]
pub enum Member {
    /// Let accounts into a group
    Add {
        path: String,
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// In this role
        #[arg(long, default_value = "")]
        role: String,
        /// Until then, for example 2026-12-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires: Option<dte_base::time::Timestamp>,
    },
    /// List the members
    List { path: String },
    /// Take an account out of a group
    Remove {
        path: String,
        name: String,
        /// Only from this role
        #[arg(long, default_value = "")]
        role: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum GroupRequest {
    /// List the requests that wait
    List,
    /// Let whoever asked in
    Approve { id: String },
    /// Say no, and why
    Reject {
        id: String,
        #[arg(long)]
        reason: String,
    },
}
