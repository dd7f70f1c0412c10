//! Typed identifiers that Postgres keeps as UUIDs.

/// Defines an id type: `typed_id!(pub AssetId, "ast");`.
#[macro_export]
macro_rules! typed_id {
    ($(#[$meta:meta])* $vis:vis $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, $crate::__private::sqlx::Type)]
        #[sqlx(transparent)]
        $vis struct $name($crate::__private::uuid::Uuid);

        #[allow(dead_code, reason = "not every kind of id needs every conversion")]
        impl $name {
            $vis const PREFIX: &'static str = $prefix;

            /// A new id that sorts after the earlier ones of this process.
            $vis fn new(clock: &$crate::__private::quartet_common::clock::Clock) -> Self {
                Self(clock.uuid_v7())
            }

            $vis fn uuid(self) -> $crate::__private::uuid::Uuid {
                self.0
            }
        }

        impl From<$crate::__private::uuid::Uuid> for $name {
            fn from(uuid: $crate::__private::uuid::Uuid) -> Self {
                Self(uuid)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}_{}", $prefix, $crate::__private::quartet_common::ids::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::__private::quartet_common::ids::InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then($crate::__private::quartet_common::ids::decode)
                    .map(Self)
                    .ok_or($crate::__private::quartet_common::ids::InvalidId { prefix: $prefix })
            }
        }

        impl $crate::__private::serde::Serialize for $name {
            fn serialize<S: $crate::__private::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> $crate::__private::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::__private::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <String as $crate::__private::serde::Deserialize>::deserialize(from)?;
                text.parse().map_err($crate::__private::serde::de::Error::custom)
            }
        }

        impl $crate::__private::utoipa::PartialSchema for $name {
            fn schema() -> $crate::__private::utoipa::openapi::RefOr<$crate::__private::utoipa::openapi::schema::Schema> {
                $crate::__private::quartet_common::ids::schema($prefix)
            }
        }

        impl $crate::__private::utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}
