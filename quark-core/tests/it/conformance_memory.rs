//! The memory backends keep their contracts.

mod router {
    use crate::memory_fixtures::MemoryRouterFixture;

    quark_core::router_conformance!(async { MemoryRouterFixture::default() });
}

mod container_runtime {
    use crate::memory_fixtures::MemoryRuntimeFixture;

    quark_core::container_runtime_conformance!(async { MemoryRuntimeFixture::default() });
}
