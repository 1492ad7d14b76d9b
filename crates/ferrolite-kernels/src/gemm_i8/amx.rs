//! The inner block of AMX: tiles of 16 rows of 64 bytes. Both operands are signed and lie as they are.
#![allow(unsafe_code)]

use super::UNIT;
use std::arch::asm;

/// Rows of a tile, and columns of a tile of sums.
pub(super) const SIDE: usize = 16;

/// The tiles of this thread while it lives: configured as eight of 16 rows of 64 bytes. Nothing of them stays behind.
pub(crate) struct Tiles(());

impl Tiles {
    /// # Safety
    /// The process may use AMX, which [`crate::Level::Amx`] says.
    pub(crate) unsafe fn new() -> Tiles {
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        static EIGHT: Config = {
            let mut c = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
            let mut i = 0;
            while i < 8 {
                c.row_bytes[i] = UNIT as u16;
                c.rows[i] = SIDE as u8;
                i += 1;
            }
            c
        };
        // SAFETY: the caller's promise; the configuration is valid and 64 bytes long.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const EIGHT, options(nostack, preserves_flags)) };
        Tiles(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the tiles were configured on this thread (the type is made and dropped in one function).
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) };
    }
}

/// The arguments of a block of up to 2 × 2 tiles of sums.
pub(super) struct Block {
    /// Pairs of addresses for every unit of depth: 16 rows of 64 bytes for the upper and the lower tiles.
    pub(super) rows: *const [usize; 2],
    /// Distances between these rows.
    pub(super) strides: [usize; 2],
    pub(super) units: usize,
    /// A row of sums where all rows start.
    pub(super) start: *const i32,
    pub(super) panel: *const i32,
    pub(super) tile: *mut i32,
}

/// One function for a number of tiles in height and width.
macro_rules! block {
    ($name:ident, $width:literal, [$($zero:literal)*], [$($load:literal)*], [$($dot:literal)*], [$($store:literal)*]) => {
        /// # Safety
        /// Tiles are configured; every address is good for what [`Block`] says.
        unsafe fn $name(_: &Tiles, b: &Block) {
            // SAFETY: the caller's promise. The compiler uses no tiles of its own.
            unsafe {
                asm!(
                    $($zero,)*
                    "2:",
                    "mov {x}, [{rows}]",
                    "mov {y}, [{rows} + 8]",
                    $($load,)*
                    $($dot,)*
                    "add {rows}, 16",
                    "add {panel}, {step}",
                    "dec {units}",
                    "jnz 2b",
                    $($store,)*
                    rows = inout(reg) b.rows => _,
                    panel = inout(reg) b.panel => _,
                    units = inout(reg) b.units => _,
                    x = out(reg) _,
                    y = out(reg) _,
                    s0 = in(reg) b.strides[0],
                    s1 = in(reg) b.strides[1],
                    start = in(reg) b.start,
                    none = in(reg) 0usize,
                    width = in(reg) $width * 64usize,
                    step = const $width * 64 * SIDE,
                    tile = in(reg) b.tile,
                    options(nostack)
                );
            }
        }
    };
}

block!(block_1x1, 1,
    ["tileloadd tmm0, [{start} + {none}]"],
    ["tileloadd tmm4, [{x} + {s0}]" "tileloadd tmm6, [{panel} + {width}]"],
    ["tdpbssd tmm0, tmm4, tmm6"],
    ["tilestored [{tile} + {width}], tmm0" "/* {y} {s1} */"]);
block!(block_1x2, 2,
    ["tileloadd tmm0, [{start} + {none}]" "tileloadd tmm1, [{start} + {none} + 64]"],
    ["tileloadd tmm4, [{x} + {s0}]" "tileloadd tmm6, [{panel} + {width}]" "tileloadd tmm7, [{panel} + {width} + 64]"],
    ["tdpbssd tmm0, tmm4, tmm6" "tdpbssd tmm1, tmm4, tmm7"],
    ["tilestored [{tile} + {width}], tmm0" "tilestored [{tile} + {width} + 64], tmm1" "/* {y} {s1} */"]);
block!(block_2x1, 1,
    ["tileloadd tmm0, [{start} + {none}]" "tileloadd tmm2, [{start} + {none}]"],
    ["tileloadd tmm4, [{x} + {s0}]" "tileloadd tmm5, [{y} + {s1}]" "tileloadd tmm6, [{panel} + {width}]"],
    ["tdpbssd tmm0, tmm4, tmm6" "tdpbssd tmm2, tmm5, tmm6"],
    ["tilestored [{tile} + {width}], tmm0" "tilestored [{tile} + {width} + 1024], tmm2"]);
block!(block_2x2, 2,
    ["tileloadd tmm0, [{start} + {none}]" "tileloadd tmm1, [{start} + {none} + 64]"
     "tileloadd tmm2, [{start} + {none}]" "tileloadd tmm3, [{start} + {none} + 64]"],
    ["tileloadd tmm4, [{x} + {s0}]" "tileloadd tmm6, [{panel} + {width}]"
     "tileloadd tmm7, [{panel} + {width} + 64]" "tileloadd tmm5, [{y} + {s1}]"],
    ["tdpbssd tmm0, tmm4, tmm6" "tdpbssd tmm1, tmm4, tmm7" "tdpbssd tmm2, tmm5, tmm6" "tdpbssd tmm3, tmm5, tmm7"],
    ["tilestored [{tile} + {width}], tmm0" "tilestored [{tile} + {width} + 64], tmm1"
     "tilestored [{tile} + {width} + 2048], tmm2" "tilestored [{tile} + {width} + 2112], tmm3"]);

/// Sums of products of `height` (1 or 2) tiles of rows with a panel of `width` (1 or 2) vectors.
///
/// # Safety
/// Every address is good for what [`Block`] says; the tile holds `height · 16` rows of `width · 16` sums; `units > 0`.
pub(super) unsafe fn dots(tiles: &Tiles, height: usize, width: usize, b: &Block) {
    // SAFETY: the caller's promise.
    unsafe {
        match (height, width) {
            (1, 1) => block_1x1(tiles, b),
            (1, _) => block_1x2(tiles, b),
            (_, 1) => block_2x1(tiles, b),
            _ => block_2x2(tiles, b),
        }
    }
}
