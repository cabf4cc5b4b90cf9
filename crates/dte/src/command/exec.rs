//! `dte exec`: a program in a container that runs; its output here, its exit code ours.

use super::{pods, session};
use crate::cli::{Common, Exec};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

pub async fn exec(common: &Common, command: &Exec) -> Result<u8, Failure> {
    let remote = Remote::find(common).await?;
    let pod = pods::by_name(&remote, &command.name).await?;
    let mut url = remote.base("/interlink/exec")?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("pod", &show::cell(&pod["uid"])).append_pair("container", &command.container);
        for word in &command.command {
            query.append_pair("command", word);
        }
        let flag = |is: bool| if is { "1" } else { "0" };
        // A terminal has one output.
        query.append_pair("stdout", "1").append_pair("stderr", flag(!command.tty));
        query.append_pair("stdin", flag(command.stdin || command.tty)).append_pair("tty", flag(command.tty));
    }
    let socket = session::open(&remote, &url).await?;
    let terminal = if command.tty { Terminal::take()? } else { None };
    session::talk(socket, command.stdin || command.tty, terminal.as_ref()).await
}
