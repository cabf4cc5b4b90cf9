//! Jobs and files as answers.

use dte_protocol_fts::identifier::destination_id;
use dte_protocol_fts::{File, FtsTime, Job};
use serde_json::{Map, Value};

use crate::model::place::StorageUrl;
use crate::store::row::{FileRow, JobRow};

/// What answers say of times in tape systems that are not asked for.
const NO_TAPE: i64 = -1;

pub fn job(row: &JobRow, host: &str) -> Job {
    let params = &row.params;
    Job {
        job_id: row.job_id,
        job_state: row.state,
        job_type: Some(row.job_type),
        source_se: row.source_se.clone(),
        dest_se: row.dest_se.clone(),
        user_dn: Some(row.user_dn.clone()),
        cred_id: Some(row.cred_id.clone()),
        vo_name: Some(row.vo.clone()),
        reason: row.reason.clone(),
        submit_time: Some(FtsTime(row.submitted)),
        job_finished: row.finished.map(FtsTime),
        priority: Some(row.priority),
        submit_host: Some(host.to_owned()),
        max_time_in_queue: params.max_time_in_queue,
        destination_spacetoken: params.destination_spacetoken.clone(),
        source_spacetoken: params.source_spacetoken.clone(),
        internal_job_params: params.internal_job_params.clone(),
        overwrite_flag: params.overwrite.letter().map(str::to_owned),
        dst_file_report: Some(params.dst_file_report),
        copy_pin_lifetime: Some(NO_TAPE),
        bring_online: Some(NO_TAPE),
        archive_timeout: Some(NO_TAPE),
        verify_checksum: Some(params.verify_checksum.as_str().to_owned()),
        target_qos: None,
        job_metadata: Some(params.job_metadata.clone()),
        retry: Some(params.retry),
        retry_delay: Some(params.retry_delay),
        cancel_job: Some(row.cancelled),
        os_project_id: None,
    }
}

/// The storage of a URL as its submitter wrote it.
fn written(url: &str, storage: &str) -> String {
    StorageUrl::parse(url).map_or_else(|_| storage.to_owned(), |url| url.storage_as_written())
}

pub fn file(row: &FileRow, job: &JobRow) -> File {
    let seconds = match (row.started, row.finished) {
        (Some(started), Some(finished)) => Some(finished.since(started).as_secs_f64()),
        _ => None,
    };
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let throughput = match (row.bytes, seconds) {
        (Some(bytes), Some(seconds)) if seconds > 0.0 => Some(bytes as f64 / f64::from(1 << 20) / seconds),
        _ => None,
    };
    File {
        file_id: row.file_id,
        file_index: row.file_index,
        job_id: row.job_id,
        file_state: row.state,
        file_state_initial: Some(row.initial_state),
        source_surl: row.source.clone(),
        dest_surl: row.destination.clone(),
        source_se: Some(written(&row.source, &row.source_se)),
        dest_se: Some(written(&row.destination, &row.dest_se)),
        vo_name: Some(job.vo.clone()),
        priority: Some(job.priority),
        activity: Some(row.activity.clone()),
        checksum: Some(row.checksum.clone()),
        filesize: row.bytes.or(row.user_filesize),
        user_filesize: row.user_filesize,
        reason: row.reason.clone(),
        recoverable: row.recoverable,
        retry: Some(i64::from(row.retries)),
        selection_strategy: Some(row.strategy.clone()),
        start_time: row.started.map(FtsTime),
        finish_time: row.finished.map(FtsTime),
        staging_start: None,
        staging_finished: None,
        staging_host: None,
        bringonline_token: None,
        archive_start_time: None,
        archive_finish_time: None,
        transfer_host: row.host.clone(),
        pid: None,
        tx_duration: seconds,
        throughput,
        internal_file_params: None,
        file_metadata: row.metadata.clone(),
        staging_metadata: row.staging_metadata.clone(),
        archive_metadata: row.archive_metadata.clone(),
        scitag: row.scitag,
        log_file: None,
        log_debug: None,
        hashed_id: Some(row.hashed_id),
        dest_surl_uuid: Some(destination_id(&row.destination)),
        src_token_id: None,
        dst_token_id: None,
    }
}

/// The members of something that serializes as an object.
pub fn members(thing: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(thing) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// Only these members, in this order; unknown names are passed over.
pub fn only(mut members: Map<String, Value>, fields: &[String]) -> Value {
    Value::Object(fields.iter().filter_map(|name| Some((name.clone(), members.remove(name)?))).collect())
}

/// The names of a comma list, without empty ones.
pub fn comma_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
