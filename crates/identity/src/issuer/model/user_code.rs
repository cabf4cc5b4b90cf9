//! The code that a person types at the device page (RFC 8628 section 6.1): eight letters without vowels.

const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;

/// A fresh code, as it is shown: `BCDF-GHJK`. 34 bits; guesses are limited and it lives for minutes.
pub(crate) fn fresh() -> String {
    use rand::Rng;
    let mut random = rand::rng();
    let mut code = String::with_capacity(LENGTH + 1);
    for place in 0..LENGTH {
        if place == LENGTH / 2 {
            code.push('-');
        }
        code.push(char::from(LETTERS[random.random_range(0..LETTERS.len())]));
    }
    code
}

/// What a person typed, as [`fresh`] writes it: case, dashes and spaces do not matter.
pub(crate) fn read(typed: &str) -> Option<String> {
    if typed.len() > 4 * LENGTH {
        return None;
    }
    let letters: Vec<u8> =
        typed.bytes().filter(|b| !matches!(b, b'-' | b' ' | b'_' | b'.')).map(|b| b.to_ascii_uppercase()).collect();
    if letters.len() != LENGTH || !letters.iter().all(|letter| LETTERS.contains(letter)) {
        return None;
    }
    let mut text = String::from_utf8(letters).ok()?;
    text.insert(LENGTH / 2, '-');
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        for _ in 0..100 {
            let code = fresh();
            assert_eq!(code.len(), 9);
            assert_eq!(read(&code).as_deref(), Some(code.as_str()));
            assert_eq!(read(&code.to_lowercase().replace('-', "")).as_deref(), Some(code.as_str()));
            assert_eq!(read(&format!(" {} ", code.replace('-', " "))).as_deref(), Some(code.as_str()));
        }
        for bad in ["", "BCDF", "AEIO-UAEI", "BCDF-GHJKL", "BCDF-GHJ1", &"-".repeat(100)] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
