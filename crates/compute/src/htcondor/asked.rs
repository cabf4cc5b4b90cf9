//! What submit commands of a pod ask for together. Which of them a pod may set says [`super::flags`].

use crate::asked::{Asked, bytes};

const MEBIBYTE: u64 = 1 << 20;

/// The most that a job with these commands has, whose pod asks for `limits`.
pub fn asked_for(text: &str, limits: Asked) -> Result<Asked, String> {
    text.split_ascii_whitespace().filter_map(|word| word.split_once('=')).try_fold(limits, |asked, (name, value)| {
        // An attribute of the job does what the command of that name does.
        let amount = match name.to_ascii_lowercase().as_str() {
            "request_cpus" | "requestcpus" | "+requestcpus" => value.parse().ok().map(Asked::processors),
            "request_memory" | "requestmemory" | "+requestmemory" => bytes(value, MEBIBYTE).map(Asked::memory),
            _ => return Ok(asked),
        };
        let amount = amount.filter(|amount| *amount != Asked::default());
        amount
            .map(|amount| asked.most(amount))
            .ok_or_else(|| format!("{value:?} of {name} is not an amount that can be counted"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_the_pool_would_give() {
        let limits = Asked { cpu_millis: 500, memory_bytes: 7 };
        let gibi = 1 << 30;
        for (text, cpu_millis, memory_bytes) in [
            ("", 500, 7),
            ("+JobFlavour=longlunch request_disk=4G", 500, 7),
            ("request_cpus=4 request_memory=2048", 4_000, 2 * gibi),
            ("request_memory=1.5GB REQUEST_CPUS=2 +RequestCpus=3", 3_000, 3 * gibi / 2),
        ] {
            assert_eq!(asked_for(text, limits), Ok(Asked { cpu_millis, memory_bytes }), "{text}");
        }
        for hostile in
            ["request_cpus=4*16", "request_cpus=", "request_memory=MemoryUsage", "request_memory=-1", "request_cpus=0"]
        {
            asked_for(hostile, limits).expect_err(hostile);
        }
    }
}
