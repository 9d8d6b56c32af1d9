//! Versions and instruction sets.

use crate::arguments::{index, pointer};
use crate::status::call;
use interneuron::Isa;
use std::ffi::c_char;

/// The version of this ABI. It changes when a program that was compiled with an older header would no longer work; new
/// functions, and new fields at the ends of structs, do not change it.
pub const INTERNEURON_ABI_VERSION: u32 = 1;

/// The largest of 0 and the sum of the inputs.
pub const INTERNEURON_RELU: i64 = 0;
/// The sum of the inputs itself.
pub const INTERNEURON_IDENTITY: i64 = 1;

/// The version with a NUL at its end, which C needs.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The version of the ABI that the library has. A program checks once that it equals `INTERNEURON_ABI_VERSION` of its
/// header.
#[unsafe(no_mangle)]
pub extern "C" fn interneuron_abi_version() -> u32 {
    INTERNEURON_ABI_VERSION
}

/// The version of the library, such as "0.1.0". The text is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn interneuron_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// Stores in `*count` how many instruction sets this CPU has that the library has kernels for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_isa_count(count: *mut i64) -> i32 {
    call(|| {
        pointer("count", count)?;
        // SAFETY: not NULL, aligned, and by the contract of the header writable.
        unsafe { count.write(Isa::available().count() as i64) };
        Ok(())
    })
}

/// Stores in `*name` the name of instruction set `i`, from the narrowest (0, "portable") to the widest. The text is
/// never freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_isa_name(i: i64, name: *mut *const c_char) -> i32 {
    call(|| {
        pointer("name", name)?;
        let isas = || Isa::available().map(Isa::name);
        let isa = isas().nth(index("i", i, isas().count())?);
        let at = Isa::NAMES.iter().position(|&name| Some(name) == isa).expect("each instruction set has a name");
        // SAFETY: not NULL, aligned, and by the contract of the header writable.
        unsafe { name.write(NAMES[at].as_ptr().cast()) };
        Ok(())
    })
}

/// [`Isa::NAMES`] as C has them, with at least one NUL at the end.
static NAMES: [[u8; 16]; Isa::NAMES.len()] = {
    let (mut names, mut i) = ([[0; 16]; Isa::NAMES.len()], 0);
    while i < names.len() {
        let name = Isa::NAMES[i].as_bytes();
        assert!(name.len() < 16);
        names[i].split_at_mut(name.len()).0.copy_from_slice(name);
        i += 1;
    }
    names
};
