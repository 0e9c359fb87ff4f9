//! How long a full replan takes: 5,000 products of 100 releases, 25,000 dependencies with a range in each release.

#![allow(clippy::print_stdout, reason = "a measuring program prints what it measured")]

use bascule_planner::{
    plan,
    sample::{Shape, sample},
};
use std::time::Instant;

fn main() {
    let shape = Shape {
        products: 5_000,
        versions: 100,
        dependencies: 25_000,
        monotone: true,
    };
    let began = Instant::now();
    let (catalogue, environment) = sample(1, shape);
    println!("catalogue made in {:?}", began.elapsed());
    let mut times: Vec<_> = (0..11)
        .map(|_| {
            let began = Instant::now();
            let plan = plan(&catalogue, &environment);
            let took = began.elapsed();
            assert_eq!(plan.installs.len(), shape.products);
            took
        })
        .collect();
    times.sort();
    println!("full replan: median {:?}, longest {:?}", times[5], times[10]);
}
