fn main() {
    quartet_linking::shrink_release_binaries();
}
