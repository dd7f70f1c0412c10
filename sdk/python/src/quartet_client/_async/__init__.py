"""The client for asyncio. `cargo xtask gen` derives the client for threads from it."""
