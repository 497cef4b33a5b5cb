//! What is shown beside the plan: what is there (`output`), what comes before what (`graph`), what it costs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seqstack::address::Address;
use seqstack::command::session::Session;
use seqstack::command::{Exit, cost, output, saved, status};
use seqstack::graph::{Graph, of_plan, of_stack};
use seqstack::report::graph::{Format as Language, render};
use seqstack::report::output::{Format, NoValue, Outputs};
use seqstack::sandbox::Wire;
use seqstack::sandbox::connector::{Fate, Passing, mutates};
use seqstack::saved::Request;
use seqstack::stack::Stack;

mod lab;
use lab::{Lab, STACK, edited, fails, fine, wish};

/// A session whose stack file is there to be read again, a sample at a time.
fn at_home(lab: &Lab, text: &str) -> Session {
    let mut session = lab.session(text, None, false);
    session.stack.file = lab.folder.path().join("lab.toml");
    std::fs::write(&session.stack.file, text).unwrap();
    session
}

async fn outputs(lab: &Lab, text: &str) -> Outputs {
    let session = at_home(lab, text);
    let outputs = output::read(&session, &[]).await.unwrap_or_else(|problem| panic!("{problem}"));
    assert!(session.aws.trace.calls().keys().all(|name| !mutates(name)), "{:?}", session.aws.trace.calls());
    outputs
}

#[tokio::test(start_paused = true)]
async fn output_tells_what_is_there_and_what_is_not() {
    let lab = Lab::new();
    let cold = outputs(&lab, STACK).await;
    assert!(!lab.state().exists(), "it takes no lock");
    assert_eq!(cold.by_kind.keys().collect::<Vec<_>>(), ["bucket"]);
    for at in ["role.input", "key_pair.key", "key_pair.key.private_key", "instance.worker", "results.S1"] {
        assert!(cold.absent.iter().any(|absent| absent == at), "{at}: {:?}", cold.absent);
    }
    assert_eq!(cold.value("role.input.arn"), Err(NoValue::Absent));
    assert_eq!(cold.value("results.S1"), Err(NoValue::Absent));
    assert_eq!(cold.value("role.inputs"), Err(NoValue::Unknown));
    assert_eq!(cold.value("bucket.reads").unwrap(), "s3://lab-reads");

    assert_eq!(lab.apply(STACK).await, Exit::Done);
    let warm = outputs(&lab, STACK).await;
    assert_eq!(warm.absent, ["instance.worker"], "its lifetime is its run's");
    let value = |key: &str| warm.value(key).unwrap();
    let account = value("account");
    assert_eq!(value("role.input"), format!("arn:aws:iam::{account}:role/seqstack/eu-west-2/lab/lab-input"));
    assert_eq!(value("role.instance.profile"), "lab-instance");
    assert!(value("security_group.ecs").starts_with("sg-"));
    assert_eq!(value("key_pair.key.name"), "lab-key");
    assert_eq!(value("key_pair.key.private_key"), lab.state().join("lab/keys/key").display().to_string());
    assert_eq!(value("cluster.main.name"), "lab-main");
    assert_eq!(value("log_group.pipeline.name"), "/seqstack/lab/pipeline");
    assert!(value("task_definition.tool").ends_with(":task-definition/lab--tool:1"));
    assert_eq!(value("results.S1"), "s3://lab-results/S1/S1.vcf");

    // Each form says the same.
    let json: serde_json::Value = serde_json::from_str(&warm.render(Format::Json).unwrap()).unwrap();
    assert_eq!(json["role"]["input"]["arn"], value("role.input.arn"));
    let toml: serde_json::Value = toml::from_str(&warm.render(Format::Toml).unwrap()).unwrap();
    assert_eq!(toml, json);
    let yaml = warm.render(Format::Yaml).unwrap();
    assert!(yaml.lines().any(|line| line.trim() == format!("arn: {}", value("role.input"))), "{yaml}");
    let text = warm.render(Format::Text).unwrap();
    assert!(
        text.lines().any(|line| line.starts_with("role.input.arn ") && line.ends_with(&value("role.input"))),
        "{text}"
    );
    assert!(text.lines().any(|line| line.starts_with("instance.worker ") && line.ends_with("(absent)")), "{text}");
}

