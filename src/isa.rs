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
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The names that can be asked for, from the narrowest to the widest.
    pub const NAMES: [&str; 3] = ["portable", "avx2", "avx512"];

    /// The environment variable that forces an instruction set by name.
    pub const ENV: &str = "INTERNEURON_ISA";

    /// The instruction sets of this CPU, from the narrowest to the widest. The first is always `portable`.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().filter_map(|name| name.parse().ok())
    }

    /// The widest instruction set of this CPU.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self(Kind::Portable))
    }

    /// The instruction set named by the environment variable `INTERNEURON_ISA`, or the widest if it is not set.
    ///
    /// # Errors
    /// [`Error::UnknownIsa`] or [`Error::UnsupportedIsa`] if the variable holds another name than those of
    /// [`Isa::NAMES`], or one that this CPU lacks.
    pub fn select() -> Result<Self, Error> {
        match std::env::var_os(Self::ENV) {
            Some(name) => name.to_string_lossy().parse(),
            None => Ok(Self::best()),
        }
    }

    /// The name, as [`FromStr`] reads it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        }
    }

    pub(crate) fn kind(self) -> Kind {
        self.0
    }
}

impl FromStr for Isa {
    type Err = Error;

    /// The instruction set of this name, if this CPU has it.
    fn from_str(name: &str) -> Result<Self, Error> {
        let (kind, detected) = match name {
            "portable" => (Some(Kind::Portable), true),
            #[cfg(target_arch = "x86_64")]
            "avx2" => (Some(Kind::Avx2), crate::simd::Avx2::detect()),
            #[cfg(target_arch = "x86_64")]
            "avx512" => (Some(Kind::Avx512), crate::simd::Avx512::detect()),
            _ => (None, false),
        };
        match kind {
            Some(kind) if detected => Ok(Self(kind)),
            None if !Self::NAMES.contains(&name) => Err(Error::UnknownIsa { name: name.to_owned() }),
            _ => Err(Error::UnsupportedIsa { name: name.to_owned() }),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
