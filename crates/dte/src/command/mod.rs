//! The commands, a file each.

mod account;
mod administration;
mod config;
mod demo;
mod doctor;
mod exec;
mod explain;
mod fs;
mod group;
mod lake;
mod logs;
mod manifest;
mod pods;
mod port_forward;
mod run;
mod session;
mod sites;
pub mod token;
mod trace;
mod transfer;
mod twin;
mod up;
mod vkubelet;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

/// Runs the command that was typed; its exit code.
pub async fn run(cli: Cli) -> Result<u8, Failure> {
    let common = &cli.common;
    match cli.command {
        Command::Up(up) => up::up(common, &up).await?,
        Command::Serve(serve) => up::serve(common, &serve).await?,
        Command::Demo(demo) => demo::demo(common, &demo).await?,
        Command::Token(token) => token::token(common, &token).await?,
        Command::User(user) => account::user(common, user).await?,
        Command::Group(group) => group::group(common, group).await?,
        Command::Client(client) => account::client(common, client).await?,
        Command::Ban(ban) => account::ban(common, ban).await?,
        Command::Audit(audit) => account::audit(common, audit).await?,
        Command::Auth(auth) => account::auth(common, auth).await?,
        Command::Config(config) => config::config(common, config)?,
        Command::Doctor => doctor::doctor(common).await?,
        Command::Twin(twin) => twin::twin(common, twin).await?,
        Command::Lake(lake) => lake::lake(common, lake).await?,
        Command::Fs(fs) => fs::fs(common, fs).await?,
        Command::Transfer(command) => transfer::transfer(common, command).await?,
        Command::Run(run) => return run::run(common, &run).await,
        Command::Pods(pods) => pods::pods(common, &pods).await?,
        Command::Logs(logs) => logs::logs(common, &logs).await?,
        Command::PortForward(forward) => port_forward::port_forward(common, &forward).await?,
        Command::Exec(exec) => return exec::exec(common, &exec).await,
        Command::Attach(attach) => return exec::attach(common, &attach).await,
        Command::Sites => sites::sites(common).await?,
        Command::Vkubelet(vkubelet) => vkubelet::vkubelet(common, &vkubelet).await?,
        Command::Ui => account::ui(common).await?,
    }
    Ok(0)
}
