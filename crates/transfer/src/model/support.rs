//! Which third-party copies a storage takes part in, as an administrator says it.

use std::str::FromStr;

use dte_storage::third_party::Active;

/// `tpc_support` of FTS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TpcSupport {
    #[default]
    Full,
    /// Only those that the destination makes.
    Pull,
    /// Only those that the source makes.
    Push,
    None,
}

impl TpcSupport {
    pub const ALL: [TpcSupport; 4] = [TpcSupport::Full, TpcSupport::Pull, TpcSupport::Push, TpcSupport::None];

    pub fn as_str(self) -> &'static str {
        match self {
            TpcSupport::Full => "FULL",
            TpcSupport::Pull => "PULL",
            TpcSupport::Push => "PUSH",
            TpcSupport::None => "NONE",
        }
    }

    pub fn allows(self, active: Active) -> bool {
        matches!(
            (self, active),
            (TpcSupport::Full, _) | (TpcSupport::Pull, Active::Destination) | (TpcSupport::Push, Active::Source)
        )
    }
}

/// No such word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSupport;

impl FromStr for TpcSupport {
    type Err = NoSupport;
    fn from_str(text: &str) -> Result<Self, NoSupport> {
        TpcSupport::ALL.into_iter().find(|support| support.as_str() == text).ok_or(NoSupport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_what_they_allow() {
        for support in TpcSupport::ALL {
            assert_eq!(support.as_str().parse(), Ok(support));
        }
        let allowed =
            TpcSupport::ALL.map(|support| [Active::Destination, Active::Source].map(|way| support.allows(way)));
        assert_eq!(allowed, [[true, true], [true, false], [false, true], [false, false]]);
        assert_eq!("full".parse::<TpcSupport>(), Err(NoSupport));
    }
}
