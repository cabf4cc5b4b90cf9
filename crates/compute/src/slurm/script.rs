//! The batch script. Golden: a change of its text is a change of the tests below.

use std::path::Path;

use uuid::Uuid;

use super::flags::Flag;
use crate::host::POD_SHIM;

/// The script of a pod's job. Paths are of plain characters ([`crate::place::check_folder`]), flags are checked
/// ([`super::flags`]), and nothing else is in it.
pub fn render(uid: Uuid, run_folder: &Path, runner: &Path, flags: &[Flag]) -> String {
    let folder = run_folder.display();
    let mut lines = vec![
        "#!/bin/sh".to_owned(),
        format!("#SBATCH --job-name={uid}"),
        format!("#SBATCH --output={folder}/job.out"),
        format!("#SBATCH --chdir={folder}"),
        "#SBATCH --nodes=1".to_owned(),
        "#SBATCH --ntasks=1".to_owned(),
        // A run folder is taken once: a job that Slurm starts again has nothing to do.
        "#SBATCH --no-requeue".to_owned(),
    ];
    lines.extend(flags.iter().map(|(name, value)| match value {
        Some(value) => format!("#SBATCH --{name}={value}"),
        None => format!("#SBATCH --{name}"),
    }));
    lines.push(format!("exec {} {POD_SHIM} {folder}", runner.display()));
    lines.push(String::new());
    lines.join("\n")
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
        let script = render(uid, &base.join("runs").join(uid.to_string()), &base.join("bin/dte-0123"), &flags);
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
}
