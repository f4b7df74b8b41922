//! The SQLite store and queue keep their contracts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Queue, Store};
use quark_core::conformance::queue::QueueFixture;
use quark_core::conformance::store::StoreFixture;
use quark_core::{Clock, Timestamp};
use quark_store::{SqliteStore, Synchronous};

use crate::fixture::Fixture;

mod store {
    quark_core::store_conformance!(super::SqliteFixture::new(quark_store::Synchronous::Full));
}

mod queue {
    quark_core::queue_conformance!(super::SqliteFixture::new(quark_store::Synchronous::Full));
}

/// Writes take another way there.
mod store_normal {
    quark_core::store_conformance!(super::SqliteFixture::new(quark_store::Synchronous::Normal));
}

mod queue_normal {
    quark_core::queue_conformance!(super::SqliteFixture::new(quark_store::Synchronous::Normal));
}

/// A store on a file of its own that can be opened again.
struct SqliteFixture {
    outer: Fixture,
    current: Mutex<SqliteStore>,
}

impl SqliteFixture {
    async fn new(synchronous: Synchronous) -> Self {
        let outer = Fixture::with(synchronous).await;
        let current = Mutex::new(outer.store.clone());
        Self { outer, current }
    }

    fn current(&self) -> SqliteStore {
        self.current.lock().unwrap().clone()
    }
}

#[async_trait]
impl StoreFixture for SqliteFixture {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.current())
    }

    fn queue(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::new(self.current().queue()))
    }

    async fn advance(&self, by: Duration) {
        self.outer.clock.advance(by);
    }

    fn is_durable(&self) -> bool {
        true
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        self.current().close().await.unwrap();
        let again = self.outer.open_again().await;
        *self.current.lock().unwrap() = again.clone();
        Some(Arc::new(again))
    }
}

#[async_trait]
impl QueueFixture for SqliteFixture {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.current().queue())
    }

    fn now(&self) -> Timestamp {
        self.outer.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.outer.clock.advance(by);
    }
}
