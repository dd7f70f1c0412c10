//! Clicks: what the click log holds of each followed redirect.

use std::{borrow::Cow, collections::BTreeMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::visitor::Visitor;
use crate::store::{clicks::ClickId, links::LinkId};

/// The formats of a record in the click log. Variants are added, never changed or removed: a
/// replica may have to recover what an older release wrote. What it does not know it keeps for a
/// replica that does; see [`Click::decode`].
///
/// `V2` needs no successor for a new dimension: a release that does not know its name passes it on
/// to the database, which stores it. `V1` is still written where it is enough.
#[derive(Debug, Serialize, Deserialize)]
enum Record<C, D> {
    V1(C),
    V2(C, D),
}

/// What a click is counted by beside its fields, by name.
pub(crate) type Dimensions = BTreeMap<String, String>;

/// The longest record: the ids and the hash, a host name of 253 bytes, short words, and dimensions.
pub(crate) const MAX_ENCODED_BYTES: usize = 2048;

/// One followed redirect. Ids are plain UUIDs because that is their form on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Click {
    /// A version 7 UUID, which holds the time of the click. Storing the same id twice counts once.
    pub(crate) id: Uuid,
    pub(crate) link_id: Uuid,
    pub(crate) visitor: Option<[u8; 16]>,
    pub(crate) country: Option<String>,
    pub(crate) referrer_host: Option<String>,
    pub(crate) device: Cow<'static, str>,
    pub(crate) bot: Option<Cow<'static, str>>,
    #[serde(skip)]
    pub(crate) dimensions: Dimensions,
}

impl Click {
    pub(crate) fn new(id: ClickId, link_id: LinkId, visitor: Visitor) -> Self {
        Self {
            id: id.uuid(),
            link_id: link_id.uuid(),
            visitor: visitor.hash,
            country: visitor.country,
            referrer_host: visitor.referrer_host,
            device: visitor.device.as_str().into(),
            bot: visitor.bot.map(|reason| reason.as_str().into()),
            dimensions: Dimensions::new(),
        }
    }

    /// The time in the id, in milliseconds. It never changes, so that a click that is stored again
    /// falls into the same hour.
    pub(crate) fn at(&self) -> DateTime<Utc> {
        let time = self
            .id
            .get_timestamp()
            .map_or((0, 0), |time| time.to_unix());
        let seconds = i64::try_from(time.0).unwrap_or(0);
        DateTime::from_timestamp(seconds, time.1).unwrap_or_default()
    }

    /// Without its dimensions if they do not fit.
    pub(crate) fn encode<'a>(&self, buffer: &'a mut [u8; MAX_ENCODED_BYTES]) -> &'a [u8] {
        let written = if self.dimensions.is_empty() {
            None
        } else {
            let record = Record::V2(self, &self.dimensions);
            postcard::to_slice(&record, buffer)
                .map(|bytes| bytes.len())
                .ok()
        };
        if let Some(length) = written {
            return &buffer[..length];
        }
        let record = Record::<_, &Dimensions>::V1(self);
        postcard::to_slice(&record, buffer).expect("a record is plain data and fits")
    }

    /// `None` for a format that only a later release knows.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match postcard::from_bytes::<Record<Self, Dimensions>>(bytes).ok()? {
            Record::V1(click) => Some(click),
            Record::V2(click, dimensions) => Some(Self {
                dimensions,
                ..click
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wal::MAX_PAYLOAD_BYTES;

    prop_compose! {
        fn any_click()(
            id in any::<u128>(), link_id in any::<u128>(), visitor in any::<Option<[u8; 16]>>(),
            country in prop::option::of("[A-Z]{2}"), referrer_host in prop::option::of("[a-z.]{1,253}"),
            bot in prop::option::of("[a-z_]{4,13}"),
            dimensions in prop::collection::btree_map("[a-z_]{1,10}", "\\PC{0,20}", 0..6),
        ) -> Click {
            Click {
                id: Uuid::from_u128(id), link_id: Uuid::from_u128(link_id), visitor, country,
                referrer_host, device: "desktop".into(), bot: bot.map(Into::into), dimensions,
            }
        }
    }

    proptest! {
        #[test]
        fn records_round_trip_and_fit_a_frame(click in any_click()) {
            let mut buffer = [0; MAX_ENCODED_BYTES];
            let bytes = click.encode(&mut buffer);
            prop_assert!(bytes.len() <= MAX_PAYLOAD_BYTES);
            prop_assert_eq!(Click::decode(bytes), Some(click));
        }

        #[test]
        fn unknown_formats_are_not_decoded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // The first byte is the format; only 0 and 1 are known.
            if !matches!(bytes.first(), Some(0 | 1)) {
                prop_assert_eq!(Click::decode(&bytes), None);
            }
        }
    }

    fn plain() -> Click {
        Click {
            id: Uuid::from_u128(1),
            link_id: Uuid::from_u128(2),
            visitor: None,
            country: None,
            referrer_host: None,
            device: "other".into(),
            bot: None,
            dimensions: Dimensions::new(),
        }
    }

    #[test]
    fn format_on_disk_is_stable() {
        let click = Click {
            country: Some("DE".into()),
            ..plain()
        };
        let mut expected = vec![0, 16];
        expected.extend([0; 15].iter().chain(&[1, 16]).chain(&[0; 15]).chain(&[2]));
        expected.extend([0, 1, 2, b'D', b'E', 0, 5]);
        expected.extend(b"other\0");
        assert_eq!(click.encode(&mut [0; MAX_ENCODED_BYTES]), expected);

        let dimensions = Dimensions::from([("os".into(), "ios".into())]);
        let click = Click {
            dimensions,
            ..click
        };
        expected[0] = 1;
        expected.extend(b"\x01\x02os\x03ios");
        assert_eq!(click.encode(&mut [0; MAX_ENCODED_BYTES]), expected);
    }

    #[test]
    fn dimensions_that_do_not_fit_are_left_out() {
        let mut click = plain();
        click.dimensions = Dimensions::from([("x".into(), "y".repeat(MAX_ENCODED_BYTES))]);
        let mut buffer = [0; MAX_ENCODED_BYTES];
        let decoded = Click::decode(click.encode(&mut buffer));
        click.dimensions.clear();
        assert_eq!(decoded, Some(click));
    }

    /// The reader of the release before `V2`.
    #[test]
    fn an_older_reader_does_not_take_a_newer_record_for_one_of_its_own() {
        #[derive(Debug, Deserialize)]
        enum OldRecord {
            #[expect(dead_code, reason = "only whether it can be read is of interest")]
            V1(Click),
        }
        let mut click = plain();
        let mut buffer = [0; MAX_ENCODED_BYTES];
        assert!(postcard::from_bytes::<OldRecord>(click.encode(&mut buffer)).is_ok());
        click.dimensions.insert("os".into(), "ios".into());
        let newer = click.encode(&mut buffer);
        // It keeps the log then.
        assert!(postcard::from_bytes::<OldRecord>(newer).is_err());
    }
}
