//! The terminal in front of a person, handed to a program in a pod: every key goes there as it is, and so does the window's size.
//!
//! It is as it was before whenever the command ends: also when it fails, panics, or is told to end by a signal.

use std::io::{IsTerminal, Stdin, stdin, stdout};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Signals that would end the command before it has given the terminal back, with their numbers.
const ENDS: [(&str, SignalKind); 4] = [
    ("SIGHUP", SignalKind::hangup()),
    ("SIGINT", SignalKind::interrupt()),
    ("SIGQUIT", SignalKind::quit()),
    ("SIGTERM", SignalKind::terminate()),
];

/// A terminal that sends every key as it is. Dropping it gives it back.
pub struct Terminal {
    input: Stdin,
    before: Termios,
}

impl Terminal {
    /// Takes the one at standard input; none if something else is there, which is said.
    pub fn take() -> Result<Option<Terminal>, Failure> {
        let input = stdin();
        if !input.is_terminal() {
            eprintln!("dte: the standard input is no terminal, so it is passed on as it is");
            return Ok(None);
        }
        let before = tcgetattr(&input)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&input, OptionalActions::Flush, &raw)?;
        Ok(Some(Terminal { input, before }))
    }

    /// Its size now and whenever it changes.
    pub fn sizes(&self) -> Result<Sizes<'_>, Failure> {
        Ok(Sizes { terminal: self, is_first: true, changes: signal(SignalKind::window_change())? })
    }

    /// What would end the command. To be watched beside all else: nothing that is held up may keep the terminal from being given
    /// back.
    pub fn ends(&self) -> Result<Ends, Failure> {
        let ends = ENDS.into_iter().map(|(name, kind)| Ok((name, kind, signal(kind)?)));
        Ok(Ends(ends.collect::<Result<_, std::io::Error>>()?))
    }

    /// Columns and rows; of the output, which is what is looked at, if that is a terminal too.
    fn size(&self) -> Result<(u16, u16), Failure> {
        let size = if stdout().is_terminal() { tcgetwinsize(stdout())? } else { tcgetwinsize(&self.input)? };
        Ok((size.ws_col, size.ws_row))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = tcsetattr(&self.input, OptionalActions::Flush, &self.before);
    }
}

/// Who watches a terminal's size.
pub struct Sizes<'a> {
    terminal: &'a Terminal,
    is_first: bool,
    changes: Signal,
}

impl Sizes<'_> {
    /// The next size.
    pub async fn next(&mut self) -> Result<(u16, u16), Failure> {
        if !std::mem::take(&mut self.is_first) {
            self.changes.recv().await;
        }
        self.terminal.size()
    }
}

/// Who waits for a signal to end.
pub struct Ends(Vec<(&'static str, SignalKind, Signal)>);

impl Ends {
    /// Resolves when one has come: why the command ends.
    pub async fn next(&mut self) -> Failure {
        let ends = self.0.iter_mut().map(|(name, kind, signal)| {
            Box::pin(async move {
                signal.recv().await;
                (*name, kind.as_raw_value())
            })
        });
        let ((name, number), _, _) = futures_util::future::select_all(ends).await;
        Failure::new(format!("ended by {name}")).with_code(u8::try_from(128 + number).unwrap_or(1))
    }
}
