//! `ETag` and `Last-Modified` of files, and the conditions that only an origin evaluates.
//!
//! The `ETag` of a small file is a hash of its contents: the same on every replica and after every
//! deploy that does not change the file, and another one with any other byte. Files that are not read
//! before they are sent have one of their times, length and inode. The times alone would not do:
//! reproducible builds give all files of all releases the same one, and two files of the same length
//! would be taken for each other. Such an `ETag` is weak for two seconds after a change: another one
//! within the resolution of the clock could not be seen (RFC 9110, 8.8.1).

use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest as _, Sha256};

use super::directory::Stamp;
use crate::{cache::date, request::Headers};

const HASH_BYTES: usize = 16;
/// The resolution of modification times of some file systems.
const UNSETTLED_SECONDS: i64 = 2;
/// 1981. Reproducible builds date files to 1970 or 1980, which says nothing.
const FIRST_DATE: i64 = 347_155_200;

pub(super) fn of(stamp: Stamp, contents: Option<&[u8]>, now: i64) -> HeaderMap {
    let mut validators = HeaderMap::with_capacity(2);
    match contents {
        Some(contents) => set_of_contents(&mut validators, contents),
        None => set_of_stamp(&mut validators, stamp, now),
    }
    // A time to come is none at which the file was changed (RFC 9110, 8.8.2.1).
    if (FIRST_DATE..=now).contains(&stamp.modified.0)
        && let Ok(value) = HeaderValue::try_from(date::format(stamp.modified.0))
    {
        validators.insert(header::LAST_MODIFIED, value);
    }
    validators
}

pub(super) fn set_of_contents(validators: &mut HeaderMap, contents: &[u8]) {
    set_tag(validators, "", &Sha256::digest(contents));
}

fn set_of_stamp(validators: &mut HeaderMap, stamp: Stamp, now: i64) {
    let mut hash = Sha256::new();
    for number in [stamp.device, stamp.inode, stamp.length] {
        hash.update(number.to_le_bytes());
    }
    for (seconds, nanoseconds) in [stamp.modified, stamp.changed] {
        hash.update(seconds.to_le_bytes());
        hash.update(nanoseconds.to_le_bytes());
    }
    let last = stamp.modified.0.max(stamp.changed.0);
    let is_settled = now - last > UNSETTLED_SECONDS;
    let weak = if is_settled { "" } else { "W/" };
    set_tag(validators, weak, &hash.finalize());
}

fn set_tag(validators: &mut HeaderMap, weak: &str, hash: &[u8]) {
    let text = format!("{weak}\"{}\"", hex::encode(&hash[..HASH_BYTES]));
    if let Ok(value) = HeaderValue::try_from(text) {
        validators.insert(header::ETAG, value);
    }
}

pub(super) fn is_weak(validators: &HeaderMap) -> bool {
    let tag = validators.get(header::ETAG);
    tag.is_some_and(|tag| tag.as_bytes().starts_with(b"W/"))
}

/// Whether a condition fails that protects a representation: the answer is 412 (RFC 9110, 13.2.2).
pub(super) fn is_refused(validators: &HeaderMap, request: &dyn Headers) -> bool {
    if request.first(&header::IF_MATCH).is_some() {
        let tag = validators.get(header::ETAG).map(HeaderValue::as_bytes);
        let mut listed = request.all(header::IF_MATCH);
        return !listed.any(|list| {
            list.trim_ascii() == b"*" || tag.is_some_and(|tag| lists_strongly(list, tag))
        });
    }
    let unmodified = request.first(&header::IF_UNMODIFIED_SINCE);
    let unmodified = unmodified.and_then(date::parse);
    let modified = validators.get(header::LAST_MODIFIED);
    let modified = modified.and_then(|value| date::parse(value.as_bytes()));
    matches!((unmodified, modified), (Some(since), Some(modified)) if modified > since)
}

/// A strong comparison with the members of a list. The tag has no comma.
fn lists_strongly(list: &[u8], tag: &[u8]) -> bool {
    !tag.starts_with(b"W/")
        && list
            .split(|&byte| byte == b',')
            .any(|item| item.trim_ascii() == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_map;

    const NOW: i64 = 1_800_000_000;

    fn stamp() -> Stamp {
        Stamp {
            device: 1,
            inode: 2,
            length: 3,
            modified: (NOW - 100, 5),
            changed: (NOW - 100, 6),
        }
    }

    #[test]
    fn a_tag_is_of_the_contents_or_of_everything_that_changes_with_them() {
        let small = |stamp| of(stamp, Some(b"abc"), NOW);
        let other = Stamp {
            inode: 9,
            ..stamp()
        };
        assert_eq!(small(stamp()), small(other), "replicas agree");
        assert_ne!(small(stamp()), of(stamp(), Some(b"abd"), NOW));
        let large = |stamp| of(stamp, None, NOW)[header::ETAG].clone();
        let changes: [fn(&mut Stamp); 5] = [
            |it| it.device = 7,
            |it| it.inode = 7,
            |it| it.length = 7,
            |it| it.modified.1 = 7,
            |it| it.changed.1 = 7,
        ];
        for change in changes {
            let mut other = stamp();
            change(&mut other);
            assert_ne!(large(stamp()), large(other));
        }
    }

    #[test]
    fn a_file_that_was_just_changed_has_a_weak_tag() {
        let mut recent = stamp();
        recent.changed.0 = NOW - 1;
        assert!(is_weak(&of(recent, None, NOW)));
        assert!(!is_weak(&of(recent, Some(b"abc"), NOW)));
        assert!(!is_weak(&of(stamp(), None, NOW)));
    }

    #[test]
    fn dates_that_say_nothing_are_not_sent() {
        for (modified, expected) in [
            (0, false),
            (1, false),
            (315_532_800, false),
            (NOW - 1, true),
            (NOW + 60, false),
        ] {
            let mut stamp = stamp();
            stamp.modified.0 = modified;
            let validators = of(stamp, Some(b""), NOW);
            assert_eq!(validators.contains_key(header::LAST_MODIFIED), expected);
        }
    }

    #[test]
    fn conditions_of_writers_are_evaluated() {
        const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const EARLY: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
        let file = header_map(&[("etag", "\"a\""), ("last-modified", AT)]);
        for (fields, expected) in [
            (&[("if-match", "\"a\"")][..], false),
            (&[("if-match", "\"b\", \"a\"")], false),
            (&[("if-match", "*")], false),
            (&[("if-match", "\"b\"")], true),
            (&[("if-match", "W/\"a\"")], true),
            (&[("if-unmodified-since", AT)], false),
            (&[("if-unmodified-since", EARLY)], true),
            (&[("if-unmodified-since", "x")], false),
            (
                &[("if-match", "\"a\""), ("if-unmodified-since", EARLY)],
                false,
            ),
            (&[], false),
        ] {
            assert_eq!(
                is_refused(&file, &header_map(fields)),
                expected,
                "{fields:?}"
            );
        }
        let weak = header_map(&[("etag", "W/\"a\"")]);
        assert!(is_refused(&weak, &header_map(&[("if-match", "W/\"a\"")])));
    }
}
