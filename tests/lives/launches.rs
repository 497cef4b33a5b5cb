//! Launches that EC2 refuses, and what it makes of a launch that it has heard before.

use std::sync::Arc;
use std::time::Duration;

use seqstack::command::{Exit, apply};
use seqstack::sandbox::service::{Options, Settings};
use seqstack::sandbox::{Fate, Life, Moment, Passing, Wire};
use tokio::time::Instant;

use super::steps;
use crate::lab::{Lab, STACK, edited, fine, wish, yes};

/// A lab in which there are no machines of the stack's type.
fn without_capacity() -> Lab {
    let settings = Settings { no_capacity: vec!["t3.large".into()], ..Settings::default() };
    Lab::set(Options { settings, ..Options::default() }, |_| fine())
}

/// What was waited for, as the journal has it, one line each.
pub fn waited(lab: &Lab) -> Vec<String> {
    let journal = std::fs::read_to_string(lab.state().join("lab/journal.jsonl")).unwrap_or_default();
    let lines = journal.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["event"] == "waiting").map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_launch_refused_for_capacity_again_and_again_is_told_at_once_each_time() {
    let lab = without_capacity();
    for apply in 1..=3 {
        let began = Instant::now();
        assert_eq!(lab.apply(STACK).await, Exit::Failed);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "apply {apply} took {took:?}");
        let refused = waited(&lab).iter().filter(|text| text.starts_with("no t3.large in subnet-")).count();
        assert_eq!(refused, 3 * apply, "{:#?}", waited(&lab));
        // Each zone is asked once: the SDK does not repeat what is EC2's last word.
        assert_eq!(lab.mutations()["ec2:RunInstances"], 3 * apply);
        // The next apply has another deadline.
        tokio::time::sleep(Duration::from_secs(700)).await;
    }
    // One with other parameters than those that were refused, and one that dies while it is being refused.
    let bigger = edited("size_gib = 30", "size_gib = 60");
    let life = Life::default();
    let fates = |passing: &Passing| match passing.name == "ec2:RunInstances" && passing.nth == 2 {
        true => Fate::Dies(Moment::BeforeAnswer),
        false => Fate::Pass,
    };
    let wire = Wire { fates: Some(Arc::new(fates)), life: life.clone(), ..lab.wire.clone() };
    let (session, wish, consent) = (lab.session_over(wire, &bigger, None, true), wish(), yes());
    tokio::select! {
        biased;
        () = life.ended() => {}
        _ = apply::apply(&session, &wish, &consent) => panic!("it did not die"),
    }
    let began = Instant::now();
    assert_eq!(lab.apply(&bigger).await, Exit::Failed);
    lab.sandbox.set(Settings::default());
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    // What an edited file asks for within the same five minutes meets a token that is bound to something else.
    assert!(began.elapsed() < Duration::from_secs(200), "{:?}", began.elapsed());
    assert_eq!(lab.left().iter().filter(|left| left.starts_with("instances")).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_was_heard_with_other_parameters_is_waited_for_once_and_told_of() {
    // What an earlier version of this tool would have left: the tokens of this launch, bound to something else.
    let lab = without_capacity();
    assert_eq!(lab.apply(STACK).await, Exit::Failed);
    let change = |all: &mut serde_json::Value| {
        for token in all["ec2"]["tokens"].as_array_mut().unwrap() {
            token["request"] = "something else".into();
        }
    };
    lab.sandbox.edit(change).unwrap();
    let began = Instant::now();
    lab.sandbox.set(Settings::default());
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    let told = waited(&lab).into_iter().filter(|text| text.contains("an earlier launch")).collect::<Vec<_>>();
    let what = "waiting for the instance of an earlier launch of instance.worker[S1], if there is one, to be seen";
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with(&format!("{what}: 11 s so far, at most 1 min")), "{told:?}");
    assert!(began.elapsed() < Duration::from_secs(180), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_instance_makes_the_folders_that_are_mounted_and_keeps_memory_for_itself() {
    let lab = Lab::new();
    let definition = "[task_definition.tool]\nimage = \"tool:1\"";
    let scratch = "mounts = [{ host = \"/scratch\", container = \"/scratch\" }]\nuser = \"1001\"";
    let always = edited("lifetime        = \"run\"", "lifetime        = \"always\"");
    let with_scratch =
        always.replace(definition, &format!("{definition}\n[task_definition.two]\nimage = \"two:1\"\n{scratch}"));
    assert_ne!(with_scratch, always);
    assert_eq!(lab.apply(&with_scratch).await, Exit::Done);
    let told: Vec<(String, (u32, u32), u32)> =
        lab.fake.launches()[0].folders.iter().map(|one| (one.path.clone(), one.owner, one.mode)).collect();
    // The other definition says no user: whoever the image's own is may write.
    let data = ("/var/lib/seqstack/data".to_owned(), (0, 0), 0o777);
    assert_eq!(told, [("/scratch".to_owned(), (1001, 1001), 0o755), data]);
    let ecs = lab.aws().ecs;
    let arns =
        ecs.list_container_instances().cluster("lab-main").send().await.unwrap().container_instance_arns.unwrap();
    let shown = ecs.describe_container_instances().cluster("lab-main").set_container_instances(Some(arns)).send().await;
    let memory = shown.unwrap().container_instances()[0].registered_resources()[1].integer_value();
    assert_eq!(memory, 8192 * 975 / 1000 - 512);

    // A folder that is mounted no more changes nothing; one that the instance lacks needs another instance.
    assert!(!steps(&lab.plan(&always).await).iter().any(|step| step.contains("instance")));
    let other = with_scratch.replace("/scratch\"", "/other\"");
    let planned = steps(&lab.plan(&other).await);
    assert!(planned.iter().any(|step| step.starts_with("create instance.worker")), "{planned:?}");
}

#[tokio::test(start_paused = true)]
async fn session_manager_serves_an_instance_whose_role_has_its_policy() {
    let lab = Lab::new();
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    let serves = async || seqstack::kinds::role::has_session_manager(&lab.aws(), "lab-instance").await;
    assert!(!serves().await);
    let managed = "service-role/AmazonEC2ContainerServiceforEC2Role\"";
    let with = edited(managed, &format!("{managed}, \"AmazonSSMManagedInstanceCore\""));
    assert_eq!(lab.apply(&with).await, Exit::Done);
    assert!(serves().await);
    assert!(!seqstack::kinds::role::has_session_manager(&lab.aws(), "arn:aws:iam::123456789012:role/none").await);
}
