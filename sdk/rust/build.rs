//! Registers the schema of links for the macros of cynic.

fn main() {
    cynic_codegen::register_schema("links")
        .from_sdl_file("src/generated/links.graphql")
        .expect("`cargo xtask gen` writes a valid schema")
        .as_default()
        .expect("the build directory can be written");
}
