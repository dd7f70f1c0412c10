"""The client, written once for asyncio. `cargo xtask gen` writes the other one from it."""
