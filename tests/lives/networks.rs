//! Subnets, groups, roles and policies that the stack names and does not make: what cannot work is in the plan.

use std::sync::Arc;
use std::time::Duration;

use seqstack::command::{Exit, Problem, prepare};
use seqstack::sandbox::ec2::network::{Subnet, VPC, Way};
use seqstack::sandbox::{Fate, Passing, Wire};

use super::steps;
use crate::lab::{Lab, STACK, edited, wish, yes};

const ID: &str = "subnet-0d84fa1c605e72b93";
const OTHER_VPC: &str = "vpc-0e95ab2d716f83ca4";

/// A lab with one subnet more.
fn with(vpc: &str, public: bool, way: Way) -> Lab {
    let lab = Lab::new();
    let subnet = Subnet {
        id: ID.to_owned(),
        vpc: vpc.to_owned(),
        zone: "eu-west-2a".to_owned(),
        cidr: "172.31.64.0/20".to_owned(),
        third_byte: 64,
        default: false,
        public,
        way,
    };
    lab.sandbox.with_account(|account, _| account.ec2.network.subnets.push(subnet));
    lab
}

fn in_it(more: &str) -> String {
    edited("volume          =", &format!("subnet = \"{ID}\"\n{more}\nvolume          ="))
}

/// What is in the way of the plan.
async fn conflicts(lab: &Lab, text: &str) -> Vec<String> {
    lab.plan(text).await.plan.conflicts.iter().map(|one| format!("{}: {} ({})", one.at, one.why, one.hint)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_subnet_without_a_way_to_ecs_is_in_the_plans_way() {
    for (public, way, more, works, says) in [
        (false, Way::Gateway, "", false, "say `public_ip = true`"),
        (true, Way::Gateway, "public_ip = false", false, "has no public address"),
        (false, Way::None, "public_ip = true", false, "no route leads out of its VPC"),
        (false, Way::Gateway, "public_ip = true", true, ""),
        (true, Way::Gateway, "", true, ""),
        (false, Way::Nat, "", true, ""),
    ] {
        let (lab, text) = (with(VPC, public, way), in_it(more));
        let found = conflicts(&lab, &text).await;
        assert_eq!(found.is_empty(), works, "{way:?} {more}: {found:?}");
        assert!(found.iter().all(|why| why.starts_with("instance.worker[S1]: ") && why.contains(says)), "{found:?}");
        assert_eq!(lab.apply(&text).await, if works { Exit::Done } else { Exit::Failed }, "{way:?} {more}");
        assert_eq!(lab.mutations().contains_key("ec2:RunInstances"), works, "{way:?} {more}");
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_of_ecs_are_a_way_too() {
    let lab = with(VPC, false, Way::None);
    let serve = |service: &str| {
        lab.sandbox.with_account(|account, _| account.ec2.network.endpoints.push((VPC.into(), service.into())));
    };
    serve("ecs");
    assert_eq!(conflicts(&lab, &in_it("")).await.len(), 1);
    serve("ecs-agent");
    assert_eq!(conflicts(&lab, &in_it("")).await, [""; 0]);
    assert_eq!(lab.apply(&in_it("")).await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn a_default_subnet_whose_public_addresses_were_switched_off_is_told_of() {
    let lab = Lab::new();
    let off = aws_sdk_ec2::types::AttributeBooleanValue::builder().value(false).build();
    let subnet =
        lab.sandbox.with_account(|account, _| seqstack::sandbox::ec2::network::all_subnets(account)[0].clone());
    let request = lab.aws().ec2.modify_subnet_attribute().subnet_id(&subnet.id).map_public_ip_on_launch(off);
    request.send().await.unwrap();
    assert!(conflicts(&lab, STACK).await[0].contains(&subnet.id));
    let elsewhere = edited("volume          =", "zones = [\"eu-west-2b\"]\nvolume          =");
    assert_eq!(conflicts(&lab, &elsewhere).await, [""; 0]);
    let public = edited("volume          =", "public_ip = true\nvolume          =");
    assert_eq!(lab.apply(&public).await, Exit::Done);
}

/// Where the routes may not be read, nothing is said of them; and an agent without a way to ECS never registers.
#[tokio::test(start_paused = true)]
async fn routes_that_may_not_be_read_are_in_no_plans_way() {
    let lab = with(VPC, false, Way::Gateway);
    let fates = |passing: &Passing| match passing.name.as_str() {
        "ec2:DescribeRouteTables" => Fate::Denied,
        _ => Fate::Pass,
    };
    let wire = Wire { fates: Some(Arc::new(fates)), ..lab.wire.clone() };
    let session = lab.session_over(wire, &in_it(""), None, true);
    let plan = prepare::converge(&session, &wish(), "plan").await.unwrap_or_else(|problem| panic!("{problem}"));
    assert!(plan.plan.conflicts.is_empty());
    let began = tokio::time::Instant::now();
    let end = seqstack::command::apply::apply(&session, &wish(), &yes()).await;
    assert_eq!(end.unwrap_or_else(|problem| panic!("{problem}")), Exit::Failed);
    assert!(began.elapsed() > Duration::from_secs(300) && lab.started().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_group_of_another_vpc_is_in_the_plans_way() {
    let lab = with(OTHER_VPC, true, Way::Gateway);
    let found = conflicts(&lab, &in_it("")).await;
    assert!(
        found.len() == 1 && found[0].contains(&format!("{ID} is in {OTHER_VPC}, and the security group")),
        "{found:?}"
    );
    let both = in_it("").replace("[security_group.ecs]", &format!("[security_group.ecs]\nvpc = \"{OTHER_VPC}\""));
    assert_eq!(conflicts(&lab, &both).await, [""; 0]);
    assert_eq!(lab.apply(&both).await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn ids_that_do_not_exist_are_told_all_at_once_before_anything_is_made() {
    let lab = Lab::new();
    let text = edited("security_groups = [\"ecs\"]", "security_groups = [\"sg-0000000000000000f\"]")
        .replace("[security_group.ecs]", "[security_group.ecs]\nvpc = \"vpc-0000000000000000f\"")
        .replace("service-role/AmazonECSTaskExecutionRolePolicy", "service-role/AmazonECSTaskExecutionPolicy")
        .replace("volume          =", "subnet = \"subnet-0000000000000000f\"\nvolume          =")
        .replace("execution_role = \"execution\"", "execution_role = \"arn:aws:iam::123456789012:role/none\"");
    let session = lab.session(&text, None, true);
    let told = match prepare::converge(&session, &wish(), "plan").await {
        Err(Problem { text, .. }) => text,
        Ok(_) => panic!("there is a plan"),
    };
    for line in [
        "instance.worker[S1]: there is no security group sg-0000000000000000f in eu-west-2",
        "instance.worker[S1]: there is no subnet subnet-0000000000000000f in eu-west-2",
        "security_group.ecs: there is no VPC vpc-0000000000000000f in eu-west-2",
        "role.execution: there is no managed policy arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionPolicy",
        "task_definition.tool: there is no role arn:aws:iam::123456789012:role/none",
    ] {
        assert!(told.contains(line), "{line}\n\n{told}");
    }
    assert!(lab.mutations().is_empty());
    // Another account's role cannot be looked up from this one.
    let theirs = edited("execution_role = \"execution\"", "execution_role = \"arn:aws:iam::210987654321:role/none\"");
    assert!(!steps(&lab.plan(&theirs).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_instance_profile_of_another_name_than_its_role_is_found() {
    let lab = Lab::new();
    let iam = lab.aws().iam;
    let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}"#;
    iam.create_role().role_name("lab-nodes").assume_role_policy_document(trust).send().await.unwrap();
    let arn = "arn:aws:iam::123456789012:role/lab-nodes";
    let managed = "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role";
    iam.attach_role_policy().role_name("lab-nodes").policy_arn(managed).send().await.unwrap();
    let without = STACK.replacen("[role.instance]", "[role.unused]", 1);
    let by_arn = without.replace("role            = \"instance\"", &format!("role            = \"{arn}\""));
    let session = lab.session(&by_arn, None, true);
    let told = match prepare::converge(&session, &wish(), "plan").await {
        Err(Problem { text, .. }) => text,
        Ok(_) => panic!("there is a plan"),
    };
    assert!(told.contains(&format!("instance.worker[S1]: the role {arn} has no instance profile")), "{told}");
    iam.create_instance_profile().instance_profile_name("made-by-terraform").send().await.unwrap();
    iam.add_role_to_instance_profile()
        .instance_profile_name("made-by-terraform")
        .role_name("lab-nodes")
        .send()
        .await
        .unwrap();
    assert_eq!(lab.apply(&by_arn).await, Exit::Done);
    let existing = without.replace("[role.unused]\ntrusts           = \"ec2.amazonaws.com\"\nattach           = [\"service-role/AmazonEC2ContainerServiceforEC2Role\"]\ninstance_profile = true", "[role.instance]\nexisting = \"lab-nodes\"");
    assert_ne!(existing, without);
    let again = existing.replace("call ${sample.name}", "call again ${sample.name}");
    assert_eq!(lab.apply(&again).await, Exit::Done);
}

/// What a call needs and AWS does not show (yet) is waited for, and that is told.
#[tokio::test(start_paused = true)]
async fn what_a_call_does_not_find_is_waited_for_aloud() {
    let lab = Lab::new();
    let text = edited("service-role/AmazonECSTaskExecutionRolePolicy", "arn:aws:iam::123456789012:policy/none");
    // Where policies may not be looked up, the plan does not know.
    let fates = |passing: &Passing| {
        let asks = passing.name == "iam:GetPolicy" && String::from_utf8_lossy(&passing.body).contains("none");
        if asks { Fate::Denied } else { Fate::Pass }
    };
    let wire = Wire { fates: Some(Arc::new(fates)), ..lab.wire.clone() };
    let session = lab.session_over(wire, &text, None, true);
    let end = seqstack::command::apply::apply(&session, &wish(), &yes()).await;
    assert_eq!(end.unwrap_or_else(|problem| panic!("{problem}")), Exit::Failed);
    let told = super::launches::waited(&lab);
    let told: Vec<_> = told.iter().filter(|text| text.contains("iam:AttachRolePolicy")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("waiting for AWS to see what iam:AttachRolePolicy lab-execution"), "{told:?}");
    assert!(told[0].contains("(iam:AttachRolePolicy: NoSuchEntity"), "{told:?}");
    assert!(told[0].ends_with(": 12 s so far, at most 1 min 47 s more"), "{told:?}");
}
