//! The CI server over HTTP: what people and runners see.

mod harness;
mod outside;
mod pages;
mod protocol;
mod service;
