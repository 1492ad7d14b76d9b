//! The delegates that come with ferrolite.

mod cpu;
mod reference;

pub use cpu::Cpu;
pub use reference::Reference;
