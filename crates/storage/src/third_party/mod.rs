//! The active party of a third-party copy: fetches a file from another server, or brings one there, on somebody's behalf.
//!
//! A [`Party`] is the file at the other, passive server: its URL, and the headers that whoever orders the copy wants it to be
//! shown (their credential for that server, most of all). Those headers go to the origin of that URL and to no other, also
//! when it redirects, and never into a log or a message.
//!
//! [`copy_between`] has one of two other servers make a copy, as the client of both. Fetching is [`copy_verified`](crate::copy_verified) from a party, whose reader goes on where it broke off as long as the
//! file is the same (a strong entity tag says so); bringing is [`push`], which takes away what it may have left at the
//! other side.

mod address;
mod between;
mod party;
mod push;
mod read;
mod rest;
mod write;

pub use between::{Active, Undone, copy_between, offers_copies};
pub use party::{BadParty, Looked, Party};
pub use push::push;
