//! A plan of the germline stack that finds nothing to do, with 50 ms on the way of each call: against the sandbox in this
//! process, through the real SDK clients, in real time.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails aloud and prints its figures")]

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use seqstack::command::Exit;
use seqstack::command::prepare;
use seqstack::sandbox::Wire;
use seqstack::sandbox::engine::fake::Outcome;

#[path = "../tests/lab/mod.rs"]
mod lab;

const GERMLINE: &str = include_str!("../stacks/germline.toml");
const SAMPLE: &str = "OMGL_2005265_U035";

fn noop_plan(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lab = runtime.block_on(async {
        let mut lab = lab::Lab::with(|_| Outcome::default());
        for bucket in ["lab-fastq-in", "lab-results-out"] {
            lab.sandbox.create_bucket(bucket);
        }
        let reads = ["R1", "R2"].map(|read| format!("{SAMPLE}_S35_L001_{read}_001.fastq.gz"));
        for key in reads.iter().map(String::as_str).chain(["hs37d5.fa", "hs37d5.fa.fai", "hs37d5.dict", "FH.bed"]) {
            lab.sandbox.put_object("lab-fastq-in", key, "x".into()).unwrap();
        }
        let session = lab.session(GERMLINE, None, true);
        for output in &session.stack.pipeline.as_ref().unwrap().outputs {
            for key in &output.keys {
                lab.sandbox.put_object("lab-results-out", &key.replace('*', "x"), "x".into()).unwrap();
            }
        }
        assert_eq!(lab.apply(GERMLINE).await, Exit::Done);
        lab.wire = Wire { latency: Duration::from_millis(50), ..Wire::default() };
        lab
    });
    let plan = async || {
        let session = lab.session(GERMLINE, None, true);
        let prepared =
            prepare::converge(&session, &lab::wish(), "plan").await.unwrap_or_else(|problem| panic!("{problem}"));
        assert!(prepared.plan.is_empty());
        session
    };
    let session = runtime.block_on(plan());
    let calls: usize = session.aws.trace.calls().values().sum();
    println!(
        "a plan that finds nothing to do: {calls} calls, {} dependent round trips deep",
        session.aws.trace.depth()
    );
    let mut group = criterion.benchmark_group("germline");
    group.sample_size(20);
    group.bench_function("no-op plan, 50 ms a call", |bencher| bencher.iter(|| runtime.block_on(plan())));
}

criterion_group!(benches, noop_plan);
criterion_main!(benches);
