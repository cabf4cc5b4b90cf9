//! The batch script. Golden: a change of its text is a change of the tests below.

use std::path::Path;

use uuid::Uuid;

use super::flags::Flag;
use super::template::Template;
use crate::host::POD_SHIM;
use crate::place::JOB_OUTPUT;

/// The script of a pod's job. Paths are of plain characters ([`crate::place::check_folder`]), flags are checked
/// ([`super::flags`]), and nothing else is in it but what the site's template has.
pub fn render(uid: Uuid, run_folder: &Path, runner: &Path, flags: &[Flag], template: &Template) -> String {
    let folder = run_folder.display();
    let mut lines = template.head.clone();
    lines.push(format!("#SBATCH --job-name={uid}"));
    lines.push(format!("#SBATCH --output={folder}/{JOB_OUTPUT}"));
    lines.push(format!("#SBATCH --chdir={folder}"));
    lines.extend(of_every_job(flags));
    lines.extend(template.setup.iter().cloned());
    lines.push(format!("exec {} {POD_SHIM} {folder}", runner.display()));
    lines.push(String::new());
    lines.join("\n")
}

/// The script of an array: task N runs the pod of the Nth folder.
pub fn render_array(name: Uuid, run_folders: &[&Path], runner: &Path, flags: &[Flag], template: &Template) -> String {
    let mut lines = template.head.clone();
    lines.push(format!("#SBATCH --job-name={name}"));
    lines.push(format!("#SBATCH --array=0-{}", run_folders.len().saturating_sub(1)));
    // Where a task's own words go is known when it knows its folder.
    lines.extend(["output=/dev/null", "chdir=/"].map(|option| format!("#SBATCH --{option}")));
    lines.extend(of_every_job(flags));
    lines.push("case \"$SLURM_ARRAY_TASK_ID\" in".to_owned());
    lines.extend(run_folders.iter().enumerate().map(|(task, folder)| format!("{task}) pod={} ;;", folder.display())));
    lines.push("*) exit 1 ;;".to_owned());
    lines.push("esac".to_owned());
    lines.push(format!("exec >\"$pod/{JOB_OUTPUT}\" 2>&1"));
    lines.extend(template.setup.iter().cloned());
    lines.push(format!("exec {} {POD_SHIM} \"$pod\"", runner.display()));
    lines.push(String::new());
    lines.join("\n")
}

/// They come after those of the template, so they count.
fn of_every_job(flags: &[Flag]) -> impl Iterator<Item = String> {
    // A run folder is taken once: a job that Slurm starts again has nothing to do.
    let always = ["nodes=1", "ntasks=1", "no-requeue"].map(str::to_owned);
    let asked = flags.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    });
    always.into_iter().chain(asked).map(|option| format!("#SBATCH --{option}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slurm::flags::merged;

    #[test]
    fn golden() {
        let flags = merged([
            ("partition".to_owned(), Some("gpu".to_owned())),
            ("exclusive".to_owned(), None),
            ("mem".to_owned(), Some("2048M".to_owned())),
        ]);
        let base = Path::new("/shared/dte");
        let uid = Uuid::from_u128(1);
        let script = render(
            uid,
            &base.join("runs").join(uid.to_string()),
            &base.join("bin/dte-0123"),
            &flags,
            &Template::default(),
        );
        let wanted = "\
#!/bin/sh
#SBATCH --job-name=00000000-0000-0000-0000-000000000001
#SBATCH --output=/shared/dte/runs/00000000-0000-0000-0000-000000000001/job.out
#SBATCH --chdir=/shared/dte/runs/00000000-0000-0000-0000-000000000001
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --no-requeue
#SBATCH --partition=gpu
#SBATCH --exclusive
#SBATCH --mem=2048M
exec /shared/dte/bin/dte-0123 pod-shim /shared/dte/runs/00000000-0000-0000-0000-000000000001
";
        assert_eq!(script, wanted);
    }

    #[test]
    fn golden_array() {
        let flags = merged([("partition".to_owned(), Some("gpu".to_owned()))]);
        let folders = [Path::new("/shared/dte/runs/a"), Path::new("/shared/dte/runs/b")];
        let wanted = "\
#!/bin/sh
#SBATCH --job-name=00000000-0000-0000-0000-000000000001
#SBATCH --array=0-1
#SBATCH --output=/dev/null
#SBATCH --chdir=/
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --no-requeue
#SBATCH --partition=gpu
case \"$SLURM_ARRAY_TASK_ID\" in
0) pod=/shared/dte/runs/a ;;
1) pod=/shared/dte/runs/b ;;
*) exit 1 ;;
esac
exec >\"$pod/job.out\" 2>&1
exec /shared/dte/bin/dte-0123 pod-shim \"$pod\"
";
        let runner = Path::new("/shared/dte/bin/dte-0123");
        assert_eq!(render_array(Uuid::from_u128(1), &folders, runner, &flags, &Template::default()), wanted);
    }

    #[test]
    fn golden_with_a_template() {
        let template = Template {
            head: ["#!/bin/bash", "#SBATCH --time=60"].map(str::to_owned).to_vec(),
            setup: vec!["module load gcc".to_owned()],
        };
        let flags = merged([("time".to_owned(), Some("5".to_owned()))]);
        let script = render(Uuid::from_u128(1), Path::new("/s/runs/a"), Path::new("/s/bin/dte"), &flags, &template);
        let wanted = "\
#!/bin/bash
#SBATCH --time=60
#SBATCH --job-name=00000000-0000-0000-0000-000000000001
#SBATCH --output=/s/runs/a/job.out
#SBATCH --chdir=/s/runs/a
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --no-requeue
#SBATCH --time=5
module load gcc
exec /s/bin/dte pod-shim /s/runs/a
";
        assert_eq!(script, wanted);
    }
}
