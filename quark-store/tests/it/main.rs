//! Tests of the durable stores, against real files.

mod durability;
mod file;
mod fixture;
mod grouping;
mod jobs;
mod records;
mod sharing;
