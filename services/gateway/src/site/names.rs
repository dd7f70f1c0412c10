//! Names that files of a site may have.

/// The only name with a dot at its beginning that is served, at the top (RFC 8615).
pub(super) const WELL_KNOWN: &str = ".well-known";

/// Whether a file may have this name: no part is empty, `.` or `..`, or hidden.
pub(crate) fn is_served(name: &str) -> bool {
    let mut parts = name.split('/').enumerate();
    parts.all(|(at, part)| {
        let hidden = part.starts_with('.') && !(at == 0 && part == WELL_KNOWN);
        !part.is_empty() && !hidden && !part.contains(['\0', '\\'])
    })
}
