//! Integration tests of the runtime.

mod bands;
mod control_flow;
mod cross_check;
mod fused;
mod hostile;
mod inputs;
mod mutations;
mod ops_doc;
mod opsuite;
mod planning;
mod recurrent;
mod zoo;
