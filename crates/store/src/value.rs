//! What can be bound to a statement and read from a row: integers, text, blobs, null. Nothing else is portable.

use dte_base::time::Timestamp;
use uuid::Uuid;

use crate::Error;

/// A value in the database.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// Values to bind, in the order of `?1 ?2 …`: `&params![a, b]`.
#[macro_export]
macro_rules! params {
    () => { [] as [$crate::Value; 0] };
    ($($value:expr),+ $(,)?) => { [$($crate::Value::from($value)),+] };
}

/// A row for the bulk operations: `values![a, b]` is a `Vec<Value>`.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::Value::from($value)),*] };
}

macro_rules! integers {
    ($($kind:ty),*) => { $(impl From<$kind> for Value {
        fn from(value: $kind) -> Value { Value::Int(i64::from(value)) }
    })* };
}
integers!(i64, i32, u32, u16, u8, bool);

impl From<u64> for Value {
    /// Sizes and counts; what is beyond 2^63 is stored as the largest integer.
    fn from(value: u64) -> Value {
        Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<&i64> for Value {
    fn from(value: &i64) -> Value {
        Value::Int(*value)
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Value {
        Value::Text(value.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Value {
        Value::Blob(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Value {
        Value::Blob(value.to_owned())
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Value {
        Value::Int(value.as_micros())
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Value {
        Value::Text(value.to_string())
    }
}

impl From<&Uuid> for Value {
    fn from(value: &Uuid) -> Value {
        Value::Text(value.to_string())
    }
}

impl From<&serde_json::Value> for Value {
    /// JSON is stored as text.
    fn from(value: &serde_json::Value) -> Value {
        Value::Text(value.to_string())
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Value {
        Value::Text(value.to_string())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl From<&Value> for Value {
    fn from(value: &Value) -> Value {
        value.clone()
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(n) => ValueRef::Integer(*n),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A row of an answer; columns are counted from zero.
pub struct Row {
    pub(crate) columns: Vec<Value>,
}

impl Row {
    /// The column `index` as a `T`.
    pub fn get<T: FromValue>(&self, index: usize) -> Result<T, Error> {
        let column = self.columns.get(index).ok_or(Error::Column { index, wanted: "there" })?;
        T::from_value(column).ok_or(Error::Column { index, wanted: T::WANTED })
    }
}

/// What a column can be read as.
pub trait FromValue: Sized {
    /// For messages: `an integer`.
    const WANTED: &'static str;
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for i64 {
    const WANTED: &'static str = "an integer";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Int(n) = value { Some(*n) } else { None }
    }
}

macro_rules! from_integer {
    ($($kind:ty),*) => { $(impl FromValue for $kind {
        const WANTED: &'static str = concat!("an integer in the range of ", stringify!($kind));
        fn from_value(value: &Value) -> Option<Self> {
            i64::from_value(value).and_then(|n| <$kind>::try_from(n).ok())
        }
    })* };
}
from_integer!(u64, u32, i32, u16, usize);

impl FromValue for bool {
    const WANTED: &'static str = "0 or 1";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int(0) => Some(false),
            Value::Int(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for String {
    const WANTED: &'static str = "text";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl FromValue for Vec<u8> {
    const WANTED: &'static str = "a blob";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Blob(bytes) = value { Some(bytes.clone()) } else { None }
    }
}

impl FromValue for Timestamp {
    const WANTED: &'static str = "a time in microseconds";
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(Timestamp::from_micros)
    }
}

impl FromValue for Uuid {
    const WANTED: &'static str = "a UUID";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { text.parse().ok() } else { None }
    }
}

impl FromValue for serde_json::Value {
    const WANTED: &'static str = "JSON text";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { serde_json::from_str(text).ok() } else { None }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const WANTED: &'static str = T::WANTED;
    fn from_value(value: &Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}
