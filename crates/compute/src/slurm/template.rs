//! A site's own batch script: its `#SBATCH` lines and set-up, such as modules to load, around what the engine writes.
//!
//! The set-up stands before the line [`MARKER`], in whose place the runner is started. Nothing of a pod is in it; what pods shall
//! have of its variables it names in `DTE_POD_VARIABLES`.

use std::fs;
use std::path::Path;

/// Where the runner is started.
pub const MARKER: &str = "#DTE RUN";
const MOST_BYTES: u64 = 64 << 10;
/// What would make another kind of job of it.
const NOT_THERE: [&str; 5] = ["--array", "-a", "hetjob", "packjob", "--wrap"];

/// A batch script but for what the engine adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The interpreter, comments and `#SBATCH` lines: all before the first command.
    pub head: Vec<String>,
    pub setup: Vec<String>,
}

impl Default for Template {
    fn default() -> Self {
        Template { head: vec!["#!/bin/sh".to_owned()], setup: Vec::new() }
    }
}

impl Template {
    pub fn read(path: &Path) -> Result<Template, String> {
        let wrong = |why: String| format!("template {}: {why}", path.display());
        let bytes = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if bytes > MOST_BYTES {
            return Err(wrong(format!("it is longer than {MOST_BYTES} bytes")));
        }
        Self::parse(&fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Template, String> {
        let lines: Vec<&str> = text.lines().collect();
        if !text.starts_with("#!") {
            return Err("its first line names no interpreter (#!/bin/sh)".into());
        }
        if text.contains(['\0', '\r']) {
            return Err("it contains a NUL or a carriage return".into());
        }
        let marker = lines.iter().position(|line| line.trim_end() == MARKER);
        let marker = marker.ok_or_else(|| format!("it has no line {MARKER:?}, where the pod would be run"))?;
        if let Some(rest) = lines.iter().skip(marker + 1).find(|line| !is_comment(line)) {
            return Err(format!("{rest:?} comes after {MARKER:?} and would never run"));
        }
        for line in lines.iter().filter_map(|line| line.strip_prefix("#SBATCH")) {
            let is_bad = |word: &str| {
                let name = word.split('=').next().unwrap_or_default();
                NOT_THERE.contains(&name)
            };
            if let Some(word) = line.split_ascii_whitespace().find(|word| is_bad(word)) {
                return Err(format!("{word:?} would make another kind of job of it"));
            }
        }
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let before = &lines[..marker];
        let first = before.iter().position(|line| !is_comment(line)).unwrap_or(marker);
        Ok(Template { head: owned(&before[..first]), setup: owned(&before[first..]) })
    }
}

fn is_comment(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_first_command_and_what_after() {
        let text = "#!/bin/bash\n#SBATCH --exclusive\n\nmodule load gcc\n# why\nexport DTE_POD_VARIABLES=PATH\n#DTE RUN\n# end\n";
        let template = Template::parse(text).expect("a template");
        assert_eq!(template.head, ["#!/bin/bash", "#SBATCH --exclusive", ""]);
        assert_eq!(template.setup, ["module load gcc", "# why", "export DTE_POD_VARIABLES=PATH"]);
        let bare = Template::parse("#!/bin/sh\n#DTE RUN\n").expect("a template");
        assert_eq!(bare, Template::default());
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (text, word) in [
            ("module load gcc\n#DTE RUN\n", "interpreter"),
            ("#!/bin/sh\nmodule load gcc\n", "no line"),
            ("#!/bin/sh\n#DTE RUN\ncleanup\n", "never run"),
            ("#!/bin/sh\n#DTE RUN\n#DTE RUN\nx\n", "never run"),
            ("#!/bin/sh\n#SBATCH --array=1-4\n#DTE RUN\n", "another kind"),
            ("#!/bin/sh\n#SBATCH hetjob\n#DTE RUN\n", "another kind"),
            ("#!/bin/sh\r\n#DTE RUN\r\n", "carriage return"),
        ] {
            let why = Template::parse(text).expect_err(text);
            assert!(why.contains(word), "{why}");
        }
    }
}
