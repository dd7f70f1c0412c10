//! An explanation for people.

use std::fmt;

use serde_json::Value;

use super::{ExplainedRoute, Explanation};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |name: &str| match &self.request[name] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let (method, host, path) = (text("method"), text("host"), text("path"));
        writeln!(f, "{method} {path}")?;
        if !host.is_empty() {
            writeln!(f, "  host        {host}")?;
        }
        if !text("query").is_empty() {
            writeln!(f, "  query       {}", text("query"))?;
        }
        writeln!(f, "  client IP   {}", text("client_ip"))?;
        if let Some(refused) = &self.refused {
            let (status, code) = (&refused["status"], &refused["code"]);
            writeln!(f, "\nNo route: {status} {}", plain(code))?;
            for detail in [&refused["detail"], &refused["errors"]] {
                if !detail.is_null() {
                    writeln!(f, "  {}", plain(detail))?;
                }
            }
        }
        if let Some(route) = &self.route {
            write_route(f, route)?;
        }
        write_others(f, self)
    }
}

fn write_route(f: &mut fmt::Formatter<'_>, route: &ExplainedRoute) -> fmt::Result {
    writeln!(f, "\nRoute {}", route.name)?;
    for (what, value) in &route.matched {
        writeln!(f, "  {what:<11} {value}")?;
    }
    writeln!(f, "\nPolicies, in order")?;
    for (at, (name, settings)) in route.policies.iter().enumerate() {
        writeln!(f, "  {}. {name:<14} {}", at + 1, pairs(settings))?;
    }
    writeln!(f, "\nDestination\n  {}", pairs(&route.destination))?;
    let Some(forwarded) = &route.forwarded else {
        return Ok(());
    };
    writeln!(f, "\nThe upstream receives\n  {}", forwarded.target)?;
    for (name, value) in &forwarded.headers {
        writeln!(f, "  {name}: {value}")?;
    }
    if !forwarded.removed.is_empty() {
        let removed = forwarded.removed.join(", ");
        writeln!(f, "  not forwarded as sent: {removed}")?;
    }
    writeln!(
        f,
        "  and x-request-id and traceparent of the request, and x-user-id of a valid token"
    )
}

fn write_others(f: &mut fmt::Formatter<'_>, explanation: &Explanation) -> fmt::Result {
    if explanation.others.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nOther routes, in order")?;
    let names = explanation.others.iter().map(|other| other.name.len());
    let width = names.max().unwrap_or(0);
    let paths = explanation.others.iter().map(|other| other.path.len());
    let path_width = paths.max().unwrap_or(0);
    for other in &explanation.others {
        let host = match &*other.host {
            "any" => String::new(),
            host => format!("{host} "),
        };
        let (name, path, reason) = (&other.name, &other.path, &other.reason);
        writeln!(f, "  {name:<width$}  {path:<path_width$}  {host}{reason}")?;
    }
    Ok(())
}

/// `key = value` of an object.
fn pairs(value: &Value) -> String {
    let Value::Object(fields) = value else {
        return plain(value);
    };
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    let pairs = fields.map(|(key, value)| format!("{key} = {}", plain(value)));
    pairs.collect::<Vec<_>>().join(", ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
