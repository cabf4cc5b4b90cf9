//! What a ban of a storage means for its files.

use std::str::FromStr;

/// The more it forbids, the earlier it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BanStatus {
    /// Files are cancelled, new jobs refused.
    Cancel,
    /// Files wait, new jobs are refused.
    Wait,
    /// Files wait, and new jobs are taken.
    WaitAs,
}

impl BanStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            BanStatus::Cancel => "CANCEL",
            BanStatus::Wait => "WAIT",
            BanStatus::WaitAs => "WAIT_AS",
        }
    }
}

/// No such status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoStatus;

impl FromStr for BanStatus {
    type Err = NoStatus;
    fn from_str(text: &str) -> Result<Self, NoStatus> {
        [BanStatus::Cancel, BanStatus::Wait, BanStatus::WaitAs].into_iter().find(|s| s.as_str() == text).ok_or(NoStatus)
    }
}
