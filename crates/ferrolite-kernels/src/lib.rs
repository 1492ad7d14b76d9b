//! Placeholder until the kernels land.
pub mod isa { #[derive(Clone,Copy,PartialEq,Eq,PartialOrd,Ord,Debug)] pub enum Isa { Portable } impl Isa { pub fn detect()->Isa { Isa::Portable } pub fn available()->Vec<Isa>{vec![Isa::Portable]} } }
pub mod pool { #[derive(Debug)] pub struct ThreadPool; impl ThreadPool { pub fn new(_t: usize)->Self{ThreadPool} pub fn threads(&self)->usize{1} pub fn run(&self, tasks: usize, f: &(dyn Fn(usize)+Sync)) { for i in 0..tasks { f(i) } } } }
