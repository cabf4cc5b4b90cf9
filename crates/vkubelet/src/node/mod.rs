//! The node: registered, kept fresh, and honest about its site.

pub mod keeper;
pub mod lease;
pub mod object;

pub use keeper::Keeper;
pub use object::Facts;
