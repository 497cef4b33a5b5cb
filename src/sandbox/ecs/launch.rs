//! A task definition with its overrides becomes what the engine is to start.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::normal;
use crate::account::{Account, Credentials};
use crate::engine::{Launch, More};
use crate::images;
use crate::input::{flag, list, number, text, texts};
use crate::service::Cx;
use crate::user_data::UserData;

/// A task definition's body, and RunTask's overrides of it.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    /// The task definition's body.
    pub(super) body: &'a Value,
    /// RunTask's `overrides`.
    pub(super) overrides: &'a Value,
}

/// One container of it, and the override for it.
pub(super) struct Part<'a> {
    task: Written<'a>,
    definition: &'a Value,
    own: &'a Value,
}

impl<'a> Written<'a> {
    pub(super) fn parts(self) -> impl Iterator<Item = Part<'a>> {
        list(self.body, "containerDefinitions").iter().map(move |definition| {
            let name = text(definition, "name");
            let own = list(self.overrides, "containerOverrides").iter().find(|one| text(one, "name") == name);
            Part { task: self, definition, own: own.unwrap_or(&Value::Null) }
        })
    }

    /// A text that a task-level override may replace: a role, the cpu, the memory.
    pub(super) fn task_text(self, member: &str) -> Option<&'a str> {
        text(self.overrides, member).or_else(|| text(self.body, member)).filter(|value| !value.is_empty())
    }

    /// The task's share of its machine, cpu units and MiB: its own, or what its containers have together.
    pub(super) fn share(self) -> (i64, i64) {
        let cpu = self.task_text("cpu").and_then(|cpu| normal::size(cpu, 1024));
        let memory = self.task_text("memory").and_then(|memory| normal::size(memory, 1024));
        let cpus = self.parts().filter_map(|part| part.number("cpu")).sum();
        let memories =
            self.parts().filter_map(|part| part.number("memoryReservation").or_else(|| part.number("memory")));
        (cpu.unwrap_or(cpus), memory.unwrap_or_else(|| memories.sum()))
    }
}

