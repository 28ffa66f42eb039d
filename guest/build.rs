//! Has the linker drop the names from the released static program: they would be a fifth of it, and nobody reads them there.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    if of("PROFILE") == "release" && of("CARGO_CFG_TARGET_ENV") == "musl" {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
}
