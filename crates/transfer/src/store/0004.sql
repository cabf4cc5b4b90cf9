-- Of how many files a job is, and how many have ended: whoever ends files counts them here.
ALTER TABLE transfer_jobs ADD COLUMN files BIGINT NOT NULL DEFAULT 0;
ALTER TABLE transfer_jobs ADD COLUMN ended BIGINT NOT NULL DEFAULT 0;
UPDATE transfer_jobs SET files = (SELECT COUNT(*) FROM transfer_files f WHERE f.job_id = transfer_jobs.job_id),
    ended = (SELECT COUNT(*) FROM transfer_files f WHERE f.job_id = transfer_jobs.job_id AND f.finished IS NOT NULL);
