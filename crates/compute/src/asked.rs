//! What the annotations of a pod ask of batch systems, beside its `resources`: a quota that does not count it is none.
//!
//! The site may be another engine's or not yet known, so everything counts that any of them could understand, whether the
//! site at hand allows it or not. Where options go against each other, or against the limits, the most counts. An amount that
//! cannot be read is refused by the name of its annotation: it could be any.

use std::collections::BTreeMap;

use crate::{htcondor, slurm};

const KIBI: u64 = 1 << 10;

/// Processors (thousandths) and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

impl Asked {
    pub fn most(self, other: Asked) -> Asked {
        Asked {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }

    pub(crate) fn processors(count: u64) -> Asked {
        Asked { cpu_millis: count.saturating_mul(1_000), memory_bytes: 0 }
    }

    pub(crate) fn memory(bytes: u64) -> Asked {
        Asked { cpu_millis: 0, memory_bytes: bytes }
    }
}

/// The most that a pod with these annotations may be given, whose `resources` ask for `limits`.
pub fn at_most(annotations: &BTreeMap<String, String>, limits: Asked) -> Result<Asked, String> {
    let of = |name: &str, read: fn(&str, Asked) -> Result<Asked, String>| match annotations.get(name) {
        Some(text) => read(text, limits).map_err(|why| format!("annotation {name}: {why}")),
        None => Ok(limits),
    };
    Ok(of(slurm::FLAGS_ANNOTATION, slurm::asked_for)?.most(of(htcondor::FLAGS_ANNOTATION, htcondor::asked_for)?))
}

/// An amount with a unit of 1,024s (`4G`, `512MB`, `1.5GiB`), in bytes. `unit`: what a bare number counts.
pub(crate) fn bytes(text: &str, unit: u64) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let factor = match suffix.to_ascii_lowercase().as_str() {
        "" => unit,
        "k" | "kb" | "kib" => KIBI,
        "m" | "mb" | "mib" => KIBI.pow(2),
        "g" | "gb" | "gib" => KIBI.pow(3),
        "t" | "tb" | "tib" => KIBI.pow(4),
        "p" | "pb" | "pib" => KIBI.pow(5),
        _ => return None,
    };
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    u64::try_from(digits.checked_mul(u128::from(factor))?.div_ceil(scale)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_bytes() {
        let mebi = KIBI * KIBI;
        let read = |text| bytes(text, mebi);
        assert_eq!((read("512"), read("4G"), read("1.5gb")), (Some(512 * mebi), Some(4096 * mebi), Some(1536 * mebi)));
        assert_eq!((read("0.5K"), read("0"), read("2TiB")), (Some(512), Some(0), Some(2 << 40)));
        for odd in ["", "G", ".5", "1.", "1.2.3", "-1", "1E", "4*1024", "99999999999999999999P", "1.0000000001", "4 G"]
        {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_most_of_all_counts_and_the_annotation_is_named() {
        let limits = Asked { cpu_millis: 2_000, memory_bytes: 10 };
        let with = |name: &str, text: &str| at_most(&BTreeMap::from([(name.to_owned(), text.to_owned())]), limits);
        assert_eq!(at_most(&BTreeMap::new(), limits), Ok(limits));
        assert_eq!(with(slurm::FLAGS_ANNOTATION, "-c 8"), Ok(Asked { cpu_millis: 8_000, ..limits }));
        assert_eq!(with(slurm::FLAGS_ANNOTATION, "-c 1"), Ok(limits));
        assert_eq!(with(htcondor::FLAGS_ANNOTATION, "request_memory=1"), Ok(Asked { memory_bytes: 1 << 20, ..limits }));
        for (name, text) in [(slurm::FLAGS_ANNOTATION, "--mem=0"), (htcondor::FLAGS_ANNOTATION, "request_cpus=a*2")] {
            let why = with(name, text).expect_err(text);
            assert!(why.contains(name) && why.contains(text.split_once('=').expect("a value").1), "{why}");
        }
    }
}
