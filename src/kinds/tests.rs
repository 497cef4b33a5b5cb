//! What must hold of every kind.

use serde_json::{Value, json};

use crate::address::{Address, settle};
use crate::facts::{Facts, Image, InstanceType, LocalFile, Subnet};
use crate::kind::{Context, KINDS, StackInfo};

fn stack() -> StackInfo {
    StackInfo {
        name: "germline".to_owned(),
        region: "eu-west-2".to_owned(),
        buckets: [("reads".to_owned(), "lab-in".to_owned())].into(),
        ..StackInfo::default()
    }
}

fn facts() -> Facts {
    let image = Image {
        id: "ami-1".to_owned(),
        architecture: "x86_64".to_owned(),
        root_device: "/dev/xvda".to_owned(),
        size_gib: Some(30),
    };
    let subnet = Subnet {
        vpc: "vpc-1".to_owned(),
        zone: "eu-west-2a".to_owned(),
        default: true,
        public: true,
        way: None,
        endpoints: false,
    };
    let kind = InstanceType { architectures: vec!["x86_64".to_owned()], vcpus: 8, memory_mib: 65536, gpus: 0 };
    let file = LocalFile { path: "/data/a".to_owned(), size: 1, sha256: "aa".to_owned() };
    Facts {
        account: "123456789012".to_owned(),
        partition: "aws".to_owned(),
        region: "eu-west-2".to_owned(),
        default_vpc: Some("vpc-1".to_owned()),
        images: [("ami-1".to_owned(), image)].into(),
        subnets: [("subnet-1".to_owned(), subnet)].into(),
        instance_types: [("r6i.2xlarge".to_owned(), kind)].into(),
        files: [("a".to_owned(), file)].into(),
        ..Facts::default()
    }
}

/// A plain spec of each kind, as it is written.
fn spec(table: &str) -> Value {
    match table {
        "upload" => json!({ "bucket": "reads", "files": ["a"] }),
        "role" => json!({ "trusts": "ecs-tasks.amazonaws.com", "read": ["reads"], "instance_profile": true }),
        "key_pair" | "log_group" | "cluster" => json!({}),
        "security_group" => json!({ "ingress": [{ "protocol": "tcp", "port": 22, "cidr": "10.0.0.0/8" }] }),
        "task_definition" => json!({ "image": "bwa", "memory": 64, "log_group": "pipeline", "task_role": "input" }),
        "instance" => json!({
            "cluster": "main", "type": "r6i.2xlarge", "ami": "ami-1", "role": "instance", "key_pair": "ecs_key",
            "security_groups": ["ecs", "sg-1"],
        }),
        other => panic!("no spec of {other} here"),
    }
}

fn lowered(kind: &dyn crate::kind::ErasedKind) -> (Address, Value) {
    let (stack, facts) = (stack(), facts());
    let at = Address::new(kind.table(), "one");
    let cx = Context { stack: &stack, facts: &facts, sample: None };
    let state = kind.lower(&at, &spec(kind.table()), &cx).unwrap();
    (at, state)
}

#[test]
fn every_fixed_path_is_in_the_state() {
    for kind in KINDS {
        let (_, state) = lowered(*kind);
        for path in kind.fixed() {
            let pointer = format!("/{}", path.replace('.', "/"));
            assert!(state.pointer(&pointer).is_some(), "{} fixes {path}, which is not in {state:#}", kind.table());
        }
    }
}

#[test]
fn what_is_wanted_again_needs_no_call() {
    for kind in KINDS {
        let (at, mut state) = lowered(*kind);
        settle(&mut state, &|to, part| Some(format!("{part}-of-{}", to.name)));
        let state = kind.normal(state);
        let mut want = state.clone();
        kind.keep(&mut want, &state);
        let mut live = want.clone();
        kind.keep(&mut live, &want);
        assert_eq!(live, want, "{}", kind.table());
        assert_eq!(kind.calls(&at, Some(&live), Some(&want)), Vec::<Value>::new(), "{}", kind.table());
    }
}

#[test]
fn every_call_can_be_described_and_names_its_operation() {
    for kind in KINDS {
        let (at, state) = lowered(*kind);
        let calls = kind.calls(&at, None, Some(&state)).into_iter().chain(kind.calls(&at, Some(&state), None));
        for call in calls {
            let variant = call.as_object().unwrap().keys().next().unwrap().replace('_', "");
            let text = kind.describe(&call);
            let operation = text.split([':', ' ']).nth(1).unwrap().to_lowercase();
            assert_eq!(operation, variant, "{text}");
        }
    }
}
