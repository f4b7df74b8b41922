//! Statements: literals that are prepared once per connection.

use quark_core::Result;
use rusqlite::{CachedStatement, Connection, Params};

use super::failure::failed;
use super::rows::Columns;

/// A statement. Only [`statements!`] makes one, of a literal, hence no value
/// ever gets into its text, and each stands in the list of its module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sql {
    #[cfg(test)]
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

/// Defines the statements of a module, and for tests the list of them.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)+) => {
        $(
            $(#[$doc])*
            const $name: $crate::sqlite::sql::Sql = $crate::sqlite::sql::Sql {
                #[cfg(test)]
                name: stringify!($name),
                text: $text,
            };
        )+
        #[cfg(test)]
        pub(super) const STATEMENTS: &[$crate::sqlite::sql::Sql] = &[$($name),+];
    };
}

pub(super) use statements;

impl Sql {
    /// Runs it; how many rows it wrote.
    pub(super) fn run(self, connection: &Connection, values: impl Params) -> Result<usize> {
        self.prepared(connection)?.execute(values).map_err(failed)
    }

    /// The first row, if there is one.
    pub(super) fn first<T>(
        self,
        connection: &Connection,
        values: impl Params,
        read: impl FnOnce(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.prepared(connection)?;
        let mut rows = statement.query(values).map_err(failed)?;
        rows.next().map_err(failed)?.map(|row| read(&mut Columns::of(row))).transpose()
    }

    /// Whether there is a row.
    pub(super) fn finds(self, connection: &Connection, values: impl Params) -> Result<bool> {
        Ok(self.first(connection, values, |_| Ok(()))?.is_some())
    }

    /// All rows.
    pub(super) fn all<T>(
        self,
        connection: &Connection,
        values: impl Params,
        read: impl Fn(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.prepared(connection)?;
        let mut rows = statement.query(values).map_err(failed)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            found.push(read(&mut Columns::of(row))?);
        }
        Ok(found)
    }

    fn prepared(self, connection: &Connection) -> Result<CachedStatement<'_>> {
        connection.prepare_cached(self.text).map_err(failed)
    }
}
