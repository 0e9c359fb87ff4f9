//! Identity through its routes, behind the real gate, on SQLite.

mod access;
mod app;
mod members;
mod pages;
mod sign_in;
mod tokens;
