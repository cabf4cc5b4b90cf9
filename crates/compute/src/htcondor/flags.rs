//! Submit commands that a pod's author may set, as `NAME=VALUE` words. They become lines of the submit description, so a command
//! must be known and allowed, and its value of plain characters in one line. Attributes (`+NAME`) are allowed one by one.

use std::collections::BTreeMap;

/// The annotation with a pod's submit commands.
pub const FLAGS_ANNOTATION: &str = "htcondor-job.vk.io/flags";
const PREFIX: &str = "htcondor-job.vk.io/";

/// What pods may set unless the site says otherwise: what a job asks for, not whom it is charged to.
/// Not `priority`: to the pool all pods are one user's, so it would put one person's before another's.
pub const ALLOWED_BY_DEFAULT: [&str; 7] = [
    "+JobFlavour",
    "+MaxRuntime",
    "concurrency_limits",
    "request_cpus",
    "request_disk",
    "request_gpus",
    "request_memory",
];

/// No command about files, environment, users, expressions that decide on the job, or several jobs.
const KNOWN: [&str; 13] = [
    "accounting_group",
    "accounting_group_user",
    "concurrency_limits",
    "gpus_minimum_capability",
    "gpus_minimum_memory",
    "job_lease_duration",
    "max_job_retirement_time",
    "nice_user",
    "priority",
    "request_cpus",
    "request_disk",
    "request_gpus",
    "request_memory",
];

/// Commands that are ours, in the site's settings too.
const OURS: [&str; 18] = [
    "arguments",
    "batch_name",
    "env",
    "environment",
    "error",
    "executable",
    "getenv",
    "include",
    "initialdir",
    "input",
    "job_max_vacate_time",
    "kill_sig",
    "log",
    "output",
    "queue",
    "remove_kill_sig",
    "transfer_executable",
    "universe",
];

const MAX_VALUE: usize = 256;
const MAX_TEXT: usize = 4_096;
const MAX_LINE: usize = 2_048;

/// A submit command and its value as it stands in the description.
pub type Command = (String, String);

/// Characters that mean themselves in a submit description: neither quotes nor macros.
pub fn is_plain(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.,:/@+=-*<>?&".contains(c);
    !value.is_empty() && value.len() <= MAX_VALUE && value.chars().all(inner) && !value.starts_with('-')
}

fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty()
        && text.len() <= 64
        && text.chars().all(inner)
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// `Dte…` attributes are ours, and so are those by which HTCondor runs a job.
fn is_attribute(name: &str) -> bool {
    let reserved = ["cmd", "args", "arguments", "env", "environment", "owner", "user", "iwd", "requirements", "rank"];
    let lower = name.to_ascii_lowercase();
    is_name(name) && !lower.starts_with("dte") && !reserved.contains(&lower.as_str())
}

/// Whether a site can allow it at all.
pub fn may_be_allowed(flag: &str) -> bool {
    match flag.strip_prefix('+') {
        Some(attribute) => is_attribute(attribute),
        None => KNOWN.contains(&flag),
    }
}

