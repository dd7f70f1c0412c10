//! The media type of a file, by its extension.

const TYPES: [(&str, &str); 22] = [
    ("avif", "image/avif"),
    ("csv", "text/csv"),
    ("gif", "image/gif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("json", "application/json"),
    ("md", "text/markdown"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xml", "application/xml"),
    ("zip", "application/zip"),
];
const UNKNOWN: &str = "application/octet-stream";

pub(super) fn of(file_name: &str) -> &'static str {
    let Some((_, end)) = file_name.rsplit_once('.') else {
        return UNKNOWN;
    };
    let found = TYPES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(end));
    found.map_or(UNKNOWN, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_extension_determines_the_type() {
        assert_eq!(of("holiday.PNG"), "image/png");
        assert_eq!(of("a.tar.zip"), "application/zip");
        assert_eq!(of("README"), "application/octet-stream");
    }
}
