//! Choices that bytes stand for. Zeros, which is what an input has at its end, choose what is valid; most other bytes
//! do, too.

use arbitrary::Arbitrary;

/// Where an array or a number is.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub struct Place(u8, u8);

/// A [`Place`], read.
pub enum Where {
    /// In memory of its own.
    Own,
    /// Nowhere: NULL.
    Null,
    /// At an address between two elements.
    Misaligned,
    /// In memory that many arrays share, so many elements from its beginning.
    Shared(usize),
    /// In one of the arrays that layers are attached to.
    Attached(usize),
    /// In another argument of the same call.
    Within(usize),
}

impl Place {
    /// In memory of its own, or not wanted.
    pub fn own(wanted: bool) -> Self {
        Self(0, if wanted { 0 } else { 3 })
    }

    pub fn is_null(self) -> bool {
        matches!(self.get(), Where::Null)
    }

    pub fn is_shared(self) -> bool {
        matches!(self.get(), Where::Shared(_))
    }

    /// Of something that must be there.
    pub fn get(self) -> Where {
        let Self(kind, detail) = self;
        match kind {
            0..=211 => Where::Own,
            212..=223 => Where::Shared(2 * usize::from(detail)),
            224..=231 => Where::Null,
            232..=239 => Where::Misaligned,
            240..=247 => Where::Attached(detail.into()),
            248..=255 => Where::Within(detail.into()),
        }
    }

    /// The same, but in memory of its own unless NULL or misaligned.
    pub fn alone(self) -> Self {
        if matches!(self.get(), Where::Null | Where::Misaligned) { self } else { Self::default() }
    }

    /// The same, but in no memory that others read: for handles, which differ from run to run.
    pub fn apart(self) -> Self {
        if self.is_shared() || matches!(self.get(), Where::Attached(_)) { Self::default() } else { self }
    }

    /// Of an output that need not be wanted.
    pub fn get_wanted(self) -> Where {
        if self.1 % 4 == 3 { Where::Null } else { self.get() }
    }
}

/// What the numbers in an array are.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub struct Fill(u8, u8);

impl Fill {
    /// Element `i`.
    pub fn get(self, i: usize) -> f32 {
        let Self(kind, seed) = self;
        let base = ((7 * i + 13 * usize::from(seed)) % 32) as f32 / 32.0;
        match kind {
            0..=159 => base,
            160..=191 => base - 0.5,
            192..=199 => base * 1e30,
            200..=207 => base * 1e-40,
            208..=215 => 0.0,
            _ if !i.is_multiple_of(usize::from(seed) + 1) => base,
            _ => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MAX, f32::MIN, 1e-45, -1.0]
                [usize::from(kind % 8)],
        }
    }

    /// The label of example `i`.
    pub fn label(self, i: usize, classes: usize) -> u32 {
        let Self(kind, seed) = self;
        match kind {
            240.. if i == usize::from(seed % 4) => [classes as u32, u32::MAX][usize::from(kind % 2)],
            _ => ((i + usize::from(seed)) % classes) as u32,
        }
    }
}

/// The value that one of the last bytes stands for.
fn rare<const N: usize>(values: &[i64; N], byte: u8) -> i64 {
    values[usize::from(255 - byte) % N]
}

/// A number of inputs or units.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Dim(u8);

impl Dim {
    /// Mostly up to `most`.
    pub fn get(self, most: u8) -> i64 {
        match self.0 {
            byte @ 0..=215 => (byte % most + 1).into(),
            byte @ 216..=247 => rare(&[31, 32, 33, 64, 65, 100, 129, 300], byte),
            byte @ 248..=251 => rare(&[0, -1, i64::MIN, -20], byte),
            // Too large for any memory, so nothing is ever allocated; the larger ones overflow.
            byte @ 252..=255 => rare(&[1 << 45, 1 << 58, 1 << 60, i64::MAX], byte),
        }
    }
}

/// A number of examples.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Batch(u8);

impl Batch {
    /// Mostly that of the forward pass before.
    pub fn get(self, kept: Option<i64>) -> i64 {
        match self.0 {
            0..=127 => kept.unwrap_or(3),
            byte @ 128..=235 => (byte % 40 + 1).into(),
            byte @ 236..=243 => rare(&[100, 191, 192, 193, 256, 300], byte),
            // So many examples that their arrays cannot be: refused before a pointer is looked at.
            byte @ 244..=255 => rare(&[0, -1, i64::MIN, i64::MAX, 1 << 61, (1 << 61) + 1, 1 << 62, -40], byte),
        }
    }
}

/// The index of an array, a layer or an instruction set.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Index(u8);

impl Index {
    pub fn get(self) -> i64 {
        match self.0 {
            byte @ 0..=199 => (byte % 3).into(),
            byte @ 200..=247 => (byte % 8).into(),
            byte @ 248..=255 => rare(&[-1, i64::MIN, i64::MAX, 1 << 32], byte),
        }
    }
}

/// A number that should be 0 or 1.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub struct Flag(u8);

impl Flag {
    pub fn get(self) -> i64 {
        match self.0 {
            byte @ 0..=247 => (byte % 2).into(),
            byte @ 248..=255 => rare(&[2, -1, i64::MIN, i64::MAX, 1 << 32], byte),
        }
    }
}

/// A number of threads.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Threads(u8);