#[test]
fn yaml_keeps_text_that_looks_like_something_else() {
    let mut outputs = Outputs {
        stack: "no".to_owned(),
        account: "012345678901".to_owned(),
        region: "eu-west-2".to_owned(),
        absent: vec!["instance.worker".to_owned()],
        ..Outputs::default()
    };
    outputs.put("instance", "w[S1]", "id", "i-1");
    outputs.put("results", "1e3", "objects", vec!["s3://b/a: #b".to_owned()]);
    insta::assert_snapshot!(outputs.render(Format::Yaml).unwrap(), @r##"
    stack: "no"
    account: "012345678901"
    region: eu-west-2
    absent:
    - instance.worker
    instance:
      "w[S1]":
        id: i-1
    results:
      "1e3":
        objects:
        - "s3://b/a: #b"
    "##);
    insta::assert_snapshot!(outputs.render(Format::Toml).unwrap(), @r##"
    stack = "no"
    account = "012345678901"
    region = "eu-west-2"
    absent = ["instance.worker"]

    [instance."w[S1]"]
    id = "i-1"

    [results.1e3]
    objects = ["s3://b/a: #b"]
    "##);
}

#[tokio::test(start_paused = true)]
async fn a_kept_instance_is_told_by_its_sample_and_a_key_that_is_gone_is_absent() {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(3) } else { fine() });
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    std::fs::remove_file(lab.state().join("lab/keys/key")).unwrap();
    let told = outputs(&lab, STACK).await;
    assert!(told.value("instance.worker[S1]").unwrap().starts_with("i-"));
    assert_eq!(told.absent, ["key_pair.key.private_key", "results.S1"]);
    assert_eq!(told.value("key_pair.key.private_key"), Err(NoValue::Absent));
    assert!(told.render(Format::Toml).unwrap().contains("\"worker[S1]\""));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_no_output() {
    let mut lab = Lab::new();
    lab.apply(STACK).await;
    for operation in ["logs:DescribeLogGroups", "ec2:DescribeInstances", "s3:ListObjectsV2"] {
        let fates = move |passing: &Passing| if passing.name == operation { Fate::Denied } else { Fate::Pass };
        lab.wire = Wire { fates: Some(Arc::new(fates)), ..lab.wire.clone() };
        let problem = output::read(&at_home(&lab, STACK), &[]).await.err().unwrap();
        assert!(problem.text.starts_with("not all of it is known") && problem.text.contains(operation), "{problem}");
    }
}

/// That whatever an arrow names is there, and that nothing comes before itself.
fn sound(graph: &Graph) {
    let mut open: BTreeSet<&String> = graph.nodes.keys().collect();
    for (first, then) in &graph.edges {
        assert!(open.contains(first) && open.contains(then), "{first} -> {then}");
    }
    while !open.is_empty() {
        let last: Vec<&String> = open
            .iter()
            .copied()
            .filter(|name| !graph.edges.iter().any(|(first, then)| first == *name && open.contains(then)))
            .collect();
        assert!(!last.is_empty(), "a circle: {open:?}");
        last.into_iter().for_each(|name| assert!(open.remove(name)));
    }
}

/// That each line of a drawing is of the language, each node declared once, and each arrow between declared ones.
fn well_formed(graph: &Graph) {
    let dot = render(graph, Language::Dot);
    assert!(dot.starts_with("digraph \"") && dot.ends_with("}\n"));
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
    assert_eq!(dot.lines().filter(|line| line.contains(" -> ")).count(), graph.edges.len());
    let mermaid = render(graph, Language::Mermaid);
    assert!(mermaid.starts_with("flowchart LR\n"));
    let id = |text: &str| text.trim().strip_prefix('n').and_then(|n| n.parse::<usize>().ok());
    let mut declared = BTreeSet::new();
    let (mut arrows, mut depth) = (0, 0);
    for line in mermaid.lines().skip(1) {
        if let Some((first, then)) = line.split_once(" --> ") {
            assert!(declared.contains(&id(first).unwrap()) && declared.contains(&id(then).unwrap()), "{line}");
            arrows += 1;
        } else if let Some((node, label)) = line.split_once("[\"").filter(|(node, _)| id(node).is_some()) {
            assert!(
                declared.insert(id(node).unwrap()) && label.ends_with("\"]") && label.matches('"').count() == 1,
                "{line}"
            );
        } else if line.trim() == "end" {
            depth -= 1;
        } else {
            assert!(line.trim().starts_with("subgraph g"), "{line}");
            depth += 1;
        }
    }
    assert_eq!((declared.len(), arrows, depth), (graph.nodes.len(), graph.edges.len(), 0));
}

#[test]
fn every_stack_is_drawn() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks");
    for file in ["demo.toml", "germline.toml"] {
        let graph = of_stack(&Stack::read(&folder.join(file), &seqstack::stack::Request::default()).unwrap());
        sound(&graph);
        well_formed(&graph);
        let has = |first: &str, then: &str| graph.edges.contains(&(first.to_owned(), then.to_owned()));
        assert!(has("role.execution", "task_definition.bwa") && has("bucket.reads", "role.input"), "{file}");
        assert!(has("cluster.main", "instance.worker") && has("key_pair.ecs_key", "instance.worker"), "{file}");
        assert_eq!(graph.nodes.keys().filter(|name| name.starts_with("step ")).count(), 9, "{file}");
    }
    let stack = Stack::read(&folder.join("germline.toml"), &seqstack::stack::Request::default()).unwrap();
    let nodes: BTreeSet<String> = stack.resources.keys().map(Address::to_string).collect();
    assert!(nodes.iter().all(|at| of_stack(&stack).nodes.contains_key(at)));
}

