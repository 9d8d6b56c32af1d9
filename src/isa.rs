//! Instruction sets: the one place that asks the CPU.

use crate::error::Error;
use crate::kernels::Tiled;
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

/// A trait of all instruction sets, whose token the type is.
pub(crate) trait InstructionSet: Tiled<f32> + Tiled<f64> {}
impl<S: Tiled<f32> + Tiled<f64>> InstructionSet for S {}

/// Work on any instruction set: see [`Isa::dispatch`].
pub(crate) trait ForIsa {
    /// What the work returns.
    type Output;
    /// Does the work for `S`. Making its token is unsafe: only that of an [`Isa`] is one of this CPU.
    fn call<S: InstructionSet>(self) -> Self::Output;
}

/// Makes all that depends on which instruction sets there are, from a line for each: the token in [`crate::simd`], the
/// name, and the architecture if it needs one.
macro_rules! instruction_sets {
    ($($set:ident: $name:literal $(on $arch:literal)?;)*) => {
        /// An instruction set, whether or not this target has it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        enum Kind {
            $($set),*
        }

        impl Isa {
            /// The names that can be asked for, from the narrowest to the widest.
            pub const NAMES: &[&str] = &[$($name),*];
        }

        impl Kind {
            const ALL: &[Self] = &[$(Self::$set),*];

            /// Does the work, or nothing on a target that cannot have the instruction set.
            fn dispatch<W: ForIsa>(self, work: W) -> Option<W::Output> {
                match self {
                    $(
                        #[cfg(all($(target_arch = $arch, not(interneuron_portable))?))]
                        Self::$set => Some(work.call::<crate::simd::$set>()),
                    )*
                    // None is left on a target that can have them all.
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }
        }
    };
}

// From the narrowest to the widest.
instruction_sets! {
    Portable: "portable";
    Avx2: "avx2" on "x86_64";
    Avx512: "avx512" on "x86_64";
}

impl Isa {
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

    /// The instruction set named by the environment variable `INTERNEURON_ISA`, or the widest if it is unset or empty.
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
        Self::NAMES[self.0 as usize]
    }

    /// Does the work with this instruction set.
    pub(crate) fn dispatch<W: ForIsa>(self, work: W) -> W::Output {
        self.0.dispatch(work).expect("an instruction set of the CPU is one of the target")
    }
}

impl Kind {
    fn detected(self) -> bool {
        struct Detect;
        impl ForIsa for Detect {
            type Output = bool;

            fn call<S: InstructionSet>(self) -> bool {
                S::detected()
            }
        }
        self.dispatch(Detect).unwrap_or(false)
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
