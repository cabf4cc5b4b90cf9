//! What a server answers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::state::{FileState, JobState, JobType};
use crate::time::FtsTime;

/// The answer to a submission.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Submitted {
    pub job_id: Uuid,
}

/// The body of an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// `404 Not Found`
    pub status: String,
    pub message: String,
}

/// `GET /whoami`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Whoami {
    pub user_dn: Option<String>,
    #[serde(default)]
    pub dn: Vec<String>,
    pub base_id: Uuid,
    #[serde(default)]
    pub voms_cred: Vec<String>,
    #[serde(default)]
    pub vos: Vec<String>,
    #[serde(default)]
    pub vos_id: Vec<Uuid>,
    #[serde(default)]
    pub roles: Vec<String>,
    /// Operation to `vo`, `all` or nothing; an empty list for strangers.
    #[serde(default)]
    pub level: Value,
    pub delegation_id: Option<String>,
    pub method: String,
    #[serde(default)]
    pub is_root: bool,
    /// Only for those who came with a token, and what else a server may add.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A job. What a server leaves out reads as absent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub job_id: Uuid,
    pub job_state: JobState,
    #[serde(default)]
    pub job_type: Option<JobType>,
    /// Storage that all files come from, when it is the same for all.
    #[serde(default)]
    pub source_se: Option<String>,
    #[serde(default)]
    pub dest_se: Option<String>,
    #[serde(default)]
    pub user_dn: Option<String>,
    #[serde(default)]
    pub cred_id: Option<String>,
    #[serde(default)]
    pub vo_name: Option<String>,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub submit_time: Option<FtsTime>,
    #[serde(default)]
    pub job_finished: Option<FtsTime>,
    #[serde(default)]
    pub priority: Option<i64>,
    #[serde(default)]
    pub submit_host: Option<String>,
    /// Seconds since 1970 after which waiting files are given up.
    #[serde(default)]
    pub max_time_in_queue: Option<i64>,
    #[serde(default)]
    pub destination_spacetoken: Option<String>,
    #[serde(default)]
    pub source_spacetoken: Option<String>,
    #[serde(default)]
    pub internal_job_params: Option<String>,
    /// `Y`, `R`, `M`, `D`, `Q` or absent.
    #[serde(default)]
    pub overwrite_flag: Option<String>,
    #[serde(default)]
    pub dst_file_report: Option<bool>,
    #[serde(default)]
    pub copy_pin_lifetime: Option<i64>,
    #[serde(default)]
    pub bring_online: Option<i64>,
    #[serde(default)]
    pub archive_timeout: Option<i64>,
    #[serde(default)]
    pub verify_checksum: Option<String>,
    #[serde(default)]
    pub target_qos: Option<String>,
    #[serde(default)]
    pub job_metadata: Option<Value>,
    #[serde(default)]
    pub retry: Option<i64>,
    #[serde(default)]
    pub retry_delay: Option<i64>,
    #[serde(default)]
    pub cancel_job: Option<bool>,
    #[serde(default)]
    pub os_project_id: Option<String>,
}

/// One element of an answer about several jobs: either a job or why there is none.
#[derive(Clone, Debug, Deserialize)]
pub struct JobStatus {
    pub job_id: String,
    /// `200 Ok`, `404 Not Found`, …
    #[serde(default)]
    pub http_status: Option<String>,
    #[serde(default)]
    pub http_message: Option<String>,
    #[serde(default)]
    pub job_state: Option<JobState>,
    /// The fields that were asked for with `?files=`.
    #[serde(default)]
    pub files: Option<Vec<Value>>,
}

/// One file of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct File {
    pub file_id: i64,
    pub file_index: i64,
    pub job_id: Uuid,
    pub file_state: FileState,
    #[serde(default)]
    pub file_state_initial: Option<FileState>,
    pub source_surl: String,
    pub dest_surl: String,
    #[serde(default)]
    pub source_se: Option<String>,
    #[serde(default)]
    pub dest_se: Option<String>,
    #[serde(default)]
    pub vo_name: Option<String>,
    #[serde(default)]
    pub priority: Option<i64>,
    #[serde(default)]
    pub activity: Option<String>,
    #[serde(default)]
    pub checksum: Option<String>,
    /// Bytes that were copied.
    #[serde(default)]
    pub filesize: Option<i64>,
    /// Bytes that the submitter expects.
    #[serde(default)]
    pub user_filesize: Option<i64>,
    /// `SCOPE [errno] text` when it failed.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether trying again could have helped.
    #[serde(default)]
    pub recoverable: Option<bool>,
    /// How often it was tried again.
    #[serde(default)]
    pub retry: Option<i64>,
    #[serde(default)]
    pub selection_strategy: Option<String>,
    #[serde(default)]
    pub start_time: Option<FtsTime>,
    #[serde(default)]
    pub finish_time: Option<FtsTime>,
    #[serde(default)]
    pub staging_start: Option<FtsTime>,
    #[serde(default)]
    pub staging_finished: Option<FtsTime>,
    #[serde(default)]
    pub staging_host: Option<String>,
    #[serde(default)]
    pub bringonline_token: Option<String>,
    #[serde(default)]
    pub archive_start_time: Option<FtsTime>,
    #[serde(default)]
    pub archive_finish_time: Option<FtsTime>,
    #[serde(default)]
    pub transfer_host: Option<String>,
    #[serde(default)]
    pub pid: Option<i64>,
    /// Seconds.
    #[serde(default)]
    pub tx_duration: Option<f64>,
    /// MiB per second.
    #[serde(default)]
    pub throughput: Option<f64>,
    #[serde(default)]
    pub internal_file_params: Option<String>,
    #[serde(default)]
    pub file_metadata: Option<Value>,
    #[serde(default)]
    pub staging_metadata: Option<Value>,
    #[serde(default)]
    pub archive_metadata: Option<Value>,
    #[serde(default)]
    pub scitag: Option<i64>,
    #[serde(default)]
    pub log_file: Option<String>,
    #[serde(default)]
    pub log_debug: Option<i64>,
    #[serde(default)]
    pub hashed_id: Option<i64>,
    #[serde(default)]
    pub dest_surl_uuid: Option<Uuid>,
    #[serde(default)]
    pub src_token_id: Option<String>,
    #[serde(default)]
    pub dst_token_id: Option<String>,
}

/// A try that failed and was followed by another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Retry {
    pub file_id: i64,
    pub attempt: i64,
    pub datetime: FtsTime,
    pub reason: Option<String>,
    pub transfer_host: Option<String>,
    pub log_file: Option<String>,
}
