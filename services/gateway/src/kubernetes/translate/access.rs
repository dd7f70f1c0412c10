//! Who may use the routes of an object: what the settings require, and what annotations ask for.
//!
//! The owner of a namespace must not be able to open what the operator has closed: an annotation may ask for
//! more than the settings, and for less, or for a login, only in a namespace that the settings name.

use super::{
    conditions::{Refusal, unsupported},
    context::Context,
};
use crate::{
    config::model::{self, Names},
    kubernetes::objects::Metadata,
    routing::Auth,
};

const AUTH: &str = "quartet.dev/auth";
const LIMIT: &str = "quartet.dev/limit";
const LOGIN: &str = "quartet.dev/login";
/// Where annotations of the gateway are; an unknown one is a typing error.
const OWN: &str = "quartet.dev/";

#[derive(Clone, Debug)]
pub(super) struct Access {
    auth: Auth,
    limits: Vec<String>,
    login: Option<String>,
}

impl Access {
    /// # Errors
    /// When the annotations ask for what they may not, or there is not.
    pub(super) fn of(metadata: &Metadata, context: &Context<'_>) -> Result<Self, Refusal> {
        let annotations = &metadata.annotations;
        let known = [AUTH, LIMIT, LOGIN];
        let mut own = annotations.keys().filter(|name| name.starts_with(OWN));
        if let Some(unknown) = own.find(|name| !known.contains(&name.as_str())) {
            return Err(unsupported(format!("there is no annotation {unknown}")));
        }
        let settings = context.settings;
        let auth = match annotations.get(AUTH).map(String::as_str) {
            None => settings.auth,
            Some("public") => Auth::Public,
            Some("optional") => Auth::Optional,
            Some("required") => Auth::Required,
            Some(other) => {
                let message = format!("{AUTH} must be public, optional or required, not {other}");
                return Err(unsupported(message));
            }
        };
        let mut trusted = settings.trusted_namespaces.iter();
        let is_trusted = trusted.any(|name| name == "*" || *name == metadata.namespace);
        if strictness(auth) < strictness(settings.auth) && !is_trusted {
            let message = format!(
                "{AUTH} asks for less than the gateway requires, and the namespace is not one of \
                 kubernetes.trusted_namespaces"
            );
            return Err(unsupported(message));
        }
        let mut limits: Vec<String> = settings.limit.iter().map(str::to_owned).collect();
        let added = annotations.get(LIMIT).map_or("", String::as_str);
        for name in added
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            if !context.model.limits.contains_key(name) {
                return Err(unsupported(format!("there is no limit {name}")));
            }
            if !limits.iter().any(|known| known == name) {
                limits.push(name.to_owned());
            }
        }
        let login = annotations.get(LOGIN).cloned();
        if login.is_some() && !is_trusted {
            // A session counts in place of a token, and the login in place of that of the host.
            let message =
                format!("{LOGIN} is possible in a namespace of kubernetes.trusted_namespaces only");
            return Err(unsupported(message));
        }
        let mut named = login.iter();
        if let Some(name) = named.find(|name| !context.model.logins.contains_key(*name)) {
            return Err(unsupported(format!("there is no login {name}")));
        }
        Ok(Self {
            auth,
            limits,
            login,
        })
    }

    /// Of routes whose requests are refused, whatever their object asks for.
    pub(super) fn of_settings(context: &Context<'_>) -> Self {
        let settings = context.settings;
        Self {
            auth: settings.auth,
            limits: settings.limit.iter().map(str::to_owned).collect(),
            login: None,
        }
    }

    pub(super) fn apply(&self, route: &mut model::Route) {
        route.auth = self.auth;
        route.limit = Names::Several(self.limits.clone());
        route.login.clone_from(&self.login);
    }
}

fn strictness(auth: Auth) -> u8 {
    match auth {
        Auth::Public => 0,
        Auth::Optional => 1,
        Auth::Required => 2,
    }
}
