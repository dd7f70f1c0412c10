fn main() {
    // Without this a new migration is not compiled in: the directory lies outside the crate.
    println!("cargo:rerun-if-changed=../../db/schemas/core");
    // Relative relocations in 8 bytes for 64 pointers instead of 24 for one: 0.9 MB less.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
