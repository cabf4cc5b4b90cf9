//! What pods must not see besides the data directory: places of other services, the engine's own home, and the sockets on which
//! the engine believes whoever reaches them.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use super::HostConfig;
use super::sandbox::{HIDDEN_BY_DEFAULT, PRIVATE_TMP};
use super::spec::Walls;
use crate::site::Sandbox;

/// Folders that a pod needs or that are many people's: they are not hidden for a socket in them.
const SHARED: [&str; 14] = [
    "/",
    "/run",
    "/var",
    "/var/run",
    "/var/lib",
    "/usr",
    "/etc",
    "/opt",
    "/srv",
    "/usr/local",
    "/home",
    "/root",
    "/dev",
    "/mnt",
];

/// What is hidden from pods behind `walls`.
pub fn places(config: &HostConfig, walls: &Walls, sockets: &[PathBuf]) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = HIDDEN_BY_DEFAULT.iter().map(PathBuf::from).chain(config.hide.clone()).collect();
    places.extend(sockets.iter().map(|socket| around(socket).unwrap_or_else(|| socket.clone())));
    if *walls == Walls::UserNamespace
        && let Ok(Some(user)) = User::from_uid(geteuid())
        && user.dir.parent().is_some()
    {
        places.push(user.dir);
    }
    let mut real: Vec<PathBuf> = places.iter().filter_map(|place| fs::canonicalize(place).ok()).collect();
    // Those are the pod's own already, and hold the mount points of more.
    real.retain(|place| !PRIVATE_TMP.iter().any(|own| place == Path::new(own)));
    real.sort();
    real.dedup();
    real
}

/// The folder of a socket, if it can be hidden: then a socket that is made anew while a pod runs is hidden too.
fn around(socket: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(socket.parent()?).ok()?;
    (!SHARED.iter().any(|shared| folder == Path::new(shared))).then_some(folder)
}

/// Says at the start what cannot be hidden; a site without walls says it for good.
pub fn told(sandbox: Sandbox, site: &str, sockets: &[PathBuf]) -> Sandbox {
    let names = |all: &[&PathBuf]| all.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let all: Vec<&PathBuf> = sockets.iter().collect();
    match sandbox {
        Sandbox::None { why } if !all.is_empty() => {
            let why = format!("{why}; its pods reach the engine's data directory and its sockets {}", names(&all));
            Sandbox::None { why }
        }
        Sandbox::None { why } => Sandbox::None { why: format!("{why}; its pods reach the engine's data directory") },
        walls => {
            let bare: Vec<&PathBuf> = sockets.iter().filter(|socket| around(socket).is_none()).collect();
            if !bare.is_empty() {
                tracing::warn!(
                    site,
                    sockets = names(&bare),
                    "these sockets are hidden from pods that start now, but a pod that runs while the engine is started again \
                     may see the new ones: put each into a folder of its own"
                );
            }
            walls
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sockets_folder_is_hidden_and_shared_ones_are_not() {
        let place = tempfile::tempdir().expect("a folder");
        let real = fs::canonicalize(place.path()).expect("real");
        assert_eq!(around(&place.path().join("s")), Some(real.clone()));
        assert_eq!(around(Path::new("/run/interlink.sock")), None);
        let config = HostConfig::default();
        assert!(places(&config, &Walls::UserNamespace, &[real.join("s")]).contains(&real));
        let open = told(Sandbox::None { why: "no namespaces".into() }, "here", &[PathBuf::from("/run/i.sock")]);
        assert!(open.to_string().contains("no namespaces; its pods reach") && open.to_string().contains("/run/i.sock"));
    }
}
