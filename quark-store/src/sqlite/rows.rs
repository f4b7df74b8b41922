//! From rows to records and back, by hand: one place knows each table's columns.

use quark_core::app::AppName;
use quark_core::deployment::{
    AppRecord, CancelRequest, Deployment, Event, Fence, Instance, LogLine, StepRecord, Version,
};
use quark_core::{Result, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

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

/// Reads the columns of one row.
pub(super) struct Columns<'r>(pub(super) &'r SqliteRow);

impl Columns<'_> {
    /// The text in the first column.
    pub(super) fn first(&self) -> Result<&str> {
        self.0.try_get(0).map_err(failed)
    }

    pub(super) fn text(&self, column: &'static str) -> Result<String> {
        self.0.try_get(column).map_err(failed)
    }

    pub(super) fn optional_text(&self, column: &'static str) -> Result<Option<String>> {
        self.0.try_get(column).map_err(failed)
    }

    pub(super) fn flag(&self, column: &'static str) -> Result<bool> {
        self.0.try_get::<i64, _>(column).map(|value| value != 0).map_err(failed)
    }

    pub(super) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        let value: i64 = self.0.try_get(column).map_err(failed)?;
        T::try_from(value).map_err(|_| unreadable(column))
    }

    pub(super) fn time(&self, column: &'static str) -> Result<Timestamp> {
        self.0.try_get(column).map(Timestamp::from_micros).map_err(failed)
    }

    pub(super) fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>> {
        let micros: Option<i64> = self.0.try_get(column).map_err(failed)?;
        Ok(micros.map(Timestamp::from_micros))
    }

    pub(super) fn document<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|_| unreadable(column))
    }

    pub(super) fn optional_document<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        let text = self.optional_text(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|_| unreadable(column))).transpose()
    }

    /// A value that is stored by its name, or an id.
    pub(super) fn named<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        named(self.text(column)?, column)
    }

    pub(super) fn optional_named<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        self.optional_text(column)?.map(|text| named(text, column)).transpose()
    }
}

fn named<T: DeserializeOwned>(text: String, column: &'static str) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(text)).map_err(|_| unreadable(column))
}

/// An app; its row has all columns of `quark_apps`.
pub(super) fn app(row: &SqliteRow) -> Result<AppRecord> {
    let columns = Columns(row);
    Ok(AppRecord {
        team: columns.named("team")?,
        spec: columns.document("spec")?,
        serving: columns.document("serving")?,
        version: Version(columns.number("version")?),
        created_at: columns.time("created_at")?,
        updated_at: columns.time("updated_at")?,
        removed_at: columns.optional_time("removed_at")?,
    })
}

/// A deployment; its row has all columns of `quark_deployments`.
pub(super) fn deployment(row: &SqliteRow) -> Result<Deployment> {
    let columns = Columns(row);
    let cancel = match (columns.optional_text("cancel_requested_by")?, columns.optional_time("cancel_requested_at")?) {
        (Some(by), Some(at)) => {
            Some(CancelRequest { by, at, superseded_by: columns.optional_named("cancel_superseded_by")? })
        }
        _ => None,
    };
    Ok(Deployment {
        id: columns.named("id")?,
        app: columns.named("app")?,
        team: columns.named("team")?,
        sequence: columns.number("sequence")?,
        kind: columns.document("kind_details")?,
        release: columns.document("release")?,
        revision: columns.document("revision")?,
        artifact: columns.optional_document("artifact")?,
        slot: columns.optional_named("slot")?,
        state: columns.named("state")?,
        conclusion: columns.optional_named("conclusion")?,
        failure: columns.optional_document("failure")?,
        cancel,
        fence: Fence(columns.number("fence")?),
        version: Version(columns.number("version")?),
        created_by: columns.text("created_by")?,
        trigger: columns.named("trigger_kind")?,
        key: columns.optional_named("idempotency_key")?,
        created_at: columns.time("created_at")?,
        started_at: columns.optional_time("started_at")?,
        finished_at: columns.optional_time("finished_at")?,
    })
}

/// A step; its row has all columns of `quark_steps`.
pub(super) fn step(row: &SqliteRow) -> Result<StepRecord> {
    let columns = Columns(row);
    Ok(StepRecord {
        name: columns.named("name")?,
        attempt: columns.number("attempt")?,
        phase: columns.named("phase")?,
        fence: Fence(columns.number("fence")?),
        resumed: columns.number("resumed")?,
        started_at: columns.time("started_at")?,
        finished_at: columns.optional_time("finished_at")?,
        deadline: columns.time("deadline")?,
        output: columns.optional_document("output")?,
        failure: columns.optional_document("failure")?,
    })
}

/// An instance; its row has all columns of `quark_instances`.
pub(super) fn instance(row: &SqliteRow) -> Result<Instance> {
    let columns = Columns(row);
    Ok(Instance {
        name: columns.named("name")?,
        deployment: columns.named("deployment")?,
        replica: columns.number("replica")?,
        slot: columns.named("slot")?,
        state: columns.named("state")?,
        endpoint: columns.named("endpoint")?,
    })
}

/// An event; its row has all columns of `quark_events`.
pub(super) fn event(row: &SqliteRow) -> Result<Event> {
    let columns = Columns(row);
    Ok(Event {
        sequence: columns.number("sequence")?,
        app: columns.named::<AppName>("app")?,
        deployment: columns.named("deployment")?,
        at: columns.time("at")?,
        kind: columns.document("kind")?,
    })
}

/// A log line; its row has all columns of `quark_logs` but the deployment.
pub(super) fn log_line(row: &SqliteRow) -> Result<LogLine> {
    let columns = Columns(row);
    Ok(LogLine {
        sequence: columns.number("sequence")?,
        at: columns.time("at")?,
        stream: columns.named("stream")?,
        text: columns.text("text")?,
    })
}