impl Part<'_> {
    pub(super) fn name(&self) -> &str {
        text(self.definition, "name").unwrap_or_default()
    }

    /// Whether the task ends when it does.
    pub(super) fn essential(&self) -> bool {
        flag(self.definition, "essential") != Some(false)
    }

    /// A number of the container's, by its override first.
    pub(super) fn number(&self, member: &str) -> Option<i64> {
        number(self.own, member).or_else(|| number(self.definition, member))
    }

    /// The container's hard limit, MiB; the task's where the container has none.
    fn hard_limit(&self) -> i64 {
        let task = self.task.task_text("memory").and_then(|memory| normal::size(memory, 1024));
        self.number("memory").or(task).or_else(|| self.number("memoryReservation")).unwrap_or(0)
    }

    /// Group and stream of the awslogs driver, and whether it makes the group.
    pub(super) fn log(&self, task: &str, id: &str) -> Option<(String, String, bool)> {
        let log = self.definition.get("logConfiguration").filter(|log| text(log, "logDriver") == Some("awslogs"))?;
        let options = log.get("options")?;
        let group = text(options, "awslogs-group")?.to_owned();
        let stream = match text(options, "awslogs-stream-prefix") {
            Some(prefix) => format!("{prefix}/{}/{task}", self.name()),
            None => id.to_owned(),
        };
        Some((group, stream, text(options, "awslogs-create-group") == Some("true")))
    }

    fn environment(&self) -> BTreeMap<String, String> {
        list(self.definition, "environment")
            .iter()
            .chain(list(self.own, "environment"))
            .filter_map(|one| Some((text(one, "name")?.to_owned(), text(one, "value").unwrap_or_default().to_owned())))
            .collect()
    }

    /// The values of secrets, of which the sandbox has the public parameters; or why the task cannot start.
    fn secrets(&self, region: &str) -> Result<Vec<(String, String)>, String> {
        list(self.definition, "secrets")
            .iter()
            .map(|one| {
                let from = text(one, "valueFrom").unwrap_or_default();
                let parameter = from.split_once(":parameter").map_or(from, |(_, name)| name);
                let image = images::by_parameter(region, parameter).ok_or_else(|| {
                    format!(
                        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource \
                         retrieval failed: unable to retrieve secrets from ssm: service call has been retried 1 \
                         time(s): invalid parameters: {parameter}"
                    )
                })?;
                Ok((text(one, "name").unwrap_or_default().to_owned(), image.id.clone()))
            })
            .collect()
    }

    fn mounts(&self, task: &str) -> Vec<(String, String, bool)> {
        let volumes = list(self.task.body, "volumes");
        list(self.definition, "mountPoints")
            .iter()
            .filter_map(|mount| {
                let source = text(mount, "sourceVolume")?;
                let volume = volumes.iter().find(|volume| text(volume, "name") == Some(source))?;
                let host = volume
                    .pointer("/host/sourcePath")
                    .and_then(Value::as_str)
                    .map_or_else(|| format!("/var/lib/docker/volumes/ecs-{task}-{source}/_data"), str::to_owned);
                let read_only = flag(mount, "readOnly").unwrap_or(false);
                Some((host, text(mount, "containerPath")?.to_owned(), read_only))
            })
            .collect()
    }

    /// What the engine is to start, under the name `process`; or why the container cannot be.
    pub(super) fn launch(
        &self,
        account: &Account,
        cx: &Cx,
        (task, process, instance): (&str, &str, &str),
        credentials: Option<&Credentials>,
    ) -> Result<Launch, String> {
        let container = self.definition;
        if self.gpus() > 0 {
            return Err("CannotStartContainerError: could not select device driver with capabilities: [[gpu]] (the \
                        sandbox has no GPUs)"
                .to_owned());
        }
        let mut environment = self.environment();
        environment.extend(self.secrets(&account.region)?);
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            environment.entry(name.to_owned()).or_insert_with(|| account.region.clone());
        }
        environment.insert("AWS_ENDPOINT_URL".to_owned(), cx.endpoint.clone());
        environment.insert("AWS_EXECUTION_ENV".to_owned(), "AWS_ECS_EC2".to_owned());
        environment.extend(credentials.map(|credentials| credentials.environment(cx, task)).into_iter().flatten());
        let host = account.ec2.instances.iter().find(|host| host.id == instance);
        let words = |of: &Value, member: &str| Some(texts(of, member)).filter(|words| !words.is_empty());
        Ok(Launch {
            task: process.to_owned(),
            instance: instance.to_owned(),
            image: text(container, "image").unwrap_or_default().to_owned(),
            entry_point: words(container, "entryPoint"),
            command: words(self.own, "command").or_else(|| words(container, "command")),
            environment,
            user: text(container, "user").filter(|user| !user.is_empty()).map(str::to_owned),
            working_dir: text(container, "workingDirectory").filter(|dir| !dir.is_empty()).map(str::to_owned),
            mounts: self.mounts(task),
            folders: host.map(|host| UserData::of(host.user_data.as_deref()).folders()).unwrap_or_default(),
            memory_mib: u64::try_from(self.hard_limit()).unwrap_or(0),
            more: self.more(),
        })
    }

    fn more(&self) -> More {
        let linux = self.definition.get("linuxParameters").unwrap_or(&Value::Null);
        let size = |of: &Value, member: &str| number(of, member).unwrap_or_default();
        let named = |of: &Value, member: &str| text(of, member).unwrap_or_default().to_owned();
        let limit = |one: &Value| (named(one, "name"), size(one, "softLimit"), size(one, "hardLimit"));
        More {
            privileged: flag(self.definition, "privileged") == Some(true),
            ulimits: list(self.definition, "ulimits").iter().map(limit).collect(),
            shared_memory_mib: number(linux, "sharedMemorySize"),
            tmpfs: list(linux, "tmpfs").iter().map(|one| (named(one, "containerPath"), size(one, "size"))).collect(),
            init: flag(linux, "initProcessEnabled") == Some(true),
        }
    }

    /// GPUs that the container asks for.
    pub(super) fn gpus(&self) -> u64 {
        let all = list(self.definition, "resourceRequirements").iter().filter(|one| text(one, "type") == Some("GPU"));
        all.filter_map(|one| text(one, "value")?.parse::<u64>().ok()).sum()
    }

    /// The members of the container that DescribeTasks shows.
    pub(super) fn shown(&self) -> Value {
        let mut shown = json!({
            "name": self.name(), "image": text(self.definition, "image"),
            "cpu": self.number("cpu").unwrap_or(0).to_string(),
        });
        for member in ["memory", "memoryReservation"] {
            if let Some(mib) = self.number(member) {
                shown[member] = json!(mib.to_string());
            }
        }
        shown
    }
}
