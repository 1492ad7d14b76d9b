//! Integration tests of the runtime.

mod cross_check;
mod hostile;
mod inputs;
mod ops_doc;
mod opsuite;
mod planning;
mod recurrent;
mod zoo;
