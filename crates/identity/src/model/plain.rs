//! Texts that people see and somebody else chose: names of programs, of people, of groups.

/// Whether a text shows what it says: no control characters, and none that reorder others, take no space or join them
/// (bidirectional controls, zero-width characters, tags), with which one name can be made to look like another.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(is_deceptive)
}

/// The text without such characters, for what was kept before, or what an issuer elsewhere says.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|letter| !is_deceptive(*letter)).collect()
}

fn is_deceptive(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_something_else() {
        for good in ["Ocean model", "Zoë Ünal", "海洋", "عربي", "e\u{301}"] {
            assert!(is_plain(good), "{good:?}");
            assert_eq!(plain(good), good);
        }
        for bad in ["a\u{202e}b", "Grafana\u{200b}", "a\nb", "\u{2066}x\u{2069}", "a\u{e0041}"] {
            assert!(!is_plain(bad), "{bad:?}");
            assert!(is_plain(&plain(bad)));
        }
    }
}
