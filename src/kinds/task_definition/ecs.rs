//! How ECS spells a task definition, both ways; finding and registering revisions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_ecs::config::retry::RetryConfig;
use aws_sdk_ecs::operation::describe_task_definition::DescribeTaskDefinitionOutput;
use aws_sdk_ecs::types as ecs;
use futures_util::future::{try_join, try_join_all, try_join3};
use tokio::time::Instant;

use super::{Call, Mount, Spec, State, THEIRS, Theirs, Tmpfs, Ulimit, family};
use crate::address::{Address, Ids, Link};
use crate::aws::absence::{OrAbsent, taken_away, unclear};
use crate::aws::trace::branch;
use crate::aws::wait::{Pace, until};
use crate::aws::{Aws, AwsError, Class, OrAws, tags};
use crate::kind::{Acting, Found, Owner, Reading};
use crate::kinds::key_pair::settled;

const GROUP: &str = "awslogs-group";

pub(super) fn ids(state: &State) -> Ids {
    let arn = state.arn.iter().map(|arn| ("arn".to_owned(), arn.clone()));
    arn.chain([("family".to_owned(), state.family.clone())]).collect()
}

/// A revision as ECS describes it, in normal form.
pub(super) fn state(found: &ecs::TaskDefinition, tags: &[ecs::Tag]) -> State {
    let mut other = BTreeSet::new();
    let mut note = |name: &str, there: bool| other.extend(there.then(|| name.to_owned()));
    let containers = found.container_definitions();
    note("no container", containers.is_empty());
    note("more containers", containers.len() > 1);
    let empty = ecs::ContainerDefinition::builder().build();
    let container = containers.first().unwrap_or(&empty);
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let memory = number(found.memory());

    let mode = found.network_mode();
    note("network_mode", mode.is_some_and(|mode| *mode != ecs::NetworkMode::Bridge));
    note("pid_mode", found.pid_mode().is_some());
    note("ipc_mode", found.ipc_mode().is_some());
    note("placement_constraints", !found.placement_constraints().is_empty());
    note("proxy_configuration", found.proxy_configuration().is_some());
    note("runtime_platform", found.runtime_platform().is_some());
    note("ephemeral_storage", found.ephemeral_storage().is_some());
    note("container memory", container.memory().map(i64::from) != memory);
    note("container cpu", container.cpu() != 0);
    note("memory_reservation", container.memory_reservation().is_some());
    note("not essential", container.essential() == Some(false));
    note("links", !container.links().is_empty());
    note("port_mappings", !container.port_mappings().is_empty());
    note("environment_files", !container.environment_files().is_empty());
    note("volumes_from", !container.volumes_from().is_empty());
    let linux = container.linux_parameters();
    note("linux_parameters", linux.is_some_and(others));
    note("depends_on", !container.depends_on().is_empty());
    note("timeouts", container.start_timeout().or(container.stop_timeout()).is_some());
    note("hostname", container.hostname().is_some());
    note("readonly_root_filesystem", container.readonly_root_filesystem() == Some(true));
    note("docker_labels", container.docker_labels().is_some_and(|labels| !labels.is_empty()));
    note("docker_security_options", !container.docker_security_options().is_empty());
    note("health_check", container.health_check().is_some());
    let (gpus, resources): (Vec<_>, Vec<_>) =
        container.resource_requirements().iter().partition(|one| *one.r#type() == ecs::ResourceType::Gpu);
    note("resource_requirements", !resources.is_empty());
    note("repository_credentials", container.repository_credentials().is_some());
    let log = container.log_configuration();
    note("log driver", log.is_some_and(|log| *log.log_driver() != ecs::LogDriver::Awslogs));
    let mut log_options: BTreeMap<String, String> = log
        .and_then(|log| log.options())
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let log_group = log_options.remove(GROUP).map(|group| Link::theirs("log_group", group));

    let host = |volume: &str| {
        let volume = found.volumes().iter().find(|one| one.name() == Some(volume))?;
        volume.host().and_then(|host| host.source_path()).map(str::to_owned)
    };
    let mounts = container.mount_points().iter().map(|point| Mount {
        host: point.source_volume().and_then(host).unwrap_or_default(),
        container: point.container_path().unwrap_or_default().to_owned(),
        read_only: point.read_only().unwrap_or_default(),
    });
    let mounts: BTreeSet<Mount> = mounts.collect();
    note("other volumes", found.volumes().len() != mounts.len());
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let filled = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let variable = |one: &ecs::KeyValuePair| (text(one.name()), text(one.value()));
    State {
        family: text(found.family()),
        container: text(container.name()),
        image: text(container.image()),
        entry_point: container.entry_point().to_vec(),
        command: container.command().to_vec(),
        environment: container.environment().iter().map(variable).collect(),
        secrets: container.secrets().iter().map(|one| (one.name().to_owned(), one.value_from().to_owned())).collect(),
        user: filled(container.user()),
        working_dir: filled(container.working_directory()),
        cpu: number(found.cpu()),
        memory,
        mounts,
        execution_role: filled(found.execution_role_arn()).map(|arn| Link::theirs("role", arn)),
        task_role: filled(found.task_role_arn()).map(|arn| Link::theirs("role", arn)),
        log_group,
        log_options,
        privileged: container.privileged().unwrap_or_default(),
        gpus: gpus.first().and_then(|one| one.value().parse().ok()),
        ulimits: container.ulimits().iter().map(ulimit).collect(),
        shared_memory_mib: linux.and_then(|linux| linux.shared_memory_size()).map(i64::from),
        tmpfs: linux.map(|linux| linux.tmpfs()).unwrap_or_default().iter().map(tmpfs).collect(),
        init: linux.and_then(|linux| linux.init_process_enabled()).unwrap_or_default(),
        other,
        older: BTreeSet::new(),
        inactive: BTreeSet::new(),
        arn: found.task_definition_arn().map(str::to_owned),
        tags: tags::from_ecs(tags),
    }
}

/// Whether there is something in it that a stack file cannot ask for.
fn others(linux: &ecs::LinuxParameters) -> bool {
    let options = |one: &ecs::Tmpfs| !one.mount_options().is_empty();
    linux.capabilities().is_some_and(|all| !all.add().is_empty() || !all.drop().is_empty())
        || !linux.devices().is_empty()
        || linux.max_swap().is_some()
        || linux.swappiness().is_some()
        || linux.tmpfs().iter().any(options)
}

fn ulimit(found: &ecs::Ulimit) -> Ulimit {
    let (soft, hard) = (i64::from(found.soft_limit()), i64::from(found.hard_limit()));
    Ulimit { name: found.name().as_str().to_owned(), soft, hard }
}

fn tmpfs(found: &ecs::Tmpfs) -> Tmpfs {
    Tmpfs { container: found.container_path().to_owned(), size_mib: i64::from(found.size()) }
}

const REGISTER: &str = "ecs:RegisterTaskDefinition";
/// How long ECS may take to show a revision whose registration was not answered.
const SHOWN: Duration = Duration::from_secs(15);

/// The container of a definition, as it is registered.
fn container(definition: &State) -> Result<ecs::ContainerDefinition, AwsError> {
    let unbuilt = |error: aws_smithy_types::error::operation::BuildError| tags::unbuilt(REGISTER, &error);
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let small = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    let mut out = ecs::ContainerDefinition::builder()
        .name(&definition.container)
        .image(&definition.image)
        .essential(true)
        .privileged(definition.privileged)
        .set_entry_point(some(&definition.entry_point))
        .set_command(some(&definition.command))
        .set_user(definition.user.clone())
        .set_working_directory(definition.working_dir.clone())
        .set_memory(definition.memory.and_then(|memory| i32::try_from(memory).ok()));
    for (name, value) in &definition.environment {
        out = out.environment(ecs::KeyValuePair::builder().name(name).value(value).build());
    }
    for (name, from) in &definition.secrets {
        out = out.secrets(ecs::Secret::builder().name(name).value_from(from).build().map_err(unbuilt)?);
    }
    for (index, mount) in definition.mounts.iter().enumerate() {
        let point = ecs::MountPoint::builder().source_volume(volume_name(index)).container_path(&mount.container);
        out = out.mount_points(point.read_only(mount.read_only).build());
    }
    for limit in &definition.ulimits {
        let limits = ecs::Ulimit::builder().name(ecs::UlimitName::from(limit.name.as_str()));
        out = out.ulimits(limits.soft_limit(small(limit.soft)).hard_limit(small(limit.hard)).build().map_err(unbuilt)?);
    }
    if let Some(gpus) = definition.gpus {
        let gpus = ecs::ResourceRequirement::builder().r#type(ecs::ResourceType::Gpu).value(gpus.to_string());
        out = out.resource_requirements(gpus.build().map_err(unbuilt)?);
    }
    if definition.init || definition.shared_memory_mib.is_some() || !definition.tmpfs.is_empty() {
        let mut linux = ecs::LinuxParameters::builder()
            .set_init_process_enabled(definition.init.then_some(true))
            .set_shared_memory_size(definition.shared_memory_mib.map(small));
        for folder in &definition.tmpfs {
            let folder = ecs::Tmpfs::builder().container_path(&folder.container).size(small(folder.size_mib));
            linux = linux.tmpfs(folder.build().map_err(unbuilt)?);
        }
        out = out.linux_parameters(linux.build());
    }
    if let Some(group) = &definition.log_group {
        let group = settled(REGISTER, &definition.family, group)?;
        let mut log = ecs::LogConfiguration::builder().log_driver(ecs::LogDriver::Awslogs).options(GROUP, group);
        for (key, value) in &definition.log_options {
            log = log.options(key, value);
        }
        out = out.log_configuration(log.build().map_err(unbuilt)?);
    }
    Ok(out.build())
}

fn volume_name(index: usize) -> String {
    format!("volume-{}", index + 1)
}

/// Registers a revision, once: there is neither a name nor a token that a second attempt could run into, so each
/// attempt looks first whether the newest revision is what is wanted already.
async fn register(cx: &Acting, at: &Address, definition: &State) -> Result<Ids, AwsError> {
    let role = |link: &Option<Link>| link.as_ref().map(|link| settled(REGISTER, &definition.family, link)).transpose();
    let volumes = definition.mounts.iter().enumerate().map(|(index, mount)| {
        let host = ecs::HostVolumeProperties::builder().source_path(&mount.host).build();
        ecs::Volume::builder().name(volume_name(index)).host(host).build()
    });
    let request = cx
        .aws
        .ecs
        .register_task_definition()
        .family(&definition.family)
        .container_definitions(container(definition)?)
        .requires_compatibilities(ecs::Compatibility::Ec2)
        .set_cpu(definition.cpu.map(|cpu| cpu.to_string()))
        .set_memory(definition.memory.map(|memory| memory.to_string()))
        .set_execution_role_arn(role(&definition.execution_role)?)
        .set_task_role_arn(role(&definition.task_role)?)
        .set_volumes(Some(volumes.collect()))
        .set_tags(tags::to_ecs(&definition.tags));
    // A role just made is not everywhere at once (terraform-aws-ecs #414).
    let passing = |error: &AwsError| {
        let text = error.message.to_lowercase();
        unclear(error) || text.contains("unable to assume") || text.contains("role is not valid")
    };
    let unclear_since: Mutex<Option<Instant>> = Mutex::new(None);
    until(Pace::SETTLING, REGISTER, "the role to be usable", passing, || async {
        if let Some(newest) = newest(&cx.aws, &definition.family).await?
            && newest.content() == definition.content()
            && newest.tags == definition.tags
            && newest.arn.as_ref().is_none_or(|arn| !definition.older.contains(arn))
        {
            return Ok(Some(ids(&newest)));
        }
        // One that may have been heard is looked for first, for as long as ECS may take to show it.
        if unclear_since.lock().is_ok_and(|since| since.is_some_and(|since| since.elapsed() < SHOWN)) {
            return Ok(None);
        }
        let once = aws_sdk_ecs::config::Config::builder().retry_config(RetryConfig::disabled());
        let answer = request.clone().customize().config_override(once).send().await.or_aws(REGISTER);
        if let (Err(error), Ok(mut since)) = (&answer, unclear_since.lock()) {
            *since = (error.class == Class::Passing).then(Instant::now);
        }
        let answer = answer?;
        let Some(made) = answer.task_definition else {
            return Err(AwsError::refused(REGISTER, format!("the answer for {at} has no task definition")));
        };
        Ok(Some(ids(&state(&made, answer.tags.as_deref().unwrap_or_default()))))
    })
    .await
}

/// The newest active revision of a family, or one revision by ARN; `None` if there is none.
async fn newest(aws: &Aws, family: &str) -> Result<Option<State>, AwsError> {
    let answer = described(aws, family).await?;
    Ok(answer.and_then(|answer| Some(state(answer.task_definition()?, answer.tags()))))
}

/// Somebody else's revision, with what a run needs to know of it; `None` if there is none that runs.
pub(super) async fn find_existing(aws: &Aws, existing: &str) -> Result<Option<Ids>, AwsError> {
    let answer = described(aws, existing).await?;
    let found = answer.as_ref().and_then(|answer| answer.task_definition());
    let Some(found) = found.filter(|found| found.status() != Some(&ecs::TaskDefinitionStatus::Inactive)) else {
        return Ok(None);
    };
    let theirs = serde_json::to_string(&Theirs::of(found)).unwrap_or_default();
    let ids = ids(&state(found, &[]));
    Ok(Some(ids.into_iter().chain([(THEIRS.to_owned(), theirs)]).collect()))
}

async fn described(aws: &Aws, family: &str) -> Result<Option<DescribeTaskDefinitionOutput>, AwsError> {
    let request = aws.ecs.describe_task_definition().task_definition(family).include(ecs::TaskDefinitionField::Tags);
    let asked = request.send().await.or_aws("ecs:DescribeTaskDefinition");
    // ECS has no error of its own for a family that is not there.
    let absent = |error: &AwsError| {
        error.is(&["ClientException"]) && error.message.to_lowercase().contains("unable to describe task definition")
    };
    asked.or_absent_if(absent)
}

/// ARNs of a family's revisions with this status.
async fn revisions(aws: &Aws, family: &str, status: ecs::TaskDefinitionStatus) -> Result<BTreeSet<String>, AwsError> {
    let listing = aws.ecs.list_task_definitions().family_prefix(family).status(status);
    let mut pages = listing.into_paginator().send();
    let mut out = BTreeSet::new();
    while let Some(page) = pages.next().await {
        out.extend(page.or_aws("ecs:ListTaskDefinitions")?.task_definition_arns.unwrap_or_default());
    }
    Ok(out)
}

/// Families with a revision that is not deleted.
async fn families(aws: &Aws, prefix: &str) -> Result<BTreeSet<String>, AwsError> {
    let listing = aws.ecs.list_task_definition_families().family_prefix(prefix);
    let mut pages = listing.status(ecs::TaskDefinitionFamilyStatus::All).into_paginator().send();
    let mut out = BTreeSet::new();
    while let Some(page) = pages.next().await {
        out.extend(page.or_aws("ecs:ListTaskDefinitionFamilies")?.families.unwrap_or_default());
    }
    Ok(out)
}

/// A family's newest revision, and the others that are active or deregistered. Where none is active, the last of the
/// deregistered ones without its ARN.
async fn whole(aws: &Aws, family: &str) -> Result<Option<State>, AwsError> {
    use ecs::TaskDefinitionStatus::{Active, Inactive};

    let (newest_active, active, inactive) = try_join3(
        branch(newest(aws, family)),
        branch(revisions(aws, family, Active)),
        branch(revisions(aws, family, Inactive)),
    )
    .await?;
    let state = match (newest_active, inactive.last()) {
        (None, Some(arn)) => newest(aws, arn).await?.map(|state| State { arn: None, ..state }),
        (state, _) => state,
    };
    Ok(state.map(|mut state| {
        state.older = active.into_iter().filter(|arn| Some(arn) != state.arn.as_ref()).collect();
        state.inactive = inactive;
        state
    }))
}

pub(super) async fn list(cx: Reading<'_>, wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
    let names: BTreeMap<String, &Address> = wanted.iter().map(|(at, spec)| (family(spec, at, cx.stack), at)).collect();
    let prefix = format!("{}--", cx.stack.name);
    let named = names.keys().map(|family| branch(whole(cx.aws, family)));
    let (named, listed) = try_join(branch(try_join_all(named)), branch(families(cx.aws, &prefix))).await?;
    let others =
        listed.iter().filter(|family| !names.contains_key(*family)).map(|family| branch(whole(cx.aws, family)));
    let others = branch(try_join_all(others)).await?;
    let found = named.into_iter().chain(others).flatten().filter_map(|state| {
        let (mut owner, tagged) = cx.stack.owner(&state.tags);
        let wanted = names.get(&state.family).map(|at| (*at).clone());
        if wanted.is_none() && !matches!(owner, Owner::Ours | Owner::Adopted) {
            return None;
        }
        let at = wanted.or(tagged)?;
        if state.arn.is_none() {
            // Deregistered ones of somebody else's are in nobody's way.
            if owner != Owner::Ours {
                return None;
            }
            owner = Owner::Remains;
        }
        Some(Found { at, ids: ids(&state), owner, state })
    });
    Ok(found.collect())
}

pub(super) async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
    let aws = &cx.aws;
    match call {
        Call::RegisterTaskDefinition { at, definition } => return register(&cx, &at, &definition).await,
        Call::TagResource { arn, tags } => {
            tags::set_ecs(aws, &settled("ecs:TagResource", "the revision", &arn)?, &tags).await?;
        }
        Call::UntagResource { arn, keys } => {
            tags::remove_ecs(aws, &settled("ecs:UntagResource", "the revision", &arn)?, keys).await?;
        }
        Call::DeregisterTaskDefinition { arn } => {
            const NAME: &str = "ecs:DeregisterTaskDefinition";
            let says = |error: &AwsError, texts: &[&str]| {
                let message = error.message.to_lowercase();
                error.is(&["ClientException", "InvalidParameterException"])
                    && texts.iter().any(|text| message.contains(text))
            };
            let unknown = |error: &AwsError| says(error, &["unable to describe task definition", "not found"]);
            let sent = taken_away(&*cx.say, NAME, &arn, unknown, || {
                let request = aws.ecs.deregister_task_definition().task_definition(&arn);
                async move { request.send().await.or_aws(NAME) }
            });
            // Deregistered, or deleted, by an earlier attempt.
            let gone =
                |error: &AwsError| says(error, &["inactive", "delete_in_progress", "in the process of being deleted"]);
            sent.await.or_absent_if(gone)?;
        }
        Call::DeleteTaskDefinitions { arns } => {
            const NAME: &str = "ecs:DeleteTaskDefinitions";
            let answer =
                aws.ecs.delete_task_definitions().set_task_definitions(Some(arns)).send().await.or_aws(NAME)?;
            let told = |reason: &str| reason.contains("MISSING") || reason.contains("DELETE_IN_PROGRESS");
            let failed = answer.failures().iter().find(|failure| !failure.reason().is_some_and(told));
            if let Some(failure) = failed {
                let (arn, why) = (failure.arn().unwrap_or_default(), failure.reason().unwrap_or("no reason given"));
                return Err(AwsError::refused(NAME, format!("{arn}: {why}")));
            }
        }
    }
    Ok(Ids::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Tags;

    /// What ECS fills in by itself is no difference.
    #[test]
    fn a_definition_reads_back_as_it_was_registered() {
        let registered = State {
            family: "germline--bwa".to_owned(),
            container: "bwa".to_owned(),
            image: "biocontainers/bwa".to_owned(),
            entry_point: vec!["bwa".to_owned()],
            command: vec!["mem".to_owned()],
            environment: [("A".to_owned(), "1".to_owned())].into(),
            secrets: [("B".to_owned(), "arn:aws:ssm:eu-west-2:123456789012:parameter/b".to_owned())].into(),
            user: Some("1000".to_owned()),
            working_dir: Some("/data".to_owned()),
            cpu: Some(1024),
            memory: Some(2048),
            mounts: [Mount { host: "/h".to_owned(), container: "/data".to_owned(), read_only: false }].into(),
            execution_role: Some(Link::theirs("role", "arn:aws:iam::123456789012:role/e")),
            task_role: None,
            log_group: Some(Link::theirs("log_group", "/seqstack/germline/pipeline")),
            log_options: [("mode".to_owned(), "blocking".to_owned())].into(),
            privileged: false,
            gpus: Some(1),
            ulimits: [Ulimit { name: "nofile".to_owned(), soft: 1024, hard: 65_536 }].into(),
            shared_memory_mib: Some(1024),
            tmpfs: [Tmpfs { container: "/scratch".to_owned(), size_mib: 64 }].into(),
            init: true,
            other: BTreeSet::new(),
            older: BTreeSet::new(),
            inactive: BTreeSet::new(),
            arn: None,
            tags: Tags::new(),
        };
        let back = ecs::TaskDefinition::builder()
            .family("germline--bwa")
            .container_definitions(container(&registered).unwrap())
            .volumes(
                ecs::Volume::builder()
                    .name("volume-1")
                    .host(ecs::HostVolumeProperties::builder().source_path("/h").build())
                    .build(),
            )
            .cpu("1024")
            .memory("2048")
            .network_mode(ecs::NetworkMode::Bridge)
            .compatibilities(ecs::Compatibility::External)
            .compatibilities(ecs::Compatibility::Ec2)
            .set_placement_constraints(Some(Vec::new()))
            .execution_role_arn("arn:aws:iam::123456789012:role/e")
            .build();
        assert_eq!(state(&back, &[]), registered);
        let by_hand = ecs::TaskDefinition::builder().network_mode(ecs::NetworkMode::Host).build();
        assert!(state(&by_hand, &[]).other.contains("network_mode"));
    }
}
