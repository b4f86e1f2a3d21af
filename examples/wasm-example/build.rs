//! Instances are made for every call, so a small stack makes calls cheap.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-zstack-size=65536");
}
