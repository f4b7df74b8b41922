//! From columns to values and back.

use quark_core::{Result, Timestamp};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde::Serialize;
use serde::de::value::{BorrowedStrDeserializer, Error as NoSuchName};
use serde::de::{Deserialize, DeserializeOwned};

use super::failure::failed;
use crate::error::{unreadable, unwritable};

/// A number that SQLite can keep.
pub(super) fn integer(column: &'static str, value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| unwritable(column))
}

/// A limit; more than SQLite can count is all.
pub(super) fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// A place in an order; nothing comes after the last one.
pub(super) fn place(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// A document.
pub(super) fn document<T: Serialize>(column: &'static str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|_| unwritable(column))
}

/// A document that may be missing.
pub(super) fn optional_document<T: Serialize>(column: &'static str, value: Option<&T>) -> Result<Option<String>> {
    value.map(|value| document(column, value)).transpose()
}

/// The name of a state, a slot or the like, as the API has it.
pub(super) fn name<T: Serialize>(column: &'static str, value: &T) -> Result<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        _ => Err(unwritable(column)),
    }
}

/// Reads the columns of one row, from the first to the last.
pub(super) struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(super) fn of(row: &'r Row<'r>) -> Self {
        Self { row, next: 0 }
    }

    /// The next value, as `read` takes it; it yields nothing if it cannot.
    fn next<T>(&mut self, read: impl FnOnce(ValueRef<'r>) -> Option<T>) -> Result<T> {
        let index = self.next;
        self.next += 1;
        read(self.row.get_ref(index).map_err(failed)?).ok_or_else(|| self.unreadable(index))
    }

    fn unreadable(&self, index: usize) -> quark_core::Error {
        unreadable(self.row.as_ref().column_name(index).unwrap_or("?"))
    }

    pub(super) fn text(&mut self) -> Result<&'r str> {
        self.next(text)
    }

    pub(super) fn optional_text(&mut self) -> Result<Option<&'r str>> {
        self.next(|value| optional(value, text))
    }

    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> Result<T> {
        self.next(|value| T::try_from(integer_of(value)?).ok())
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        self.next(|value| Some(integer_of(value)? != 0))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp> {
        self.next(|value| integer_of(value).map(Timestamp::from_micros))
    }

    pub(super) fn optional_time(&mut self) -> Result<Option<Timestamp>> {
        self.next(|value| optional(value, |value| integer_of(value).map(Timestamp::from_micros)))
    }

    pub(super) fn document<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.next(document_of)
    }

    pub(super) fn optional_document<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.next(|value| optional(value, document_of))
    }

    /// A value that is stored by its name, or an id.
    pub(super) fn named<T: Deserialize<'r>>(&mut self) -> Result<T> {
        self.next(named)
    }

    pub(super) fn optional_named<T: Deserialize<'r>>(&mut self) -> Result<Option<T>> {
        self.next(|value| optional(value, named))
    }
}

fn optional<'r, T>(value: ValueRef<'r>, read: impl FnOnce(ValueRef<'r>) -> Option<T>) -> Option<Option<T>> {
    if value == ValueRef::Null { Some(None) } else { read(value).map(Some) }
}

fn text(value: ValueRef<'_>) -> Option<&str> {
    value.as_str().ok()
}

fn integer_of(value: ValueRef<'_>) -> Option<i64> {
    value.as_i64().ok()
}

fn document_of<T: DeserializeOwned>(value: ValueRef<'_>) -> Option<T> {
    serde_json::from_str(text(value)?).ok()
}

fn named<'r, T: Deserialize<'r>>(value: ValueRef<'r>) -> Option<T> {
    T::deserialize(BorrowedStrDeserializer::<NoSuchName>::new(text(value)?)).ok()
}