impl Threads {
    /// In the second run of a program another valid number.
    pub fn get(self, second: bool) -> i64 {
        let threads = match self.0 {
            0..=99 => 0,
            byte @ 100..=247 => (byte % 4).into(),
            byte @ 248..=255 => rare(&[-1, 1025, i64::MIN, i64::MAX], byte),
        };
        match threads {
            0..=3 if second => [3, 2, 1, 0][threads as usize],
            _ => threads,
        }
    }
}

/// The number of layers.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Layers(u8);

impl Layers {
    pub fn get(self) -> i64 {
        match self.0 {
            byte @ 0..=239 => (byte % 4 + 1).into(),
            byte @ 240..=247 => (byte % 32 + 1).into(),
            byte @ 248..=255 => rare(&[0, -1, 1025, i64::MIN, i64::MAX], byte),
        }
    }
}

/// A learning rate, or a factor on one.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub struct Rate(u8);

impl Rate {
    pub fn get(self) -> f64 {
        match self.0 {
            byte @ 0..=223 => [0.1, 1e-3, 0.0, 1.0][usize::from(byte % 4)],
            byte @ 224..=239 => [-0.0, 1e30, 5e-324, 3e38][usize::from(byte % 4)],
            byte => [f64::NAN, -1.0, f64::INFINITY, 1e39, f64::MAX, f64::NEG_INFINITY][usize::from(byte % 6)],
        }
    }
}

/// How far apart the rows of a matrix are.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub struct Stride(u8);

impl Stride {
    /// Mostly packed, or a little more than the width.
    pub fn get(self, width: usize) -> i64 {
        let width = width as i64;
        match self.0 {
            0..=159 => 0,
            byte @ 160..=231 => width.saturating_add((byte % 5).into()),
            byte @ 232..=255 => rare(&[width - 1, -1, 1, i64::MIN, i64::MAX, 1 << 59, 1 << 60, -width], byte),
        }
    }
}

/// One of several things, by its number.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub struct Choice(u8);

impl Choice {
    /// Mostly from 0 to less than `count`, and often 0.
    pub fn get(self, count: u8) -> i64 {
        match self.0 {
            0..=99 => 0,
            byte @ 100..=247 => (byte % count).into(),
            byte @ 248..=255 => rare(&[count.into(), -1, i64::MIN, i64::MAX], byte),
        }
    }
}

/// The name of what steps keep.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct StateName(u8);

impl StateName {
    /// All that there are.
    pub const KNOWN: [&'static [u8]; 11] = [
        b"velocity",
        b"moment",
        b"square",
        b"largest_square",
        b"steps",
        b"velocity_steps",
        b"decay_velocity",
        b"fisher",
        b"negative",
        b"sum",
        b"row_sums",
    ];

    /// None for NULL.
    pub fn get(self) -> Option<&'static [u8]> {
        match self.0 {
            0..=127 => Some(Self::KNOWN[0]),
            byte @ 128..=239 => Some(Self::KNOWN[usize::from(byte) % Self::KNOWN.len()]),
            byte @ 240..=251 => Some([&b""[..], b"Velocity", b"velocity ", b"\xff\n"][usize::from(byte % 4)]),
            _ => None,
        }
    }
}

/// Where a file is.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct FileName(u8);

/// A [`FileName`], read.
pub enum File {
    /// One of a few.
    Number(usize),
    /// Where there can be none.
    Impossible(&'static str),
    /// NULL.
    Null,
}

impl FileName {
    /// How many files there may be.
    pub const MOST: usize = 2;

    pub fn get(self) -> File {
        match self.0 {
            byte @ 0..=219 => File::Number(usize::from(byte) % Self::MOST),
            byte @ 220..=247 => File::Impossible(["none/file", "", ".", "a\nb/c"][usize::from(byte % 4)]),
            248..=255 => File::Null,
        }
    }
}

/// The name of an instruction set.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Isa(u8);

impl Isa {
    /// None for NULL.
    pub fn get(self) -> Option<&'static [u8]> {
        const NAMES: [&[u8]; 9] =
            [b"portable", b"avx2", b"avx512", b"mmx", b"", b"Portable", b"\xff\xfe", b"portable\nor not", &[b'x'; 400]];
        match self.0 {
            0..=127 => None,
            128..=199 => Some(NAMES[0]),
            byte => Some(NAMES[usize::from(byte % 9)]),
        }
    }
}

/// Where a struct is, and which size it says it has.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Struct(pub Place, u8);

impl Struct {
    /// `known` are the sizes of the versions that there are, the last one of which is the whole.
    pub fn size(self, known: &[usize]) -> u64 {
        let whole = known[known.len() - 1] as u64;
        match self.1 {
            0..=127 => whole,
            byte @ 128..=239 => known[usize::from(byte) % known.len()] as u64,
            byte => [0, 1, 7, 8, whole - 1, whole + 1, whole + 8, 4096, 1 << 40, u64::MAX][usize::from(byte % 10)],
        }
    }
}

/// Which handle is handed in.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Handle(u8, u8);

/// A [`Handle`], read.
pub enum Which {
    /// One of those of the right kind that are not freed.
    Live(usize),
    /// One of all that were ever handed out, of any kind.
    Ever(usize),
    /// Another number.
    Number(u64),
}

impl Handle {
    pub fn get(self) -> Which {
        let Self(kind, detail) = self;
        match kind {
            0..=239 => Which::Live(detail.into()),
            240..=250 => Which::Ever(detail.into()),
            251..=255 => {
                Which::Number([0, 1, u64::MAX, u64::from(detail), u64::from(detail) << 40][usize::from(kind % 5)])
            }
        }
    }
}
