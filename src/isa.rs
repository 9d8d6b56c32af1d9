//! Instruction sets: the one place that asks the CPU.

use crate::error::Error;
use std::fmt;
use std::str::FromStr;

/// An instruction set that this CPU has, for which the kernels were compiled.
///
/// A value exists only if the CPU has the instruction set, so whatever holds one may run its kernels.
///
/// ```
/// use interneuron::Isa;
///
/// for isa in Isa::available() {
///     println!("{isa}");
/// }
/// let portable: Isa = "portable".parse()?;
/// assert!("mmx".parse::<Isa>().is_err());
/// # Ok::<(), interneuron::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Portable,
    #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
    Avx2,
    #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
    Avx512,
}

impl Isa {
    /// The names that can be asked for, from the narrowest to the widest.
    pub const NAMES: [&str; 3] = ["portable", "avx2", "avx512"];

    /// The environment variable that forces an instruction set by name.
    pub const ENV: &str = "INTERNEURON_ISA";

    /// The instruction sets of this CPU, from the narrowest to the widest. The first is always `portable`.
    pub fn available() -> impl Iterator<Item = Self> {
        Kind::ALL.iter().filter(|kind| kind.detected()).map(|&kind| Self(kind))
    }

    /// The widest instruction set of this CPU.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self(Kind::Portable))
    }

    /// The instruction set named by the environment variable `INTERNEURON_ISA`, or the widest if it is not set, or empty.
    ///
    /// # Errors
    /// [`Error::UnknownIsa`] or [`Error::UnsupportedIsa`] if the variable holds another name than those of
    /// [`Isa::NAMES`], or one that this CPU lacks.
    pub fn select() -> Result<Self, Error> {
        match std::env::var_os(Self::ENV).filter(|name| !name.is_empty()) {
            Some(name) => name.to_string_lossy().parse(),
            None => Ok(Self::best()),
        }
    }

    /// The name, as [`FromStr`] reads it.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    pub(crate) fn kind(self) -> Kind {
        self.0
    }
}

impl Kind {
    const ALL: &[Self] = &[
        Self::Portable,
        #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
        Self::Avx2,
        #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
        Self::Avx512,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
            Self::Avx2 => "avx2",
            #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
            Self::Avx512 => "avx512",
        }
    }

    fn detected(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
            Self::Avx2 => crate::simd::Avx2::detect(),
            #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
            Self::Avx512 => crate::simd::Avx512::detect(),
        }
    }
}

impl FromStr for Isa {
    type Err = Error;

    /// The instruction set of this name, if this CPU has it.
    fn from_str(name: &str) -> Result<Self, Error> {
        if !Self::NAMES.contains(&name) {
            return Err(Error::UnknownIsa { name: name.to_owned(), names: Self::NAMES.to_vec() });
        }
        let available = || Self::available().map(Self::name).collect();
        Self::available()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| Error::UnsupportedIsa { name: name.to_owned(), available: available() })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
