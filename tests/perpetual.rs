//! No perpetual difference: whatever AWS fills in, puts in another order or writes otherwise, a converged stack has nothing to
//! do. Each field of each kind's state is in [`FIELDS`], with what AWS does to it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use seqstack::aws::{Aws, clients};
use seqstack::command::prepare::{self, Prepared};
use seqstack::live;
use seqstack::sandbox::{Wire, http_client, sdk_config};
use serde_json::Value;

mod lab;
#[path = "perpetual/respelling.rs"]
mod respelling;
#[path = "perpetual/xml.rs"]
mod xml;

use lab::{Lab, wish};
use respelling::{RESPELLINGS, Way, over};

/// Every field of every kind's state, and the respellings that reach it; of one that none reaches, why.
const FIELDS: &[(&str, &[&str], &str)] = &[
    ("role.name", &[], "kept as it is written (IAM API, Role)"),
    ("role.path", &[], "kept as it is written; not compared"),
    ("role.made", &[], "our own: whether the role is there"),
    ("role.trust", &["documents"], ""),
    ("role.description", &["role's last use"], "none known but what comes beside it"),
    ("role.session_seconds", &["role's last use"], "none known: always told, 3600 by default"),
    ("role.attached[]", &["attachments"], ""),
    ("role.inline[]", &[], "we make none"),
    ("role.policy.arn", &[], "made of name and path"),
    ("role.policy.document", &["documents"], ""),
    ("role.policy.attached", &["attachments"], ""),
    ("role.policy.tags", &["IAM tags"], ""),
    ("role.profile.path", &[], "kept as it is written; not compared"),
    ("role.profile.role", &["role's last use"], "one role or none (IAM API, InstanceProfile)"),
    ("role.profile.tags", &["IAM tags"], ""),
    ("role.tags", &["IAM tags"], ""),
    ("key_pair.name", &[], "kept as it is written"),
    ("key_pair.public_key", &["public keys"], ""),
    ("key_pair.tags", &["EC2 tags"], ""),
    ("security_group.name", &[], "kept as it is written"),
    ("security_group.description", &[], "kept as it is written"),
    ("security_group.vpc", &[], "an id"),
    ("security_group.id", &[], "an id, only known"),
    ("security_group.ingress[].protocol", &["protocols by number", "rules regrouped"], ""),
    ("security_group.ingress[].from_port", &["ports of all", "rules regrouped"], ""),
    ("security_group.ingress[].to_port", &["ports of all", "rules regrouped"], ""),
    ("security_group.ingress[].peer", &["IPv6 spelling", "groups described", "rules regrouped"], ""),
    ("security_group.ingress[].description", &["rules regrouped"], ""),
    ("security_group.egress[].protocol", &["protocols by number", "default egress of IPv6"], ""),
    ("security_group.egress[].from_port", &["ports of all", "default egress of IPv6"], ""),
    ("security_group.egress[].to_port", &["ports of all", "default egress of IPv6"], ""),
    ("security_group.egress[].peer", &["groups described", "default egress of IPv6"], ""),
    ("security_group.egress[].description", &["rules regrouped"], ""),
    ("security_group.tags", &["EC2 tags"], ""),
    ("cluster.name", &["clusters described"], "kept as it is written"),
    ("cluster.tags", &["ECS tags"], ""),
    ("log_group.name", &["log groups described"], "kept as it is written"),
    ("log_group.retention_days", &["log groups described"], "none is no member"),
    ("log_group.tags", &["log groups' tags"], ""),
    ("task_definition.family", &[], "kept as it is written"),
    ("task_definition.container", &[], "kept as it is written"),
    ("task_definition.image", &[], "kept as it is written: the digest is the task's"),
    ("task_definition.entry_point[]", &["definition's defaults filled in"], "its order counts"),
    ("task_definition.command[]", &["definition's defaults filled in"], "its order counts"),
    ("task_definition.environment", &["definition's order", "definition's defaults filled in"], ""),
    ("task_definition.secrets", &["definition's order", "definition's defaults filled in"], ""),
    ("task_definition.user", &["definition's defaults left out"], "none known"),
    ("task_definition.working_dir", &["definition's defaults left out"], "none known"),
    ("task_definition.cpu", &["definition's defaults filled in"], "the container's is 0"),
    ("task_definition.memory", &[], "none known"),
    ("task_definition.mounts[].host", &["definition's order"], ""),
    ("task_definition.mounts[].container", &["definition's order"], ""),
    ("task_definition.mounts[].read_only", &["definition's defaults left out"], ""),
    ("task_definition.execution_role", &[], "an ARN"),
    ("task_definition.task_role", &[], "an ARN"),
    ("task_definition.log_group", &[], "none known"),
    ("task_definition.log_options", &[], "a map, in JSON"),
    ("task_definition.privileged", &["definition's defaults filled in", "definition's defaults left out"], ""),
    ("task_definition.gpus", &["definition's order"], ""),
    ("task_definition.ulimits[].name", &["definition's order"], ""),
    ("task_definition.ulimits[].soft", &["definition's order"], ""),
    ("task_definition.ulimits[].hard", &["definition's order"], ""),
    ("task_definition.shared_memory_mib", &["definition's defaults filled in"], "lists beside it"),
    ("task_definition.tmpfs[].container", &["definition's order"], ""),
    ("task_definition.tmpfs[].size_mib", &["definition's order"], ""),
    ("task_definition.init", &["definition's defaults filled in"], "lists beside it"),
    ("task_definition.other[]", &["definition's defaults filled in", "definition's defaults left out"], ""),
    ("task_definition.older[]", &[], "ARNs of our own"),
    ("task_definition.arn", &[], "an id, only known"),
    ("task_definition.tags", &["ECS tags"], ""),
    ("instance.type", &[], "kept as it is written"),
    ("instance.ami", &[], "an id; one behind a parameter that has moved on is a note"),
    ("instance.root_device", &["further devices"], ""),
    ("instance.cluster", &["EC2 tags"], "a tag"),
    ("instance.profile", &[], "told by ARN and id, compared by name"),
    ("instance.key_pair", &[], "a name"),
    ("instance.security_groups[]", &["instance's groups"], ""),
    ("instance.subnet", &[], "an id"),
    ("instance.public_ip", &["EC2 tags"], "what the launch asked for, in a tag: an address may come and go"),
    ("instance.folders", &["EC2 tags"], "what user data made, in tags"),
    ("instance.volume.size_gib", &["further devices"], ""),
    ("instance.volume.type", &["further devices"], ""),
    ("instance.volume.encrypted", &["further devices"], ""),
    ("instance.volume.iops", &["volumes' performance"], ""),
    ("instance.volume.throughput", &["volumes' performance"], ""),
    ("instance.max_hours", &["EC2 tags"], "a tag"),
    ("instance.launch", &["EC2 tags"], "a digest of user data and the like, in a tag: AWS's base64 is never compared"),
    ("instance.stopped", &[], "its state"),
    ("instance.id", &[], "an id, only known"),
    ("instance.launched", &[], "a time, only known"),
    ("instance.tags", &["EC2 tags"], ""),
    ("upload.bucket", &[], "a name"),
    ("upload.objects", &["objects' ETags and checksums"], "our own checksum in the metadata"),
];

