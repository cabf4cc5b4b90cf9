//! Times, sizes and counts as people read them.

use std::time::Duration;

use dte_base::time::Timestamp;
use maud::{Markup, html};

use crate::picture::scale::number;

/// `12 340`, with thin spaces.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

/// `14 ms`, `3.2 s`, `5 min`, `3 h 12 min`, `4 d 2 h`
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    let whole = span.as_secs();
    match whole {
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{} s", number(seconds, 1)),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// A moment: the text is absolute, so that it stays true while the page stands; the script says how long ago it was.
pub fn moment(time: Timestamp) -> Markup {
    html! { time datetime=(time) { (time.format("%Y-%m-%d %H:%M:%S")) " UTC" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(count(1_234_567), "1\u{2009}234\u{2009}567");
        assert_eq!(count(12), "12");
        assert_eq!(span(Duration::from_millis(14)), "14 ms");
        assert_eq!(span(Duration::from_millis(3_210)), "3.2 s");
        assert_eq!(span(Duration::from_secs(11_520)), "3 h 12 min");
    }
}
