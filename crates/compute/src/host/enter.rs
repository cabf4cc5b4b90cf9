//! Stage `pod-enter FOLDER CONTAINER WORD…`: runs a program in a running pod of this machine, with our own standard input and outputs.
//!
//! For batch systems, whose own way into a job starts it on the right machine as the right user. The pod's shim starts the program
//! behind the pod's walls, as it does for the engine; when we end, it ends the program.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use super::door::{Ask, Reply, knock};
use super::folder::RunFolder;

/// What we write before anything else: we are there, and whatever follows is the program's.
pub const ENTERED: u8 = b'+';
/// As shells have it for what cannot be executed.
const CANNOT_ENTER: u8 = 126;

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
    let stream = knock(&RunFolder::at(folder), &ask, &[input.as_fd(), output.as_fd(), errors.as_fd()])?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(Reply::Ended { exit_code }) => Ok(u8::try_from(exit_code).unwrap_or(1)),
        Ok(Reply::Failed { message }) => Err(io::Error::other(message)),
        Err(_) => Err(io::Error::other("the pod has ended")),
    }
}
