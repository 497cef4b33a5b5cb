//! How long a whole apply of the germline stack takes in this process, tasks apart: the real tool and SDK clients against
//! the sandbox, in the paused clock. Thousands of such lives are what the tests are made of.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails aloud and prints its figures")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use seqstack::command::Exit;

#[path = "../tests/lab/mod.rs"]
mod lab;

const GERMLINE: &str = include_str!("../stacks/germline.toml");

/// The germline stack up to its pipeline.
fn infrastructure() -> String {
    let (before, _) = GERMLINE.split_once("\n[pipeline]\n").unwrap();
    before.replace("lifetime        = \"run\"", "lifetime        = \"always\"")
}

fn apply(criterion: &mut Criterion) {
    let stack = infrastructure();
    let paused = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let runtime = paused();
    let lab = runtime.block_on(async { lab::Lab::of(&stack) });
    assert_eq!(runtime.block_on(lab.apply(&stack)), Exit::Done);
    let calls: usize = lab.sandbox.counts().values().sum();
    println!("an apply of the germline stack without its pipeline: {calls} calls, {} of them mutating", {
        lab.mutations().values().sum::<usize>()
    });
    criterion.benchmark_group("sandbox").sample_size(20).bench_function("apply of germline, no tasks", |bencher| {
        bencher.iter_batched(
            || {
                let runtime = paused();
                let lab = runtime.block_on(async { lab::Lab::of(&stack) });
                (runtime, lab)
            },
            |(runtime, lab)| {
                assert_eq!(runtime.block_on(lab.apply(&stack)), Exit::Done);
                (runtime, lab)
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, apply);
criterion_main!(benches);
