//! The user ids that pods run as: one after the other, round and round, also across restarts of the engine. A pod may leave files
//! in places of the machine; whoever gets its id next could read them, so that is put off for as long as it can be.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::HostConfig;

/// In the data directory: the id that was given last.
pub const LAST_USER: &str = "last-pod-user";

pub struct Users<'a> {
    pub file: PathBuf,
    pub config: &'a HostConfig,
}

impl Users<'_> {
    /// The next id that is not among the `taken`; none: all are.
    pub fn next(&self, taken: &HashSet<u32>) -> io::Result<Option<u32>> {
        let (first, count) = (self.config.uid_first, self.config.uid_count);
        let last = match fs::read_to_string(&self.file) {
            // What cannot be read as an id was cut off: any will do.
            Ok(text) => text.trim().parse::<u32>().ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let begin = last.and_then(|last| last.checked_sub(first)).map_or(0, |last| last.saturating_add(1));
        let all = (0..count).map(|step| first.saturating_add(begin.wrapping_add(step) % count));
        let Some(next) = all.into_iter().find(|id| !taken.contains(id)) else { return Ok(None) };
        let draft = self.file.with_extension("new");
        fs::write(&draft, next.to_string())?;
        fs::rename(&draft, &self.file)?;
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_again_as_late_as_they_can() {
        let place = tempfile::tempdir().expect("a folder");
        let config = HostConfig { uid_first: 100, uid_count: 4, ..HostConfig::default() };
        let next = |taken: &[u32]| {
            let users = Users { file: place.path().join(LAST_USER), config: &config };
            users.next(&taken.iter().copied().collect()).expect("ids")
        };
        assert_eq!(
            [next(&[]), next(&[]), next(&[102]), next(&[]), next(&[])].map(Option::unwrap),
            [100, 101, 103, 100, 101]
        );
        assert_eq!(next(&[100, 101, 102, 103]), None);
        fs::write(place.path().join(LAST_USER), "nonsense").expect("written");
        assert_eq!(next(&[]), Some(100));
    }
}
