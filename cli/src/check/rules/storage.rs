//! Volumes: classes in pairs, the node's claim, the claim that the engine makes and the snapshotter mounts.

use super::Context;
use crate::check::finding::Report;
use crate::check::objects::{Object, Part, Rendered};

/// What the driver of GCE's disks takes in a VolumeSnapshotClass; anything else is an error at the first snapshot.
const SNAPSHOT_PARAMETERS: [&str; 5] =
    ["snapshot-type", "image-family", "storage-locations", "labels", "resource-tags"];

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    let cluster: Vec<_> =
        of_part(context, Part::Cluster).flat_map(|rendered| rendered.objects.iter().copied()).collect();
    let storage: Vec<_> = cluster.iter().filter(|one| one.kind() == "StorageClass").copied().collect();
    let snapshot: Vec<_> = cluster.iter().filter(|one| one.kind() == "VolumeSnapshotClass").copied().collect();
    for class in &snapshot {
        snapshot_class(*class, &storage, report);
    }
    for class in &storage {
        storage_class(*class, report);
    }
    for rendered in of_part(context, Part::Target) {
        used_classes(rendered, context, &storage, &snapshot, report);
        claims(rendered, context, report);
        priorities(rendered, &cluster, report);
    }
    for rendered in of_part(context, Part::Publisher) {
        priorities(rendered, &cluster, report);
    }
}

fn of_part<'a>(context: &'a Context<'a>, part: Part) -> impl Iterator<Item = &'a Rendered<'a>> {
    context.rendered.iter().filter(move |rendered| rendered.part == part)
}

fn snapshot_class(class: Object<'_>, storage: &[Object<'_>], report: &mut Report) {
    let driver = class.root.text_at("driver").unwrap_or_default();
    if !storage.iter().any(|one| one.root.text_at("provisioner") == Some(driver)) {
        let drivers: Vec<_> = storage.iter().filter_map(|one| one.root.text_at("provisioner")).collect();
        report.add(
            class.at("driver"),
            format!("{}: the driver {driver:?} makes no volume of ours", class.title()),
            format!("the provisioner of a StorageClass: {}", drivers.join(", ")),
            "a volume can only be snapshotted by the driver that made it",
        );
    }
    let policy = class.root.text_at("deletionPolicy");
    if policy != Some("Delete") {
        let what = format!("{}: deletionPolicy is {}", class.title(), policy.unwrap_or("not set"));
        report.add(
            class.at("deletionPolicy"),
            what,
            "Delete: otherwise the disk's image stays and is paid for",
            "set Delete",
        );
    }
    if !driver.contains("pd.csi") {
        return;
    }
    for (key, value) in class.root.get("parameters").map_or(&[][..], |map| map.entries()) {
        if !SNAPSHOT_PARAMETERS.contains(&key.as_str()) {
            let what = format!("{}: {driver} has no parameter {key}", class.title());
            report.add(
                (class.file, value.line),
                what,
                format!("one of {}", SNAPSHOT_PARAMETERS.join(", ")),
                "remove it",
            );
        }
    }
}

fn storage_class(class: Object<'_>, report: &mut Report) {
    let must = [
        ("volumeBindingMode", "WaitForFirstConsumer", "the volume is made in the zone of its pod"),
        ("allowVolumeExpansion", "true", "a chain outgrows its volume"),
        ("reclaimPolicy", "Delete", "a volume that stays after its claim is paid for"),
    ];
    for (key, expected, why) in must {
        let found = class.root.text_at(key);
        // Kubernetes' default.
        if found == Some(expected) || (key == "reclaimPolicy" && found.is_none()) {
            continue;
        }
        let what = format!("{}: {key} is {}", class.title(), found.unwrap_or("not set"));
        report.add(class.at(key), what, format!("{expected}: {why}"), format!("set {key}: {expected}"));
    }
}

