//! Forgets what ended long ago.

use dte_base::time::Timestamp;
use dte_store::{Error, Tx, params};

/// Jobs that one transaction forgets at most.
const AT_ONCE: i64 = 20;

/// Removes some jobs that ended before `limit`; answers how many.
pub fn some_before(tx: &mut Tx<'_>, limit: Timestamp) -> Result<usize, Error> {
    let old = tx.query(
        "SELECT job_id FROM transfer_jobs WHERE finished < ?1 ORDER BY finished LIMIT ?2",
        &params![limit, AT_ONCE],
        |row| row.get::<String>(0),
    )?;
    for job_id in &old {
        tx.execute(
            "DELETE FROM transfer_retries WHERE file_id IN (SELECT file_id FROM transfer_files WHERE job_id = ?1)",
            &params![job_id],
        )?;
        tx.execute("DELETE FROM transfer_files WHERE job_id = ?1", &params![job_id])?;
        tx.execute("DELETE FROM transfer_jobs WHERE job_id = ?1", &params![job_id])?;
    }
    Ok(old.len())
}
