//! The memory backends keep their contracts.

mod router {
    use crate::memory_fixtures::MemoryRouterFixture;

    quark_core::router_conformance!(async { MemoryRouterFixture::default() });
}
