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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{
        SqliteConfig, apps, commit, deployments, history, instances, jobs, leap, leases, open, projects, snapshot,
        steps,
    };

    const MODULES: [(&str, &[Sql]); 11] = [
        ("apps", apps::STATEMENTS),
        ("commit", commit::STATEMENTS),
        ("deployments", deployments::STATEMENTS),
        ("history", history::STATEMENTS),
        ("instances", instances::STATEMENTS),
        ("jobs", jobs::STATEMENTS),
        ("leap", leap::STATEMENTS),
        ("leases", leases::STATEMENTS),
        ("projects", projects::STATEMENTS),
        ("snapshot", snapshot::STATEMENTS),
        ("steps", steps::STATEMENTS),
    ];

    /// What is for all rows, or for all that are not done; those have an index of their own.
    fn may_scan(statement: &str, line: &str) -> bool {
        let of_all = ["apps::ALL", "leap::LOSE_LEASES", "instances::RESERVED", "projects::ALL"];
        let small = ["CONSTANT ROW", "(subquery", "sqlite_sequence"];
        let unfinished =
            ["quark_deployments_queued", "quark_deployments_active", "quark_jobs_ready", "quark_jobs_dead"];
        of_all.contains(&statement)
            || small.iter().any(|part| line.contains(part))
            || unfinished.iter().any(|index| line.ends_with(&format!(" INDEX {index}")))
    }

    /// How much there is in the tables must not matter.
    #[test]
    fn no_statement_looks_at_every_row_of_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let writer = open::open(&SqliteConfig::new(folder.path().join("quark.db"))).unwrap().writer;
        for (module, statements) in MODULES {
            for Sql { name, text } in statements {
                let mut plan = writer.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
                let mut lines = plan.raw_query();
                while let Some(line) = lines.next().unwrap() {
                    let (line, name) = (line.get::<_, String>(3).unwrap(), format!("{module}::{name}"));
                    let sorts = line.contains("TEMP B-TREE") && name == "jobs::NEXT";
                    assert!(!sorts, "{name}: {line}");
                    assert!(!line.starts_with("SCAN") || may_scan(&name, &line), "{name}: {line}");
                }
            }
        }
    }

    /// To make one costs more than most statements.
    #[test]
    fn no_usual_statement_makes_a_table_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let writer = open::open(&SqliteConfig::new(folder.path().join("quark.db"))).unwrap().writer;
        let mut found = Vec::new();
        for (module, statements) in MODULES {
            for Sql { name, text } in statements {
                let mut program = writer.prepare(&format!("EXPLAIN {text}")).unwrap();
                let operations: Vec<String> =
                    program.raw_query().mapped(|line| line.get(1)).map(rusqlite::Result::unwrap).collect();
                if operations.iter().any(|operation| operation == "OpenEphemeral") {
                    found.push(format!("{module}::{name}"));
                }
            }
        }
        let rare = [
            "apps::FORGET",
            "apps::GIVE_UP_DOMAINS",
            "jobs::FREE_EXPIRED",
            "jobs::WAKE_DUE",
            "jobs::RECLAIM",
            "jobs::DEAD",
        ];
        assert_eq!(found, rare);
    }

    /// Or it would not be in the list above.
    #[test]
    fn each_module_with_statements_is_looked_at() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sqlite");
        let mut with_statements = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(path).unwrap();
                with_statements += usize::from(text.contains("\nstatements! {"));
            }
        }
        assert_eq!(with_statements, MODULES.len());
    }
}
