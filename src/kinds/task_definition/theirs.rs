//! A task definition that somebody else registered, as far as a run needs it. It may have several containers.

use aws_sdk_ecs::types as ecs;
use serde::{Deserialize, Serialize};

/// The part of an `existing` definition's ids that is the JSON of a [`Theirs`]: no id, so nothing shows it.
pub const THEIRS: &str = "definition";

/// What a run needs to know of somebody else's task definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Theirs {
    /// CPU units that a task of it holds of its machine: its own, or what its containers have together.
    pub cpu: Option<i64>,
    /// MiB that a task of it holds of its machine: its own, or what its containers have together.
    pub memory: Option<i64>,
    /// GPUs that a task of it takes.
    #[serde(default)]
    pub gpus: Option<i64>,
    /// Its containers, in its order.
    pub containers: Vec<TheirContainer>,
}

/// One container of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TheirContainer {
    /// Its name.
    pub name: String,
    /// Whether the task ends when it does.
    pub essential: bool,
    /// Its log group and the prefix of its streams, where it has the `awslogs` driver; the prefix is empty where the
    /// stream has the name of the container's runtime id (ECS developer guide, "awslogs-stream-prefix").
    pub log: Option<(String, String)>,
}

impl Theirs {
    pub(super) fn of(found: &ecs::TaskDefinition) -> Self {
        let containers = found.container_definitions();
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok()).filter(|number| *number > 0);
        let sum = |each: &dyn Fn(&ecs::ContainerDefinition) -> Option<i32>| {
            Some(containers.iter().filter_map(each).map(i64::from).sum()).filter(|sum: &i64| *sum > 0)
        };
        // What a container reserves is what placement counts, where it reserves less than its limit (ECS API,
        // ContainerDefinition, memoryReservation).
        let memory = |one: &ecs::ContainerDefinition| one.memory_reservation().or(one.memory());
        let resources = containers.iter().flat_map(|one| one.resource_requirements());
        let gpus = resources.filter(|one| *one.r#type() == ecs::ResourceType::Gpu);
        let gpus = gpus.filter_map(|one| one.value().parse::<i64>().ok());
        Self {
            cpu: number(found.cpu()).or_else(|| sum(&|one| Some(one.cpu()))),
            memory: number(found.memory()).or_else(|| sum(&memory)),
            gpus: Some(gpus.sum()).filter(|gpus| *gpus > 0),
            containers: containers.iter().map(TheirContainer::of).collect(),
        }
    }

    /// The container that a step is for: the one that it names, else the only essential one.
    ///
    /// # Errors
    /// A sentence for the user, where that is none or cannot be told.
    pub fn container(&self, wanted: Option<&str>) -> Result<&TheirContainer, String> {
        let names = || self.containers.iter().map(|one| format!("`{}`", one.name)).collect::<Vec<_>>().join(", ");
        if let Some(wanted) = wanted {
            let found = self.containers.iter().find(|one| one.name == wanted);
            return found.ok_or_else(|| format!("it has no container `{wanted}`, but {}", names()));
        }
        let mut essential = self.containers.iter().filter(|one| one.essential);
        match (essential.next(), essential.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err("it has no container".to_owned()),
            (Some(first), Some(_)) => Err(format!(
                "it has several essential containers ({}): say in the step which of them it is, such as container = \"{}\"",
                names(),
                first.name
            )),
        }
    }
}

impl TheirContainer {
    fn of(found: &ecs::ContainerDefinition) -> Self {
        let log = found.log_configuration().filter(|log| *log.log_driver() == ecs::LogDriver::Awslogs);
        let log = log.and_then(|log| {
            let option = |name: &str| log.options().and_then(|options| options.get(name).cloned());
            Some((option("awslogs-group")?, option("awslogs-stream-prefix").unwrap_or_default()))
        });
        Self {
            name: found.name().unwrap_or_default().to_owned(),
            // Left out, it is essential (ECS API, ContainerDefinition).
            essential: found.essential() != Some(false),
            log,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(containers: &[(&str, bool)]) -> Theirs {
        let container = |(name, essential): &(&str, bool)| TheirContainer {
            name: (*name).to_owned(),
            essential: *essential,
            log: None,
        };
        Theirs { containers: containers.iter().map(container).collect(), ..Theirs::default() }
    }

    #[test]
    fn the_only_essential_container_is_meant_or_the_one_that_is_named() {
        let beside = definition(&[("metrics", false), ("aligner", true)]);
        assert_eq!(beside.container(None).unwrap().name, "aligner");
        assert_eq!(beside.container(Some("metrics")).unwrap().name, "metrics");
        assert!(beside.container(Some("x")).unwrap_err().contains("`metrics`, `aligner`"));
        let two = definition(&[("a", true), ("b", true)]);
        assert!(two.container(None).unwrap_err().contains("container = \"a\""));
        assert_eq!(two.container(Some("b")).unwrap().name, "b");
    }

    /// Sizes per container are what the task holds of its machine, where it has none of its own.
    #[test]
    fn sizes_are_the_tasks_or_those_of_its_containers() {
        let sized = |cpu, memory, reserved| {
            let one = ecs::ContainerDefinition::builder().name("x").cpu(cpu).set_memory(memory);
            one.set_memory_reservation(reserved).build()
        };
        let whole = ecs::TaskDefinition::builder()
            .container_definitions(sized(30, Some(100_000), None))
            .container_definitions(sized(0, Some(512), Some(128)));
        let theirs = Theirs::of(&whole.clone().build());
        assert_eq!((theirs.cpu, theirs.memory), (Some(30), Some(100_128)));
        let theirs = Theirs::of(&whole.cpu("1024").memory("2048").build());
        assert_eq!((theirs.cpu, theirs.memory), (Some(1024), Some(2048)));
    }
}
