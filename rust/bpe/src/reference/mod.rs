//! The slow, obvious version: the specification that the fast code must equal, on every input.

mod encode;
mod train;

pub use encode::encode_word;
pub use train::train;