/// The rich stack without what only a run has, so that everything in it stays and is compared.
fn rich() -> String {
    let text = include_str!("stacks/every_key.toml");
    let run = "lifetime        = \"run\"\nmax_hours       = 12";
    assert!(text.contains(run));
    // The sandbox has no such secret, so the definition with it is only registered, not run.
    let runs = "task          = \"bwa\"";
    assert!(text.contains(runs));
    text.replace(run, "lifetime        = \"always\"\nmax_hours       = 12").replace(runs, "task          = \"aws\"")
}

/// The rich stack with a role, a group and a definition more, drawn.
fn drawn(rng: &mut Rng) -> String {
    let mut text = rich();
    let some = |rng: &mut Rng, words: &[&str]| -> Vec<String> {
        let count = rng.usize(1..=words.len());
        let mut words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        rng.shuffle(&mut words);
        words.truncate(count);
        words
    };
    let trusts =
        rng.choice(["ec2.amazonaws.com", "ecs-tasks.amazonaws.com", "arn:aws:iam::123456789012:root"]).unwrap();
    write!(text, "[role.drawn]\ntrusts = \"{trusts}\"\n[role.drawn.policy]\nVersion = \"2012-10-17\"\n").unwrap();
    for n in 0..rng.usize(1..4) {
        let actions = some(rng, &["s3:GetObject", "s3:PutObject", "ecs:ListTasks", "logs:GetLogEvents"]).join(", ");
        let resources = some(rng, &["arn:aws:s3:::x/*", "arn:aws:s3:::y/*", "*"]).join(", ");
        let effect = if rng.bool() { "Allow" } else { "Deny" };
        write!(
            text,
            "[[role.drawn.policy.Statement]]\nSid = \"S{n}\"\nEffect = \"{effect}\"\nAction = [{actions}]\nResource = [{resources}]\n"
        )
        .unwrap();
        if rng.bool() {
            let secure = rng.bool();
            writeln!(text, "Condition = {{ Bool = {{ \"aws:SecureTransport\" = {secure} }} }}").unwrap();
        }
    }
    text.push_str("[security_group.drawn]\ningress = [\n");
    for _ in 0..rng.usize(0..6) {
        let (port, more) = (rng.u16(1..1000), rng.u16(0..50));
        let peer = match rng.u8(0..4) {
            0 => format!("cidr = \"10.{}.0.0/16\"", rng.u8(..)),
            1 => format!("cidr = \"2001:db8:{:x}::/48\"", rng.u16(..)),
            2 => "security_group = \"ecs\"".to_owned(),
            _ => "security_group = \"drawn\"".to_owned(),
        };
        let rule = match rng.u8(0..4) {
            0 => format!("protocol = \"tcp\", port = {port}"),
            1 => format!("protocol = \"udp\", port = {port}, to_port = {}", port + more),
            2 => format!("protocol = \"icmp\", description = \"ping {port}\""),
            _ => "protocol = \"all\"".to_owned(),
        };
        let line = format!("  {{ {rule}, {peer} }},\n");
        let same = |text: &str| text.lines().any(|other| other.contains(&peer) && other.contains("icmp"));
        // EC2 keeps one of each rule, whatever its description.
        let twice = text.contains(&line) || rule.contains("icmp") && same(&text);
        if !twice {
            text.push_str(&line);
        }
    }
    text.push_str("]\n[task_definition.drawn]\nimage = \"tool:2\"\nmemory = 64\n");
    let mounts: Vec<String> = (0..rng.usize(0..4))
        .map(|n| format!("{{ host = \"/h{}\", container = \"/c{n}\", read_only = {} }}", rng.u8(..), rng.bool()))
        .collect();
    writeln!(text, "mounts = [{}]\n[task_definition.drawn.environment]", mounts.join(", ")).unwrap();
    for n in 0..rng.usize(0..5) {
        let value = if rng.bool() { format!("\"v{}\"", rng.u8(..)) } else { "{ secret = \"ssm:/a/b\" }".to_owned() };
        writeln!(text, "V{n} = {value}").unwrap();
    }
    text
}

