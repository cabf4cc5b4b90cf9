//! What options of `sbatch` ask for together. They may be for another party's Slurm, which allows more than sites of ours do
//! (several nodes and tasks), so all that Slurm knows is counted; which of them a pod may set says [`super::flags`].

use crate::asked::{Asked, bytes};

const MEBIBYTE: u64 = 1 << 20;
/// Options that make a job larger, and their short names.
const COUNTED: [(&str, Option<char>); 12] = [
    ("cpus-per-gpu", None),
    ("cpus-per-task", Some('c')),
    ("gpus", Some('G')),
    ("gpus-per-node", None),
    ("gpus-per-task", None),
    ("gres", None),
    ("mem", None),
    ("mem-per-cpu", None),
    ("mem-per-gpu", None),
    ("nodes", Some('N')),
    ("ntasks", Some('n')),
    ("ntasks-per-node", None),
];

/// The most that a job with these options has, whose pod asks for `limits`.
pub fn asked_for(text: &str, limits: Asked) -> Result<Asked, String> {
    let words = shell_words::split(text).map_err(|error| error.to_string())?;
    let found = counted(&words);
    let most = |name: &str, read: fn(&str) -> Option<u64>| -> Result<Option<u64>, String> {
        let values = found.iter().filter(|(known, _)| *known == name);
        let amounts = values.map(|(_, value)| {
            let amount = read(value).filter(|amount| *amount > 0);
            amount.ok_or_else(|| format!("{value:?} of --{name} is not an amount that can be counted"))
        });
        Ok(amounts.collect::<Result<Vec<u64>, _>>()?.into_iter().max())
    };
    let tasks = most("ntasks", number)?.unwrap_or(1);
    // Tasks of which nobody says on how many nodes they are may be on one each.
    let nodes = most("nodes", range)?.unwrap_or(tasks);
    let tasks = tasks.max(nodes.saturating_mul(most("ntasks-per-node", number)?.unwrap_or(1)));
    let per_node = most("gres", gpus_of_gres)?.max(most("gpus-per-node", of_a_kind)?);
    let per_task = most("gpus-per-task", of_a_kind)?.unwrap_or(0);
    let gpus = per_node.unwrap_or(0).saturating_mul(nodes);
    let gpus = gpus.max(most("gpus", of_a_kind)?.unwrap_or(0)).max(per_task.saturating_mul(tasks)).max(1);

    let of_tasks = tasks.saturating_mul(most("cpus-per-task", number)?.unwrap_or(1));
    let of_gpus = gpus.saturating_mul(most("cpus-per-gpu", number)?.unwrap_or(0));
    let asked = limits.most(Asked::processors(of_tasks.max(of_gpus)));
    let processors = asked.cpu_millis.div_ceil(1_000);
    let memory = [
        most("mem", megabytes)?.map(|bytes| bytes.saturating_mul(nodes)),
        most("mem-per-cpu", megabytes)?.map(|bytes| bytes.saturating_mul(processors)),
        most("mem-per-gpu", megabytes)?.map(|bytes| bytes.saturating_mul(gpus)),
    ];
    let asked_or_limits = if found.is_empty() { limits } else { asked };
    Ok(memory.into_iter().flatten().fold(asked_or_limits, |asked, bytes| asked.most(Asked::memory(bytes))))
}

/// The options that count, with their values. What is no option of these, whoever takes the pod judges.
fn counted(words: &[String]) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let next = || words.get(at + 1).cloned().unwrap_or_default();
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            // `sbatch` knows a long option by how it begins, too.
            let is_whole = COUNTED.iter().any(|(known, _)| *known == name);
            let meant = COUNTED.iter().filter(|(known, _)| match is_whole {
                true => *known == name,
                false => name.len() > 2 && known.starts_with(name),
            });
            found.extend(meant.map(|(known, _)| (*known, value.clone().unwrap_or_else(next))));
        } else if let Some(rest) = word.strip_prefix('-') {
            let mut letters = rest.chars();
            let letter = letters.next();
            let known = COUNTED.iter().find(|(_, short)| short.is_some() && *short == letter);
            let value = Some(letters.as_str().to_owned()).filter(|value| !value.is_empty());
            found.extend(known.map(|(known, _)| (*known, value.unwrap_or_else(next))));
        }
    }
    found
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// `4`, `2-4`
fn range(text: &str) -> Option<u64> {
    number(text.rsplit('-').next()?)
}

/// `4`, `a100:4`, `a100:2,h100:2`
fn of_a_kind(text: &str) -> Option<u64> {
    text.split(',').map(|one| number(one.rsplit(':').next()?)).try_fold(0u64, |sum, one| Some(sum.saturating_add(one?)))
}

/// `gpu`, `gpu:2`, `gpu:a100:2(S:0-1)`, with others beside it
fn gpus_of_gres(text: &str) -> Option<u64> {
    let count = |one: &str| {
        let one = one.split('(').next().unwrap_or_default();
        let mut words = one.strip_prefix("gres:").or(one.strip_prefix("gres/")).unwrap_or(one).split(':');
        match (words.next(), words.next_back()) {
            (Some("gpu"), Some(last)) if last.starts_with(|c: char| c.is_ascii_digit()) => number(last),
            (Some("gpu"), _) => Some(1),
            _ => Some(0),
        }
    };
    // At least one: other devices multiply nothing.
    text.split(',').map(count).try_fold(0u64, |sum, one| Some(sum.saturating_add(one?))).map(|sum| sum.max(1))
}

fn megabytes(text: &str) -> Option<u64> {
    bytes(text, MEBIBYTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIBI: u64 = 1 << 30;

    fn asked(text: &str) -> (u64, u64) {
        let limits = Asked { cpu_millis: 500, memory_bytes: 7 };
        let asked = asked_for(text, limits).expect(text);
        (asked.cpu_millis, asked.memory_bytes)
    }

    #[test]
    fn counts_what_slurm_would_give() {
        for (text, wanted) in [
            ("", (500, 7)),
            ("--job-name=x -t 2800 -pgpu -C 'a100&nvme'", (500, 7)),
            ("--cpus-per-task=64 --mem=4G", (64_000, 4 * GIBI)),
            ("-c64", (64_000, 7)),
            ("-c 2 -c 8", (8_000, 7)),
            ("--cpus-per-t 16", (16_000, 7)),
            ("--mem-per-cpu=1G -c 4", (4_000, 4 * GIBI)),
            ("--mem 512 --mem-per-cpu=2048", (1_000, 2 * GIBI)),
            ("--gres=gpu:4 --cpus-per-gpu=8 --mem-per-gpu=1G", (32_000, 4 * GIBI)),
            ("--gres=craynetwork:0,gpu:a100:2(S:0-1)", (1_000, 7)),
            ("-G a100:2,h100:1 --cpus-per-gpu=2", (6_000, 7)),
            ("--nodes=2 --ntasks=4 --cpus-per-task=8 --mem=1G", (32_000, 2 * GIBI)),
            ("-N 1-3 --ntasks-per-node=2", (6_000, 7)),
            ("-n 4 --mem=1G", (4_000, 4 * GIBI)),
        ] {
            assert_eq!(asked(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_counted_is_no_zero() {
        for hostile in [
            "--mem=0",
            "--mem",
            "-c",
            "-c 0x40",
            "-c -1",
            "--cpus-per-task=",
            "--mem=4X",
            "--nodes=all",
            "-N 2-",
            "-n 1k",
            "-c '4",
        ] {
            asked_for(hostile, Asked::default()).expect_err(hostile);
        }
        assert_eq!(asked("-c 18446744073709551615 -n 9").0, u64::MAX);
    }
}
