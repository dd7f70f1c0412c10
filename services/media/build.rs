fn main() {
    // Without this a new migration is not compiled in: the directory lies outside the crate.
    println!("cargo::rerun-if-changed=../../db/schemas/media");
    quartet_linking::shrink_release_binaries();
}
