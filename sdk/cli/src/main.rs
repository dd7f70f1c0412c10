//! `quartet`: the command line of Quartet.

mod account;
mod arguments;
mod assets;
mod clicks;
mod context;
#[cfg(unix)]
mod echo;
mod failure;
mod links;
mod output;
mod password;
mod qr;
mod store;
mod terminal;
mod upload;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use arguments::{Arguments, Assets, Command, Links};
use context::Context;
use failure::Failure;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    if let Command::Completions { shell } = arguments.command {
        let mut command = Arguments::command();
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "quartet", &mut script);
        return output::raw(&script);
    }
    let context = Context::new(arguments.url, arguments.json)?;
    match arguments.command {
        Command::Login(login) => account::log_in(&context, login).await,
        Command::Logout => account::log_out(&context).await,
        Command::Signup(signup) => account::sign_up(&context, signup).await,
        Command::Whoami => account::who_am_i(&context).await,
        Command::Upload(files) => upload::run(&context, files).await,
        Command::Assets(command) => run_assets(&context, command).await,
        Command::Links(command) => run_links(&context, command).await,
        Command::Completions { .. } => Ok(()),
    }
}

async fn run_assets(context: &Context, command: Assets) -> Result<(), Failure> {
    match command {
        Assets::List(filter) => assets::list(context, filter).await,
        Assets::Get { id } => assets::get(context, id).await,
        Assets::Download(download) => assets::download(context, download).await,
        Assets::Delete { ids } => assets::delete(context, ids).await,
    }
}

async fn run_links(context: &Context, command: Links) -> Result<(), Failure> {
    match command {
        Links::Create(link) => links::create(context, link).await,
        Links::List { search, limit } => links::list(context, search, limit).await,
        Links::Get { link } => links::get(context, &link).await,
        Links::Edit(edit) => links::edit(context, edit).await,
        Links::Delete { links } => links::delete(context, links).await,
        Links::Clicks { link, count } => clicks::watch(context, &link, count).await,
        Links::Qr { link } => qr::show(context, &link).await,
    }
}