fn names(objects: &[Object<'_>]) -> String {
    objects.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ")
}

/// Classes that claims and the engine name are in `cluster.yaml`.
fn used_classes(
    rendered: &Rendered<'_>,
    context: &Context<'_>,
    storage: &[Object<'_>],
    snapshot: &[Object<'_>],
    report: &mut Report,
) {
    let mut check = |at: (&str, usize), name: &str, classes: &[Object<'_>], kind: &str| {
        if !classes.iter().any(|class| class.name() == name) {
            let what = format!("{kind} {name:?} is not there");
            report.add(
                at,
                what,
                format!("one of cluster.yaml: {}", names(classes)),
                "correct the name, or add the class",
            );
        }
    };
    for object in &rendered.objects {
        let templates = object.root.items_at("spec.volumeClaimTemplates").iter();
        let own = Some(object.root).filter(|_| object.kind() == "PersistentVolumeClaim");
        for claim in templates.chain(own) {
            let name = claim.text_at("spec.storageClassName").unwrap_or_default();
            check((object.file, claim.line_at("spec.storageClassName")), name, storage, "StorageClass");
        }
        for container in object.pod().map(|pod| pod.containers()).unwrap_or_default() {
            if context.code.in_image(container.image_name()).is_none() {
                continue;
            }
            for variable in container.variables(&rendered.objects) {
                match (variable.name, variable.value()) {
                    ("POLKASHOTS_STORAGE_CLASS", Some(name)) => check(variable.at(), name, storage, "StorageClass"),
                    ("POLKASHOTS_SNAPSHOT_CLASS", Some(name)) => {
                        check(variable.at(), name, snapshot, "VolumeSnapshotClass")
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The engine snapshots the claim that the StatefulSet makes; the snapshotter mounts the one that the engine makes.
fn claims(rendered: &Rendered<'_>, context: &Context<'_>, report: &mut Report) {
    let sets = rendered.objects.iter().filter(|object| object.kind() == "StatefulSet");
    let made: Vec<_> = sets
        .flat_map(|set| {
            let templates = set.root.items_at("spec.volumeClaimTemplates").iter();
            templates.filter_map(|claim| Some(format!("{}-{}-0", claim.text_at("metadata.name")?, set.name())))
        })
        .collect();
    for pod in rendered.objects.iter().filter_map(|object| object.pod()) {
        for container in pod.containers() {
            let Some(binary) = context.code.in_image(container.image_name()) else {
                continue;
            };
            let variables = container.variables(&rendered.objects);
            let given = variables.iter().find(|variable| variable.name == "POLKASHOTS_SOURCE_CLAIM");
            let default = binary.setting("POLKASHOTS_SOURCE_CLAIM").and_then(|setting| setting.default.as_deref());
            let source = given.and_then(|variable| variable.value()).or(default);
            if let Some(source) = source.filter(|source| !made.iter().any(|name| name == source)) {
                report.add(
                    given.map_or(container.at("env"), |variable| variable.at()),
                    format!("the engine snapshots the claim {source:?}"),
                    format!("the node's: {}", made.join(", ")),
                    "a StatefulSet names claims <template>-<set>-0",
                );
            }
        }
        for volume in pod.spec.items_at("volumes") {
            let Some(claim) = volume.at("persistentVolumeClaim.claimName") else {
                continue;
            };
            let name = claim.text().unwrap_or_default();
            if name != "${target}-restore" && !made.iter().any(|made| made == name) {
                report.add(
                    (pod.file(), claim.line),
                    format!("{} mounts the claim {name:?}", pod.owner.title()),
                    "${target}-restore, as shared/src/names.rs names the restore claim",
                    "mount the claim that the engine makes",
                );
            }
        }
    }
}

fn priorities(rendered: &Rendered<'_>, cluster: &[Object<'_>], report: &mut Report) {
    let known: Vec<_> = cluster.iter().filter(|one| one.kind() == "PriorityClass").copied().collect();
    for pod in rendered.objects.iter().filter_map(|object| object.pod()) {
        let name = pod.spec.text_at("priorityClassName").unwrap_or_default();
        if !known.iter().any(|class| class.name() == name) {
            let at = (pod.file(), pod.spec.line_at("priorityClassName"));
            let what = format!("{}: PriorityClass {name:?} is not there", pod.owner.title());
            report.add(at, what, format!("one of cluster.yaml: {}", names(&known)), "correct the name");
        }
    }
}
