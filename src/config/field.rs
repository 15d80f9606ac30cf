//! How checked values become fields, and the macro that makes structures of the lists of keys.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::value::{Value, advertised_of};
use super::{Advertised, CheckRecords, Create, HttpListen, TimestampType};

/// A field's type: how it is made of a checked value, and how it is shown.
pub trait Field {
    /// From a value that the key's kind accepted.
    fn from_value(value: Value) -> Self;
    /// As a value.
    fn to_value(&self) -> Value;
}

macro_rules! integer_fields {
    ($($type:ty)+) => { $(
        impl Field for $type {
            fn from_value(value: Value) -> Self {
                match value {
                    Value::Int(n) => n.try_into().expect("the key's bounds fit its field"),
                    other => unreachable!("{other} was checked to be a number"),
                }
            }
            fn to_value(&self) -> Value {
                Value::Int((*self).try_into().expect("it came from an i64"))
            }
        }
    )+ };
}

integer_fields!(u16 i32 u32 i64 u64 usize);

impl Field for bool {
    fn from_value(value: Value) -> bool {
        value == Value::Bool(true)
    }
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }
}

impl Field for String {
    fn from_value(value: Value) -> String {
        match value {
            Value::Text(text) => text,
            other => unreachable!("{other} was checked to be text"),
        }
    }
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
}

impl Field for PathBuf {
    fn from_value(value: Value) -> PathBuf {
        PathBuf::from(String::from_value(value))
    }
    fn to_value(&self) -> Value {
        Value::Text(self.to_string_lossy().into_owned())
    }
}

impl Field for Vec<String> {
    fn from_value(value: Value) -> Vec<String> {
        match value {
            Value::List(items) => items,
            other => unreachable!("{other} was checked to be a list"),
        }
    }
    fn to_value(&self) -> Value {
        Value::List(self.clone())
    }
}

impl Field for Create {
    fn from_value(value: Value) -> Create {
        if String::from_value(value) == "never" { Create::Never } else { Create::Auto }
    }
    fn to_value(&self) -> Value {
        Value::Text(if *self == Create::Never { "never" } else { "auto" }.to_string())
    }
}

impl Field for CheckRecords {
    fn from_value(value: Value) -> CheckRecords {
        if String::from_value(value) == "crc" { CheckRecords::Crc } else { CheckRecords::All }
    }
    fn to_value(&self) -> Value {
        Value::Text(if *self == CheckRecords::Crc { "crc" } else { "all" }.to_string())
    }
}

impl Field for TimestampType {
    fn from_value(value: Value) -> TimestampType {
        match String::from_value(value).as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }
    fn to_value(&self) -> Value {
        Value::Text(format!("{self:?}"))
    }
}

impl Field for SocketAddr {
    fn from_value(value: Value) -> SocketAddr {
        SocketAddr::from_str(&String::from_value(value)).expect("it was checked to be an address")
    }
    fn to_value(&self) -> Value {
        Value::Text(self.to_string())
    }
}

impl Field for HttpListen {
    fn from_value(value: Value) -> HttpListen {
        HttpListen(SocketAddr::from_str(&String::from_value(value)).ok())
    }
    fn to_value(&self) -> Value {
        Value::Text(self.0.map_or(String::new(), |address| address.to_string()))
    }
}

impl Field for Advertised {
    fn from_value(value: Value) -> Advertised {
        Advertised(advertised_of(&String::from_value(value)))
    }
    fn to_value(&self) -> Value {
        Value::Text(match &self.0 {
            Some((host, port)) if host.contains(':') => format!("[{host}]:{port}"),
            Some((host, port)) => format!("{host}:{port}"),
            None => String::new(),
        })
    }
}

/// One list of keys makes the structure, its defaults and the table that drives everything else.
macro_rules! keys {
    (
        $(#[doc = $doc:literal])+
        pub struct $struct:ident $(+ $(#[doc = $extra_doc:literal])+ $extra:ident: $extra_type:ty),*,
        pub static $table:ident;
        $( $(#[doc = $why:literal])+ $name:ident: $type:ty = $kind:expr; )+
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $struct {
            $( $(#[doc = $why])+ pub $name: $type, )+
            $( $(#[doc = $extra_doc])+ pub $extra: $extra_type, )*
        }

        #[doc = concat!("The keys of [`", stringify!($struct), "`], in the order of the file.")]
        pub static $table: &[Key<$struct>] = &[ $( Key {
            name: stringify!($name),
            kind: $kind,
            set: |into, value| into.$name = Field::from_value(value),
            get: |from| from.$name.to_value(),
            #[cfg(test)]
            why: &[$($why),+],
        } ),+ ];

        impl $struct {
            /// Every key at its default, nothing resolved.
            fn unresolved() -> $struct {
                $struct {
                    $( $name: Field::from_value({ const KIND: Kind = $kind; KIND.default() }), )+
                    $( $extra: Default::default(), )*
                }
            }
        }
    };
}
pub(super) use keys;
