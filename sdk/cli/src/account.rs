//! Signs up, logs in and out.

use quartet_client::{Quartet, User};
use serde_json::json;

use crate::arguments::{Login, Signup};
use crate::context::Context;
use crate::failure::Failure;
use crate::{output, password};

pub(crate) async fn log_in(context: &Context, login: Login) -> Result<(), Failure> {
    let client = context.client()?;
    let email = password::email(login.email)?;
    let password = password::read()?;
    let old = context.stored_session(&client)?;
    client.login(&email, password).await?;
    end(old).await;
    show(context, &client, &client.me().await?)
}

/// Ends the session that was replaced, which would otherwise stay active at the server.
async fn end(old: Option<Quartet>) {
    if let Some(old) = old {
        // A failure does not affect the new session.
        let _ = old.logout().await;
    }
}

pub(crate) async fn log_out(context: &Context) -> Result<(), Failure> {
    let client = match context.client() {
        // Never logged in: nothing to end.
        Err(Failure::Usage(_)) => return print_status(context, "logged out"),
        client => client?,
    };
    client.logout().await?;
    print_status(context, "logged out")
}

pub(crate) async fn sign_up(context: &Context, signup: Signup) -> Result<(), Failure> {
    let client = context.client()?;
    let email = password::email(signup.email)?;
    let password = password::choose()?;
    let name = signup.name.as_deref();
    let user = client.sign_up(&email, password.clone(), name).await?;
    let old = context.stored_session(&client)?;
    client.login(&email, password).await?;
    end(old).await;
    show(context, &client, &user)
}

pub(crate) async fn who_am_i(context: &Context) -> Result<(), Failure> {
    let client = context.session().await?;
    show(context, &client, &client.me().await?)
}

fn show(context: &Context, client: &Quartet, user: &User) -> Result<(), Failure> {
    if context.json {
        return output::json(&json!({ "url": client.url(), "user": user }));
    }
    output::record(&[
        ("server", client.url().to_owned()),
        ("account", user.email.clone()),
        ("name", user.display_name.clone().unwrap_or_default()),
        ("id", user.id.to_string()),
    ])
}

fn print_status(context: &Context, status: &str) -> Result<(), Failure> {
    if context.json {
        return output::json(&json!({ "status": status }));
    }
    output::line(status)
}
