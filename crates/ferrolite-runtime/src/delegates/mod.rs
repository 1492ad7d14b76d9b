//! The delegates that come with ferrolite.

mod cpu;
mod fused;
mod reference;

pub use cpu::Cpu;
pub use fused::Fused;
pub use reference::Reference;
