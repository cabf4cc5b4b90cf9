//! Stage `pod-enter FOLDER CONTAINER WORD…`: runs a program in a running pod of this machine, with our own standard input and outputs.
//!
//! For batch systems, whose own way into a job starts it on the right machine as the right user. The pod's shim starts the program
//! behind the pod's walls, as it does for the engine; when we end, it ends the program.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::door::{Ask, Reply, knock};
use super::folder::RunFolder;

/// What we write before anything else: we are there, and whatever follows is the program's.
pub const ENTERED: u8 = b'+';
/// As shells have it for what cannot be executed.
const CANNOT_ENTER: u8 = 126;
const PIECE: usize = 64 << 10;
/// The most that a pipe holds.
const FULL_PIPE: usize = 1 << 20;

pub fn main(folder: &Path, rest: &[OsString]) -> ExitCode {
    match enter(folder, rest) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cannot run a program in the pod: {error}");
            ExitCode::from(CANNOT_ENTER)
        }
    }
}

fn enter(folder: &Path, rest: &[OsString]) -> io::Result<u8> {
    let words = rest.iter().map(|word| word.to_str().map(str::to_owned)).collect::<Option<Vec<String>>>();
    let words = words.unwrap_or_default();
    let asked = words.split_first().and_then(|(container, argv)| Some((container.parse().ok()?, argv.to_vec())));
    let Some((container, argv)) = asked else { return Err(io::Error::other("a container and a command are expected")) };
    let (input, mut output, errors) = (io::stdin(), io::stdout(), io::stderr());
    output.write_all(&[ENTERED])?;
    output.flush()?;
    let ask = Ask::Exec { container, argv, tty: false };
    let folder = RunFolder::at(folder);
    let stream = if output.is_terminal() {
        // It is the batch system's way not to wait for ends of lines; the program has none.
        let (said, theirs) = io::pipe()?;
        let stream = knock(&folder, &ask, &[input.as_fd(), theirs.as_fd(), errors.as_fd()])?;
        drop(theirs);
        carry(&stream, said, &mut output)?;
        stream
    } else {
        knock(&folder, &ask, &[input.as_fd(), output.as_fd(), errors.as_fd()])?
    };
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(Reply::Ended { exit_code }) => Ok(u8::try_from(exit_code).unwrap_or(1)),
        Ok(Reply::Failed { message }) => Err(io::Error::other(message)),
        Err(_) => Err(io::Error::other("the pod has ended")),
    }
}

/// Passes on what is said until the pod's shim answers. Somebody whom the program left behind may hold the pipe for longer.
fn carry(stream: &UnixStream, mut said: PipeReader, output: &mut impl Write) -> io::Result<()> {
    fcntl(&said, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    loop {
        let has_ended = {
            let mut ready = [&said.as_fd(), &stream.as_fd()].map(|one| PollFd::new(*one, PollFlags::POLLIN));
            match poll(&mut ready, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                polled => polled?,
            };
            ready[1].any().unwrap_or(true)
        };
        let most = if has_ended { FULL_PIPE } else { PIECE };
        let is_closed = pass_on(&mut said, most, output)?;
        if has_ended || is_closed {
            return Ok(());
        }
    }
}

/// Whether nobody will say more.
fn pass_on(said: &mut PipeReader, most: usize, output: &mut impl Write) -> io::Result<bool> {
    let (mut piece, mut passed) = (vec![0; PIECE], 0);
    while passed < most {
        match said.read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(count) => {
                output.write_all(piece.get(..count).unwrap_or_default())?;
                output.flush()?;
                passed += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_said_before_the_end_is_passed_on() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let (said, mut program) = io::pipe().expect("a pipe");
        let left_behind = program.try_clone().expect("a pipe");
        let wanted: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
        let text = wanted.clone();
        let saying = std::thread::spawn(move || {
            program.write_all(&text).expect("said");
            theirs.write_all(b"ended").expect("told");
            theirs
        });
        let mut seen = Vec::new();
        carry(&ours, said, &mut seen).expect("carried");
        assert!(seen == wanted, "{} of {}", seen.len(), wanted.len());
        drop((saying.join().expect("said"), left_behind));
    }
}
