//! The core alone: diff and plan of 2,000 resources, of which every tenth differs.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use seqstack::desired::{Desired, lower};
use seqstack::diff::{Scope, diff};
use seqstack::facts::Facts;
use seqstack::kind::{Context, Found, Owner};
use seqstack::live::Live;
use seqstack::plan::{Phase, Why, plan};
use seqstack::stack::{Request, Stack};

fn desired(retention: impl Fn(usize) -> u32) -> Desired {
    let mut text = String::from("[stack]\nname = \"bench\"\nregion = \"eu-west-2\"\n");
    for n in 0..500 {
        let _infallible = write!(
            text,
            "[role.r{n}]\ntrusts = \"ecs-tasks.amazonaws.com\"\nattach = [\"service-role/A\"]\n\
             [log_group.l{n}]\nretention_days = {}\n[cluster.c{n}]\n\
             [task_definition.t{n}]\nimage = \"i:1\"\ncpu = 256\nmemory = 256\nexecution_role = \"r{n}\"\nlog_group = \"l{n}\"\n",
            retention(n)
        );
    }
    let request = Request { sample: None, set: &[], needs_sample: false };
    let mut stack = Stack::parse(Path::new("bench.toml"), &text, &request).expect("a sound stack");
    stack.info.region = "eu-west-2".into();
    let facts = Facts {
        account: "123456789012".into(),
        partition: "aws".into(),
        region: "eu-west-2".into(),
        ..Facts::default()
    };
    lower(&stack, &Context { stack: &stack.info, facts: &facts, sample: None }, |_| true).expect("possible")
}

fn core(criterion: &mut Criterion) {
    let there = desired(|_| 30);
    let wanted = desired(|n| if n % 10 == 0 { 90 } else { 30 });
    assert_eq!(wanted.0.len(), 2000);
    let found = |(at, state): (&_, &_)| {
        let at: &seqstack::address::Address = at;
        (
            at.clone(),
            vec![Found {
                at: at.clone(),
                ids: Default::default(),
                owner: Owner::Ours,
                state: serde_json::Value::clone(state),
            }],
        )
    };
    let live = Live { found: there.0.iter().map(found).collect(), ..Live::default() };
    criterion.bench_function("diff and plan 2000 resources", |bencher| {
        bencher.iter(|| {
            let differences = diff(black_box(&wanted), black_box(&live), &Scope::default()).expect("no cycle");
            let plan = plan(Phase::Converge, differences, &|_| Why::NotInStack);
            assert_eq!(plan.steps.len(), 50);
            plan
        });
    });
}

criterion_group!(benches, core);
criterion_main!(benches);