/// A lab in which the stack has converged, what is somebody else's included.
async fn converged(text: &str) -> Lab {
    let lab = Lab::of(text);
    let aws = lab.aws();
    lab.sandbox.put_object("lab-reads", "S1.fq", "reads".into()).unwrap();
    let trust = seqstack::kinds::role::document::trust("ec2.amazonaws.com").to_string();
    aws.iam.create_role().role_name("their-role").assume_role_policy_document(trust).send().await.unwrap();
    let container = aws_sdk_ecs::types::ContainerDefinition::builder().name("x").image("x").memory(64).build();
    aws.ecs.register_task_definition().family("theirs").container_definitions(container).send().await.unwrap();
    lab.apply(text).await;
    lab
}

/// The plan as it is when answers are written so, and how many answers each respelling changed.
async fn planned(lab: &Lab, text: &str, on: Vec<usize>, seed: u64) -> (Prepared, BTreeMap<usize, usize>) {
    let way = Arc::new(Mutex::new(Way { on, rng: Rng::with_seed(seed), changed: BTreeMap::new() }));
    let wire = Wire::default();
    let config = sdk_config(&lab.sandbox, wire.clone()).into_builder();
    let config = config.http_client(over(http_client(lab.sandbox.clone(), wire), way.clone())).build();
    let mut session = lab.session(text, None, true);
    session.aws = Aws::new(&clients::patient(config));
    let plan = prepare::converge(&session, &wish(), "plan").await.unwrap_or_else(|problem| panic!("{problem}"));
    let changed = way.lock().unwrap().changed.clone();
    (plan, changed)
}

fn names(on: &[usize]) -> Vec<&str> {
    on.iter().map(|n| RESPELLINGS[*n].name).collect()
}

#[tokio::test(start_paused = true)]
async fn each_respelling_alone_and_all_together_change_no_plan() {
    let text = rich();
    let lab = converged(&text).await;
    let before = lab.mutations();
    let alone = (0..RESPELLINGS.len()).map(|n| vec![n]);
    for on in alone.chain([(0..RESPELLINGS.len()).collect(), Vec::new()]) {
        let (plan, changed) = planned(&lab, &text, on.clone(), 7).await;
        assert!(plan.plan.is_empty(), "{:?}\n{}", names(&on), plan.text(true));
        for n in on {
            assert!(changed.get(&n).is_some_and(|times| *times > 0), "`{}` changed no answer", RESPELLINGS[n].name);
        }
    }
    assert_eq!(lab.mutations(), before);
}

