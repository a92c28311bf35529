//! The features and the contract are embedded: a new file must rebuild the library, which `include_dir` alone misses.
fn main() {
    for folder in ["features", "fixtures/contract", "golden", "fixtures/mistakes"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