#[test]
fn a_small_stack_as_dot_and_as_mermaid() {
    let text = r#"
[stack]
name = "small"
[sample.S1]
[bucket.b]
name = "lab-b"
[role.r]
trusts = "ecs-tasks.amazonaws.com"
write = ["b"]
[role.i]
trusts = "ec2.amazonaws.com"
instance_profile = true
[cluster.c]
existing = "theirs"
[instance.w]
cluster = "c"
type = "t3.large"
ami = "ami-1"
role = "i"
[task_definition.t]
image = "tool:1"
cpu = 256
memory = 512
[pipeline]
cluster = "c"
outputs = [{ bucket = "b", keys = ["x"] }]
[[pipeline.step]]
name = "end"
task = "t"
task_role = "r"
"#;
    let graph = of_stack(&lab::parsed(text, None, false));
    insta::assert_snapshot!(render(&graph, Language::Dot), @r#"
    digraph "small" {
      rankdir=LR;
      node [shape=box];
      "bucket.b";
      "cluster.c";
      "instance.w";
      "results in bucket.b";
      "role.i";
      "role.r";
      "task_definition.t";
      subgraph cluster_1 {
        label="pipeline";
        "step end";
      }
      "bucket.b" -> "role.r";
      "cluster.c" -> "instance.w";
      "cluster.c" -> "step end";
      "instance.w" -> "step end";
      "role.i" -> "instance.w";
      "role.r" -> "step end";
      "step end" -> "results in bucket.b";
      "task_definition.t" -> "step end";
    }
    "#);
    insta::assert_snapshot!(render(&graph, Language::Mermaid), @r#"
    flowchart LR
      n0["bucket.b"]
      n1["cluster.c"]
      n2["instance.w"]
      n3["results in bucket.b"]
      n4["role.i"]
      n5["role.r"]
      n7["task_definition.t"]
      subgraph g1["pipeline"]
        n6["step end"]
      end
      n0 --> n5
      n1 --> n2
      n1 --> n6
      n2 --> n6
      n4 --> n2
      n5 --> n6
      n6 --> n3
      n7 --> n6
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_saved_plan_is_drawn_in_its_order() {
    let lab = Lab::new();
    let session = lab.session(STACK, None, true);
    let prepared = lab.plan(STACK).await;
    let saved = saved::of(&session, &Request { set: Vec::new(), region: None, wish: wish() }, &prepared);
    let graph = of_plan(&saved.stack.name, &saved.plan);
    sound(&graph);
    well_formed(&graph);
    assert_eq!(graph.nodes.len(), prepared.plan.steps.len());
    let after = |name: &str| {
        graph.edges.iter().filter(|(first, _)| first == name).map(|(_, then)| then.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(after("run pipeline.run[S1]"), ["delete instance.worker[S1]"]);
    // The run waits for the role by way of the instance: that arrow alone says it.
    assert_eq!(after("create role.instance"), ["create instance.worker[S1]"]);
    assert!(after("create instance.worker[S1]").contains(&"run pipeline.run[S1]"));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_goes_before_the_run_and_another_after_it_are_two_nodes() {
    let lab = Lab::with(|line| if line.starts_with("call") { lab::fails(3) } else { lab::fine() });
    assert_eq!(lab.apply(STACK).await, seqstack::command::Exit::RunFailed);
    // The instance with the first step's files is replaced, and the new one goes after the run.
    let prepared = lab.plan(&edited("size_gib = 30", "size_gib = 40")).await;
    let graph = of_plan("lab", &prepared.plan);
    sound(&graph);
    well_formed(&graph);
    assert_eq!(graph.nodes.len(), prepared.plan.steps.len());
    let groups =
        ["delete instance.worker[S1]", "delete instance.worker[S1] after the run"].map(|name| graph.nodes[name]);
    assert_eq!(groups, ["converge", "after the run"]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_tells_instance_hours_and_money_only_by_the_stack_files_price() {
    let lab = Lab::new();
    let told = |text: String| {
        let lab = &lab;
        async move { lab.plan(&text).await.cost }
    };
    assert_eq!(
        told(STACK.to_owned()).await,
        ["instance.worker[S1]: at the most 2 instance-hours of t3.large; 6 if the run loses 2 instances"]
    );
    let priced = edited("max_hours       = 2", "max_hours       = 2\nprice_per_hour  = 0.0912");
    assert_eq!(
        told(priced.clone()).await,
        [
            "instance.worker[S1]: at the most 2 instance-hours of t3.large, 0.18 at the stack file's price_per_hour of 0.0912; 6 if the run loses 2 instances"
        ]
    );
    let other = priced.replace("type            = \"t3.large\"", "type = \"t3.large\"\ntypes = [\"m5.large\"]");
    assert!(told(other).await[0].ends_with("; the price is that of t3.large only"));
    let until = STACK.replace("\"run\"", "\"always\"");
    let told_until = told(until).await;
    assert_eq!(
        told_until,
        ["instance.worker: at the most 2 instance-hours of t3.large; it stays until destroy, or for 2 h"]
    );
    let always = priced.replace("\"run\"", "\"always\"").replace("max_hours       = 2\n", "");
    assert_eq!(
        told(always).await,
        [
            "instance.worker: billed by the hour as t3.large, 0.0912 an hour at the stack file's price_per_hour of 0.0912; it stays, and is billed, until destroy"
        ]
    );

    // A price is no part of what is on AWS.
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    let plan = lab.plan(&priced).await;
    assert!(plan.plan.is_empty() && plan.cost.is_empty(), "{:?}", plan.cost);
}

#[tokio::test(start_paused = true)]
async fn what_has_come_together_is_told_by_status_and_after_the_run() {
    let priced = edited("max_hours       = 2", "max_hours       = 2\nprice_per_hour  = 12");
    let lab = Lab::with(|line| match line.split(' ').next() {
        Some("call") => seqstack::sandbox::engine::fake::Outcome { runs_for: Duration::from_secs(1800), ..fails(3) },
        _ => fine(),
    });
    assert_eq!(lab.apply(&priced).await, Exit::RunFailed);
    let session = lab.session(&priced, None, false);
    let (header, there) = status::read(&session).await.unwrap_or_else(|problem| panic!("{problem}"));
    let machine = &there.instances.as_ref().unwrap()[0];
    let seconds = machine.seconds.unwrap();
    assert!((1800..2400).contains(&seconds), "{seconds}");
    let money = machine.price_per_hour.unwrap().of(seconds);
    let text = seqstack::report::status::text(&header, &there);
    let part = format!("instance-hours, {money} at the stack file's price_per_hour of 12)");
    assert!(text.contains(&part), "{part}: {text}");

    let told = cost::so_far(&session, &machine.id).await;
    assert!(told.starts_with(&format!("{} (t3.large) since its launch: 0.5", machine.id)), "{told}");
    assert!(told.ends_with("at the stack file's price_per_hour of 12"), "{told}");
    // One that has gone is known to EC2 for a while.
    let done = Lab::new();
    assert_eq!(done.apply(&priced).await, Exit::Done);
    let all = done.aws().ec2.describe_instances().send().await.unwrap();
    let gone = &all.reservations()[0].instances()[0];
    assert_eq!(gone.state().unwrap().name().unwrap().as_str(), "terminated");
    let told = cost::so_far(&done.session(&priced, None, false), gone.instance_id().unwrap()).await;
    assert!(told.contains(" (t3.large) since its launch: 0.0") && told.contains("price_per_hour of 12"), "{told}");
    // Of another type than the price is of, only the hours are known.
    assert!(cost::price(&session.stack, Some("instance.worker[S1]"), "m5.large").is_none());
    assert!(cost::so_far(&session, "i-0123456789abcdef0").await.ends_with("is not known any more"));
}
