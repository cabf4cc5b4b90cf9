//! What a file is to a client: its tag, its type, its properties, its locks; and what is reported of an area. No disk, no HTTP.

pub mod covering;
pub mod facts;
pub mod kept;
pub mod lock;
pub mod media;
pub mod properties;
pub mod report;
pub mod star;
