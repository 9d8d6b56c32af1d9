//! Gives the shared library the name by which programs ask for it at run time.
//!
//! Without one, a program that is linked to the file by its path, as CMake does, asks for the builder's path. The name
//! has no version: structs carry their own size, and a program compares the version of the ABI when it starts; so what
//! is linked against the build folder, where there is the file alone, runs there and after an installation.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let name = match system.as_str() {
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" | "dragonfly" => "-Wl,-soname,libinterneuron.so",
        "macos" | "ios" | "tvos" | "watchos" | "visionos" => "-Wl,-install_name,@rpath/libinterneuron.dylib",
        _ => return,
    };
    println!("cargo::rustc-cdylib-link-arg={name}");
}
