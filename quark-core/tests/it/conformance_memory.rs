//! The memory backends keep their contracts.

mod router {
    use crate::memory_fixtures::MemoryRouterFixture;

    quark_core::router_conformance!(async { MemoryRouterFixture::default() });
}

mod container_runtime {
    use crate::memory_fixtures::MemoryRuntimeFixture;

    quark_core::container_runtime_conformance!(async { MemoryRuntimeFixture::default() });
}

mod image_builder {
    use crate::memory_sources::MemoryBuilderFixture;

    quark_core::image_builder_conformance!(async { MemoryBuilderFixture::default() });
}

mod source_fetcher {
    use crate::memory_sources::MemorySourceFixture;

    quark_core::source_fetcher_conformance!(async { MemorySourceFixture::default() });
}
