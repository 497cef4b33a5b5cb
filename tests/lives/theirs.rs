//! Task definitions that somebody else registered, and that are not of the tool's own form.

use aws_sdk_ecs::types as ecs;
use seqstack::command::Exit;
use seqstack::sandbox::engine::fake::Outcome;

use crate::lab::{Lab, edited, fails, fine, wish};

/// The lab's stack whose second step runs somebody else's task definition, with more keys in that step.
fn stack(more: &str) -> String {
    edited("task    = \"tool\"\ncommand = \"call", &format!("task    = \"hand\"\n{more}\ncommand = \"call"))
        .replace("[pipeline]", "[task_definition.hand]\nexisting = \"hand\"\n[pipeline]")
}

fn container(name: &str, essential: bool) -> ecs::builders::ContainerDefinitionBuilder {
    ecs::ContainerDefinition::builder().name(name).image("hand:1").memory(64).essential(essential).command(name)
}

fn logging(prefix: Option<&str>) -> ecs::LogConfiguration {
    let log = ecs::LogConfiguration::builder().log_driver(ecs::LogDriver::Awslogs);
    let log = log.options("awslogs-group", "/hand").options("awslogs-region", "eu-west-2");
    let log = prefix.iter().fold(log, |log, prefix| log.options("awslogs-stream-prefix", *prefix));
    log.build().unwrap()
}

async fn registered(lab: &Lab, containers: Vec<ecs::builders::ContainerDefinitionBuilder>) {
    let aws = lab.aws();
    aws.logs.create_log_group().log_group_name("/hand").send().await.unwrap();
    let containers = containers.into_iter().map(|one| one.build()).collect();
    let request = aws.ecs.register_task_definition().family("hand").set_container_definitions(Some(containers));
    request.send().await.unwrap();
}

/// `call` ends so, and what runs beside it so.
fn lab(call: fn() -> Outcome, beside: fn() -> Outcome) -> Lab {
    Lab::with(move |line| match line.split(' ').next().unwrap_or_default() {
        "call" => call(),
        "metrics" => beside(),
        _ => fine(),
    })
}

#[tokio::test(start_paused = true)]
async fn the_only_essential_container_has_the_command_the_verdict_and_the_log() {
    let lab = lab(fine, || Outcome { runs_for: std::time::Duration::from_secs(600), ..fails(1) });
    let own = container("aligner", true).log_configuration(logging(Some("hand")));
    registered(&lab, vec![container("metrics", false), own]).await;
    assert_eq!(lab.apply(&stack("")).await, Exit::Done);
    let lines = lab.started();
    assert!(lines.contains(&"call S1".to_owned()) && !lines.contains(&"aligner".to_owned()), "{lines:?}");
    let streams = lab.aws().logs.describe_log_streams().log_group_name("/hand").send().await.unwrap();
    let names: Vec<&str> = streams.log_streams().iter().filter_map(|one| one.log_stream_name()).collect();
    assert!(names.len() == 1 && names[0].starts_with("hand/aligner/"), "{names:?}");
    let body = lab.sandbox.get_object("lab-results", ".seqstack/eu-west-2/lab/S1/ledger.json").unwrap();
    let ledger = seqstack::run::Ledger::read(&body, "s3://lab-results/.seqstack/eu-west-2/lab/S1/ledger.json").unwrap();
    assert_eq!(ledger.steps["call"].attempts[0].log_place().unwrap().1, names[0]);
}

#[tokio::test(start_paused = true)]
async fn a_step_is_no_success_when_another_essential_container_failed() {
    let lab = lab(fine, || fails(9));
    registered(&lab, vec![container("aligner", true), container("metrics", true)]).await;
    let refused = lab.try_apply(&stack(""), wish()).await.unwrap_err().to_string();
    assert!(
        refused.contains(
            "step `call` runs the task definition `hand`: it has several essential containers (`aligner`, `metrics`)"
        ),
        "{refused}"
    );
    assert_eq!(lab.apply(&stack("container = \"aligner\"")).await, Exit::RunFailed);
}

#[tokio::test(start_paused = true)]
async fn sizes_per_container_are_told_in_the_plan() {
    let lab = lab(fine, fine);
    registered(&lab, vec![container("convert", true).cpu(30).memory(100_000)]).await;
    let prepared = lab.plan(&stack("")).await;
    let told = prepared.text(false);
    assert!(told.contains("step call asks for 30 CPU units and 100000 MiB"), "{told}");
    assert_eq!(prepared.plan.conflicts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_prefix_the_log_is_found_by_the_runtime_id() {
    let lab = lab(|| Outcome { log: vec!["why it failed".to_owned()], ..fails(1) }, fine);
    registered(&lab, vec![container("main", true).log_configuration(logging(None))]).await;
    assert_eq!(lab.apply(&stack("")).await, Exit::RunFailed);
    let body = lab.sandbox.get_object("lab-results", ".seqstack/eu-west-2/lab/S1/ledger.json").unwrap();
    let ledger = seqstack::run::Ledger::read(&body, "s3://lab-results/.seqstack/eu-west-2/lab/S1/ledger.json").unwrap();
    let (group, stream) = ledger.steps["call"].attempts[0].log_place().unwrap();
    let events = lab.aws().logs.get_log_events().log_group_name(group).log_stream_name(stream).send().await.unwrap();
    assert_eq!(events.events()[0].message(), Some("why it failed"));
}

#[tokio::test(start_paused = true)]
async fn an_arn_that_is_not_there_is_told_in_the_plan() {
    let arn = "arn:aws:ecs:eu-west-2:123456789012:task-definition/none:1";
    let lab = lab(fine, fine);
    let text = edited("task    = \"tool\"\ncommand = \"call", &format!("task    = \"{arn}\"\ncommand = \"call"));
    let told = lab.plan(&text).await.text(false);
    assert!(
        told.contains(&format!("there is no task_definition `{arn}`, which a pipeline step names as its task")),
        "{told}"
    );
}

/// GPUs are asked for where the instance's type has some, and else told in the plan.
#[tokio::test(start_paused = true)]
async fn a_step_for_gpus_is_not_run_where_there_are_none() {
    let lab = lab(fine, fine);
    let text = edited("image = \"tool:1\"", "image = \"tool:1\"\ngpus  = 1");
    let told = lab.plan(&text).await.text(false);
    assert!(told.contains("step call asks for 1024 CPU units and 1024 MiB and 1 GPU"), "{told}");
    assert!(told.contains("t3.large has 2048 CPU units and 7680 MiB, 0 GPUs"), "{told}");
    let text = text.replace("type            = \"t3.large\"", "type            = \"g5.xlarge\"");
    let prepared = lab.plan(&text).await;
    assert!(prepared.plan.conflicts.is_empty(), "{}", prepared.text(false));
}

/// ECS's own answer, for what no plan could see: somebody else's definition that grew, say.
#[tokio::test(start_paused = true)]
async fn a_task_for_gpus_is_not_placed_where_there_are_none() {
    let lab = lab(fine, fine);
    lab.apply(&edited("lifetime        = \"run\"", "lifetime        = \"always\"")).await;
    let gpu = ecs::ResourceRequirement::builder().r#type(ecs::ResourceType::Gpu).value("1").build().unwrap();
    registered(&lab, vec![container("main", true).resource_requirements(gpu)]).await;
    let answer = lab.aws().ecs.run_task().cluster("lab-main").task_definition("hand").send().await.unwrap();
    assert_eq!(answer.failures()[0].reason(), Some("RESOURCE:GPU"));
}