#[tokio::test(start_paused = true)]
async fn every_field_of_every_state_is_accounted_for() {
    let text = rich();
    let lab = converged(&text).await;
    let session = lab.session(&text, None, true);
    let live = live::read(&session.aws, &session.stack).await.unwrap();
    let told: BTreeSet<String> = FIELDS.iter().map(|(field, ..)| (*field).to_owned()).collect();
    let mut there = BTreeSet::new();
    for found in live.found.values().flatten() {
        fields(&found.at.kind, &found.state, &told, &mut there);
    }
    let missing: Vec<_> = there.difference(&told).collect();
    assert!(missing.is_empty(), "FIELDS says nothing of {missing:?}");
    // Lists that are empty show no items.
    let gone: Vec<_> = told.difference(&there).filter(|field| !field.ends_with("[]")).collect();
    assert!(gone.is_empty(), "no state has {gone:?}");
    let known: BTreeSet<&str> = RESPELLINGS.iter().map(|one| one.name).collect();
    let used: BTreeSet<&str> = FIELDS.iter().flat_map(|(_, by, _)| by.iter().copied()).collect();
    assert_eq!(known, used);
    for (field, by, why) in FIELDS {
        assert!(!by.is_empty() || !why.is_empty(), "{field}");
    }
    assert!(RESPELLINGS.iter().all(|one| !one.source.is_empty()));
    println!("{} fields of {} resources, {} respellings", told.len(), live.found.len(), known.len());
}

/// The fields of a state, as deep as the table goes; all that it does not tell of.
fn fields(path: &str, value: &Value, told: &BTreeSet<String>, out: &mut BTreeSet<String>) {
    match value {
        Value::Null => {}
        Value::Object(members) if !told.contains(path) => {
            members.iter().for_each(|(key, member)| fields(&format!("{path}.{key}"), member, told, out));
        }
        Value::Array(items) => items.iter().for_each(|item| fields(&format!("{path}[]"), item, told, out)),
        _ => drop(out.insert(path.to_owned())),
    }
}

#[tokio::test(start_paused = true)]
async fn drawn_stacks_have_nothing_to_do_however_they_are_written_back() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEQSTACK_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEQSTACK_CASES").unwrap_or(8),
    };
    let (mut plans, mut answers) = (0, 0);
    for seed in seeds.clone() {
        let mut rng = Rng::with_seed(seed);
        let text = drawn(&mut rng);
        let lab = converged(&text).await;
        for _ in 0..4 {
            let on: Vec<usize> = (0..RESPELLINGS.len()).filter(|_| rng.bool()).collect();
            let (plan, changed) = planned(&lab, &text, on.clone(), rng.u64(..)).await;
            assert!(plan.plan.is_empty(), "SEQSTACK_SEED={seed} {:?}\n{text}\n{}", names(&on), plan.text(true));
            plans += 1;
            answers += changed.values().sum::<usize>();
        }
    }
    println!(
        "{} drawn stacks (seeds {seeds:?}), {plans} plans, {answers} answers respelt: nothing to do",
        seeds.end - seeds.start
    );
}

/// That the others can fail: another meaning is a difference.
#[tokio::test(start_paused = true)]
async fn what_really_differs_is_seen_through_every_respelling() {
    let text = rich();
    let lab = converged(&text).await;
    let all: Vec<usize> = (0..RESPELLINGS.len()).collect();
    for (from, to) in [
        ("port = 22,", "port = 23,"),
        ("Action    = [\"ecs:DescribeTasks\", ", "Action    = ["),
        ("AWS_PAGER = \"\"", "AWS_PAGER = \"less\""),
        ("retention_days = 90", "retention_days = 60"),
        ("project = \"ngs\"", "project = \"other\""),
        ("[log_group.forever]", "[log_group.forever]\nretention_days = 1"),
        ("security_groups = [\"ecs\", \"desk\"]", "security_groups = [\"desk\"]"),
    ] {
        assert!(text.contains(from), "{from}");
        let (plan, _) = planned(&lab, &text.replacen(from, to, 1), all.clone(), 7).await;
        assert!(!plan.plan.is_empty(), "{from} -> {to}");
    }
}
