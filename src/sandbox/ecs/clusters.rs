//! Clusters, and when they may not be deleted.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tasks::Status;
use super::{Tags, arn, includes, invalid, last, local, paged, read_tags, shown_tags};
use crate::account::Account;
use crate::input::{list, text, texts};
use crate::service::{Answer, ApiError, Cx};

/// A cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    pub(super) name: String,
    pub(super) active: bool,
    pub(super) tags: Tags,
    settings: Value,
}

/// The name in what a request gives as a cluster: a name, an ARN, or nothing for `default`.
pub(super) fn name(account: &Account, input: &Value) -> String {
    let given = text(input, "cluster").filter(|given| !given.is_empty()).unwrap_or("default");
    last(local(account, given)).to_owned()
}

/// Whether there was a cluster of this name that is deleted now.
pub(super) fn deleted(account: &Account, name: &str) -> bool {
    account.ecs.clusters.iter().any(|cluster| cluster.name == name && !cluster.active)
}

/// The active cluster that a request names.
pub(super) fn active(account: &Account, input: &Value) -> Result<String, ApiError> {
    let name = name(account, input);
    match account.ecs.clusters.iter().find(|cluster| cluster.name == name) {
        Some(cluster) if cluster.active => Ok(name),
        Some(_) => Err(ApiError::new("ClusterNotFoundException", "The referenced cluster was inactive.")),
        None => Err(not_found()),
    }
}

fn not_found() -> ApiError {
    ApiError::new("ClusterNotFoundException", "Cluster not found.")
}

fn shown(account: &Account, cluster: &Cluster, tags: bool, settings: bool) -> Value {
    let state = &account.ecs;
    let tasks =
        |status| state.tasks.iter().filter(|task| task.cluster == cluster.name && task.status == status).count();
    let instances = state.container_instances.iter().filter(|one| one.cluster == cluster.name && one.registered());
    json!({
        "clusterArn": arn(account, &format!("cluster/{}", cluster.name)), "clusterName": cluster.name,
        "status": if cluster.active { "ACTIVE" } else { "INACTIVE" },
        "registeredContainerInstancesCount": instances.count(), "runningTasksCount": tasks(Status::Running),
        "pendingTasksCount": tasks(Status::Pending), "activeServicesCount": 0, "statistics": [],
        "tags": if tags { shown_tags(&cluster.tags) } else { json!([]) },
        "settings": if settings { cluster.settings.clone() } else { json!([]) },
        "capacityProviders": [], "defaultCapacityProviderStrategy": [],
    })
}

/// CreateCluster: a cluster that is there is quietly returned as it is.
pub(super) fn create(account: &mut Account, input: &Value) -> Answer {
    let name = text(input, "clusterName").filter(|name| !name.is_empty()).unwrap_or("default");
    if name.len() > 255 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(invalid("Cluster name can only contain letters, numbers, hyphens and underscores, at most 255."));
    }
    let tags = read_tags(input)?;
    let settings = match list(input, "settings") {
        [] => json!([{"name": "containerInsights", "value": "disabled"}]),
        given => json!(given),
    };
    let new = Cluster { name: name.to_owned(), active: true, tags, settings };
    match account.ecs.clusters.find_mut(|cluster| cluster.name == name) {
        Some(cluster) if cluster.active => {}
        Some(cluster) => {
            *cluster = new;
            // What was under the name before is not of the new cluster.
            account.ecs.tasks.retain(|task| task.cluster != name);
            account.ecs.tokens.retain(|token| token.cluster != name);
        }
        None => account.ecs.clusters.push(new),
    }
    let cluster = account.ecs.clusters.iter().find(|cluster| cluster.name == name).ok_or_else(not_found)?;
    Ok(json!({"cluster": shown(account, cluster, true, true)}))
}

/// DescribeClusters: deleted ones as `INACTIVE`.
pub(super) fn describe(account: &Account, input: &Value) -> Answer {
    let mut wanted = texts(input, "clusters");
    if wanted.is_empty() {
        wanted.push("default".to_owned());
    }
    if wanted.len() > 100 {
        return Err(invalid("clusters can have at most 100 items."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for given in &wanted {
        let name = last(local(account, given));
        match account.ecs.clusters.iter().find(|cluster| cluster.name == name) {
            Some(cluster) => {
                found.push(shown(account, cluster, includes(input, "TAGS"), includes(input, "SETTINGS")));
            }
            None => failures.push(json!({"arn": arn(account, &format!("cluster/{name}")), "reason": "MISSING"})),
        }
    }
    Ok(json!({"clusters": found, "failures": failures}))
}

/// ListClusters: the active ones.
pub(super) fn list_all(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let all = account.ecs.clusters.iter().filter(|cluster| cluster.active);
    let arns = all.map(|cluster| arn(account, &format!("cluster/{}", cluster.name))).collect();
    paged("clusterArns", arns, cx, input)
}

/// DeleteCluster.
pub(super) fn delete(account: &mut Account, input: &Value) -> Answer {
    let name = active(account, input)?;
    let state = &account.ecs;
    if state.container_instances.iter().any(|one| one.cluster == name && one.registered()) {
        return Err(ApiError::new(
            "ClusterContainsContainerInstancesException",
            "The Cluster cannot be deleted while Container Instances are active or draining.",
        ));
    }
    if state.tasks.iter().any(|task| task.cluster == name && task.holds()) {
        return Err(ApiError::new(
            "ClusterContainsTasksException",
            "The Cluster cannot be deleted while Tasks are active.",
        ));
    }
    let cluster = account.ecs.clusters.find_mut(|cluster| cluster.name == name).ok_or_else(not_found)?;
    cluster.active = false;
    let cluster = cluster.clone();
    Ok(json!({"cluster": shown(account, &cluster, true, true)}))
}