/// A line of the site's own settings: `NAME = VALUE`, where the value may be any expression.
pub fn read_line(line: &str) -> Result<Command, String> {
    let wrong = |why: &str| Err(format!("{line:?} {why}"));
    if line.chars().any(char::is_control) || line.len() > MAX_LINE || line.trim_end().ends_with('\\') {
        return wrong("is not one line");
    }
    let Some((name, value)) = line.split_once('=') else { return wrong("is not NAME = VALUE") };
    let (name, value) = (name.trim(), value.trim());
    let plain = name.strip_prefix('+').unwrap_or(name);
    if !is_name(plain) || value.is_empty() {
        return wrong("is not NAME = VALUE");
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) || plain.to_ascii_lowercase().starts_with("dte") {
        return wrong("sets what the engine sets itself");
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// The submit commands that a pod's annotations ask for.
pub fn of_pod(annotations: &BTreeMap<String, String>, allowed: &[String]) -> Result<Vec<Command>, String> {
    for (name, value) in annotations {
        let Some(rest) = name.strip_prefix(PREFIX).filter(|_| !value.trim().is_empty()) else { continue };
        if rest != "flags" {
            return Err(format!("annotation {PREFIX}{rest} is not allowed at this site"));
        }
    }
    let Some(text) = annotations.get(FLAGS_ANNOTATION) else { return Ok(Vec::new()) };
    let wrong = |why: String| format!("annotation {FLAGS_ANNOTATION}: {why}");
    if text.len() > MAX_TEXT {
        return Err(wrong(format!("it is longer than {MAX_TEXT} characters")));
    }
    if text.chars().any(|c| c.is_control()) {
        return Err(wrong("it contains a line break or another control character".into()));
    }
    text.split(' ').filter(|word| !word.is_empty()).map(|word| read_word(word, allowed).map_err(wrong)).collect()
}

fn read_word(word: &str, allowed: &[String]) -> Result<Command, String> {
    let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is not NAME=VALUE"))?;
    let known = allowed.iter().find(|flag| match flag.starts_with('+') {
        true => flag.eq_ignore_ascii_case(name),
        false => *flag == name,
    });
    let Some(known) = known else { return Err(format!("{name:?} is not allowed at this site")) };
    if !is_plain(value) {
        return Err(format!("the value {value:?} of {name} has characters that are not allowed"));
    }
    // The value of an attribute is an expression: what is no number is a string.
    let is_number = value.parse::<i64>().is_ok();
    let value = if known.starts_with('+') && !is_number { format!("\"{value}\"") } else { value.to_owned() };
    Ok((known.clone(), value))
}

/// Puts commands together: later ones replace earlier ones of the same name, in the order in which names first came.
pub fn merged(layers: impl IntoIterator<Item = Command>) -> Vec<Command> {
    let mut all: Vec<Command> = Vec::new();
    for (name, value) in layers {
        match all.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Command>, String> {
        let allowed: Vec<String> = ALLOWED_BY_DEFAULT.iter().map(|flag| (*flag).to_owned()).collect();
        of_pod(&BTreeMap::from([(FLAGS_ANNOTATION.to_owned(), text.to_owned())]), &allowed)
    }

    #[test]
    fn reads_what_is_allowed() {
        let wanted = [("request_cpus", "4"), ("+JobFlavour", "\"longlunch\""), ("+MaxRuntime", "3600")];
        let wanted: Vec<Command> = wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert_eq!(read("request_cpus=4 +JobFlavour=longlunch +maxruntime=3600"), Ok(wanted));
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn refuses_the_rest_and_names_the_annotation() {
        for hostile in [
            "priority=1\nexecutable=/bin/sh",
            "priority=1\rqueue",
            "priority=$(id)",
            "priority=$ENV(HOME)",
            "priority=`id`",
            "+JobFlavour=\"||true",
            "+JobFlavour=a;b",
            "+JobFlavour=a\\",
            "+DtePod=x",
            "+Owner=root",
            "executable=/bin/sh",
            "arguments=x",
            "requirements=true",
            "accounting_group=rich",
            "queue",
            "queue=1000",
            "include=/etc/passwd",
            "priority=",
            "priority",
            "=1",
            "PRIORITY=1",
            &"priority=1 ".repeat(1_000),
        ] {
            let error = read(hostile).expect_err(hostile);
            assert!(error.contains(FLAGS_ANNOTATION), "{error}");
        }
        let other = BTreeMap::from([("htcondor-job.vk.io/singularity-options".to_owned(), "--bind /".to_owned())]);
        assert!(of_pod(&other, &[]).expect_err("refused").contains("singularity-options"));
        for never in ["executable", "+DtePod", "+Owner", "+Cmd", "+a b", "requirements", "+"] {
            assert!(!may_be_allowed(never), "{never}");
        }
    }

    #[test]
    fn lines_of_the_site() {
        let line = read_line("requirements = OpSysAndVer == \"AlmaLinux9\"").expect("a line");
        assert_eq!(line, ("requirements".to_owned(), "OpSysAndVer == \"AlmaLinux9\"".to_owned()));
        for bad in ["queue 5", "executable = /bin/sh", "a = b\nqueue", "+DteSite = \"x\"", "a = b \\", "= x", "a ="] {
            assert!(read_line(bad).is_err(), "{bad}");
        }
    }
}
