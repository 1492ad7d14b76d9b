//! Which instruction set may be used.
//!
//! An [`Isa`] is a proof: its only constructors compare with what the CPU has, so that a kernel selected through one may be
//! called without asking again.
#![allow(unsafe_code)]

use std::sync::OnceLock;

/// An instruction set level, weakest first. A level alone proves nothing about this CPU; see [`Isa`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Plain Rust, on every target.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// [`Level::Avx2`] and AVX-512 F, BW, VL and DQ.
    Avx512,
    /// [`Level::Avx512`] and AVX512-VNNI.
    Avx512Vnni,
    /// [`Level::Avx512Vnni`] and AMX's tiles of bytes, which the operating system lets this process use.
    Amx,
}

/// An instruction set level that this CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isa(Level);

impl Isa {
    /// Plain Rust: every CPU has it.
    pub const PORTABLE: Isa = Isa(Level::Portable);

    /// The best level of this CPU, masked by the environment variable `FERROLITE_ISA`; looked up once per process.
    ///
    /// `portable`, `avx2`, `avx512` (which includes VNNI where the CPU has it) and `amx` are upper bounds; `native`, an empty
    /// value and every unknown value leave the detected level as it is. A bound above what the CPU has changes nothing.
    pub fn detect() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let mask = std::env::var("FERROLITE_ISA").ok().and_then(|v| Isa::mask_of(&v));
            let native = Isa::native();
            Isa(mask.map_or(native.0, |m| m.min(native.0)))
        })
    }

    /// The best level of this CPU, whatever the environment says.
    pub fn native() -> Isa {
        static NATIVE: OnceLock<Isa> = OnceLock::new();
        *NATIVE.get_or_init(|| Isa(cpu_level()))
    }

    /// The upper bound that a value of `FERROLITE_ISA` stands for; `None` for a value that bounds nothing.
    fn mask_of(value: &str) -> Option<Level> {
        match value.trim().to_ascii_lowercase().as_str() {
            "portable" => Some(Level::Portable),
            "avx2" => Some(Level::Avx2),
            "avx512" => Some(Level::Avx512Vnni),
            "amx" => Some(Level::Amx),
            _ => None,
        }
    }

    /// The weaker of this and `level`.
    #[must_use]
    pub fn at_most(self, level: Level) -> Isa {
        Isa(self.0.min(level))
    }

    /// The level.
    pub fn level(self) -> Level {
        self.0
    }

    /// Every level up to [`Isa::detect`], weakest first: what a test runs over.
    pub fn available() -> Vec<Isa> {
        let best = Isa::detect();
        [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Vnni, Level::Amx]
            .into_iter()
            .filter(|l| *l <= best.0)
            .map(Isa)
            .collect()
    }

    /// A short name: `portable`, `avx2`, `avx512`, `avx512vnni` or `amx`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Avx512Vnni => "avx512vnni",
            Level::Amx => "amx",
        }
    }
}

impl Default for Isa {
    fn default() -> Isa {
        Isa::detect()
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_level() -> Level {
    use std::arch::is_x86_feature_detected as has;
    if !(has!("avx2") && has!("fma") && has!("f16c")) {
        return Level::Portable;
    }
    if !(has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq")) {
        return Level::Avx2;
    }
    if !has!("avx512vnni") {
        return Level::Avx512;
    }
    if tiles_usable() { Level::Amx } else { Level::Avx512Vnni }
}

/// Whether the CPU has AMX-INT8, the system keeps the state of tiles, and this process may use it (asking for that, if it
/// must, is what makes it so for every thread).
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn tiles_usable() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    const TILES: u32 = 0b11 << 24;
    const TILE_STATE: u64 = 0b11 << 17;
    const OSXSAVE: u32 = 1 << 27;
    const SYS_ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XTILEDATA: i64 = 18;
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & TILES != TILES || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    #[target_feature(enable = "xsave")]
    fn enabled_state() -> u64 {
        // SAFETY: register 0 exists where `xgetbv` does.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: OSXSAVE says that the instruction works.
    if unsafe { enabled_state() } & TILE_STATE != TILE_STATE {
        return false;
    }
    let failed: i64;
    // SAFETY: a system call of two integers that touches no memory of ours; an old kernel refuses it.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") SYS_ARCH_PRCTL => failed,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    failed == 0
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn tiles_usable() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_level() -> Level {
    Level::Portable
}

/// One implementation of a kernel: what dispatch, tests and benches walk over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant<F: Copy> {
    /// The name by grammar, for example `gemm_f32_14x32_avx512`.
    pub(crate) name: &'static str,
    /// The level that the kernel needs.
    pub(crate) isa: Level,
    /// The kernel.
    pub(crate) run: F,
}

/// The best variant of a table (strongest first, ending with a portable one) that `isa` allows.
pub(crate) fn pick<F: Copy>(table: &'static [Variant<F>], isa: Isa) -> &'static Variant<F> {
    match table.iter().find(|v| v.isa <= isa.level()) {
        Some(v) => v,
        None => unreachable!("every table ends with a portable variant"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_is_ordered_and_starts_portable() {
        let all = Isa::available();
        assert_eq!(all[0], Isa::PORTABLE);
        assert!(all.is_sorted());
        assert_eq!(*all.last().unwrap(), Isa::detect());
    }

    #[test]
    fn mask_values() {
        assert_eq!(Isa::mask_of("avx2"), Some(Level::Avx2));
        assert_eq!(Isa::mask_of(" AVX512 "), Some(Level::Avx512Vnni));
        assert_eq!(Isa::mask_of("amx"), Some(Level::Amx));
        assert_eq!(Isa::mask_of("neon?"), None);
        assert!(Isa::native().at_most(Level::Portable) == Isa::PORTABLE);
        assert!(Isa::detect() <= Isa::native());
    }
}
