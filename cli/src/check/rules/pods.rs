//! What every pod promises: users, a read-only root, mounts, ports, probes, resources.

use super::Context;
use crate::check::finding::Report;
use crate::check::objects::{Container, Object, Pod};
use crate::check::yaml::Node;

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    for object in &context.objects {
        let Some(pod) = object.pod() else { continue };
        pod_security(pod, report);
        volumes(pod, report);
        for container in pod.containers() {
            container_security(container, report);
            resources(container, report);
            probes(container, report);
            image_user(container, context, report);
        }
    }
    for rendered in &context.rendered {
        for object in &rendered.objects {
            service(*object, &rendered.objects, report);
            disruptions(*object, &rendered.objects, report);
        }
        for pod in rendered.objects.iter().filter_map(|object| object.pod()) {
            config_maps(pod, &rendered.objects, report);
            listens(pod, &rendered.objects, context, report);
        }
    }
}

/// A field that must have one value, at the pod.
fn must(pod: Pod<'_>, at: &Node, path: &str, expected: &str, why: &str, report: &mut Report) {
    let found = at.text_at(path);
    if found == Some(expected) {
        return;
    }
    report.add(
        (pod.file(), at.line_at(path)),
        format!("{}: {path} is {}", pod.owner.title(), found.unwrap_or("not set")),
        format!("{expected}: {why}"),
        format!("set {path}: {expected}"),
    );
}

fn pod_security(pod: Pod<'_>, report: &mut Report) {
    let why = "Pod Security's restricted profile, which the namespaces enforce";
    must(pod, pod.spec, "securityContext.runAsNonRoot", "true", why, report);
    must(pod, pod.spec, "securityContext.seccompProfile.type", "RuntimeDefault", why, report);
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod.spec.text_at(key) == Some("true") {
            let what = format!("{}: {key} is true", pod.owner.title());
            report.add((pod.file(), pod.spec.line_at(key)), what, format!("no {key}: {why}"), "remove it");
        }
    }
    let user = pod.spec.text_at("securityContext.runAsUser").and_then(|text| text.parse::<u32>().ok());
    if user.is_none_or(|user| user == 0) {
        let what = format!("{}: runAsUser is {}", pod.owner.title(), user.map_or("not set", |_| "0"));
        let at = (pod.file(), pod.spec.line_at("securityContext.runAsUser"));
        report.add(at, what, "a number other than 0", "say the user that the image or the volume's files have");
    }
}

fn container_security(container: Container<'_>, report: &mut Report) {
    for (path, expected) in [("readOnlyRootFilesystem", "true"), ("allowPrivilegeEscalation", "false")] {
        let found = container.node.text_at(&format!("securityContext.{path}"));
        if found != Some(expected) {
            let what = format!("{}: {path} is {}", container.title(), found.unwrap_or("not set"));
            let at = container.at(&format!("securityContext.{path}"));
            report.add(at, what, expected, format!("set securityContext.{path}: {expected}"));
        }
    }
    if container.node.text_at("securityContext.privileged") == Some("true") {
        report.add(
            container.at("securityContext.privileged"),
            format!("{}: privileged", container.title()),
            "no",
            "remove it",
        );
    }
    let dropped = container.node.items_at("securityContext.capabilities.drop");
    if !dropped.iter().any(|item| item.text() == Some("ALL")) {
        let what = format!("{}: keeps capabilities", container.title());
        report.add(container.at("securityContext.capabilities.drop"), what, "drop: [ALL]", "drop all of them");
    }
    if let Some(added) = container.node.at("securityContext.capabilities.add") {
        let what = format!("{}: adds capabilities", container.title());
        report.add((container.pod.file(), added.line), what, "none", "remove add");
    }
}

/// Autopilot gives what is asked for and no more; a pod without a limit on its disk can fill the machine's.
fn resources(container: Container<'_>, report: &mut Report) {
    for path in
        ["requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.memory", "limits.ephemeral-storage"]
    {
        if container.node.text_at(&format!("resources.{path}")).is_none() {
            let what = format!("{}: resources.{path} is not set", container.title());
            report.add(
                container.at(&format!("resources.{path}")),
                what,
                "requests and limits",
                "say how much it takes",
            );
        }
    }
}

/// Mounts name volumes, and volumes are mounted.
fn volumes(pod: Pod<'_>, report: &mut Report) {
    let containers = pod.containers();
    let mounts = || containers.iter().flat_map(|container| container.node.items_at("volumeMounts"));
    for mount in mounts() {
        let name = mount.text_at("name").unwrap_or_default();
        if pod.volume(name).is_none() {
            let what = format!("{}: mounts {name:?}, which is no volume of the pod", pod.owner.title());
            report.add(
                (pod.file(), mount.line_at("name")),
                what,
                "a volume of the pod",
                "correct the name, or add the volume",
            );
        }
    }
    for volume in pod.spec.items_at("volumes") {
        let name = volume.text_at("name").unwrap_or_default();
        if !mounts().any(|mount| mount.text_at("name") == Some(name)) {
            let what = format!("{}: the volume {name:?} is mounted nowhere", pod.owner.title());
            report.add((pod.file(), volume.line_at("name")), what, "a mount of it", "mount it, or remove it");
        }
        if let Some(directory) = volume.get("emptyDir").filter(|directory| directory.get("sizeLimit").is_none()) {
            let what = format!("{}: the volume {name:?} has no limit", pod.owner.title());
            report.add((pod.file(), directory.line), what, "emptyDir with sizeLimit", "say how much it may hold");
        }
        if let Some(path) = volume.get("hostPath") {
            let what = format!("{}: mounts a folder of the machine", pod.owner.title());
            report.add((pod.file(), path.line), what, "no hostPath", "use a claim or an emptyDir");
        }
    }
}

/// Probes and named ports.
fn probes(container: Container<'_>, report: &mut Report) {
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        for handler in ["httpGet", "tcpSocket", "grpc"] {
            let path = format!("{probe}.{handler}.port");
            let Some(port) = container.node.at(&path) else { continue };
            if !has_port(container.node, port) {
                let what = format!("{}: {probe} asks port {}", container.title(), port.text().unwrap_or_default());
                let expected = format!("one of its ports: {}", ports(container.node));
                report.add((container.pod.file(), port.line), what, expected, "name a port of the container");
            }
        }
    }
    let served = container.pod.owner.kind() == "StatefulSet" || container.pod.owner.kind() == "Deployment";
    let is_first = container.pod.spec.items_at("initContainers").iter().any(|one| std::ptr::eq(one, container.node));
    for probe in ["livenessProbe", "readinessProbe"] {
        if served && !is_first && container.node.get(probe).is_none() {
            let what = format!("{}: no {probe}", container.title());
            report.add(container.at("name"), what, "a probe of everything that stays", format!("add a {probe}"));
        }
    }
}

fn has_port(container: &Node, port: &Node) -> bool {
    container
        .items_at("ports")
        .iter()
        .any(|one| one.text_at("name") == port.text() || one.text_at("containerPort") == port.text())
}

fn ports(container: &Node) -> String {
    let names =
        container.items_at("ports").iter().filter_map(|one| one.text_at("name").or(one.text_at("containerPort")));
    names.collect::<Vec<_>>().join(", ")
}

/// A service's ports are those of the pods that it selects.
fn service(service: Object<'_>, beside: &[Object<'_>], report: &mut Report) {
    let Some(selector) = service.root.at("spec.selector").filter(|_| service.kind() == "Service") else {
        return;
    };
    let pods: Vec<_> =
        beside.iter().filter_map(|object| object.pod()).filter(|pod| pod.is_selected_by(selector)).collect();
    if pods.is_empty() {
        let what = format!("{} selects no pod", service.title());
        report.add((service.file, selector.line), what, "the labels of a pod", "correct the selector");
        return;
    }
    for port in service.root.items_at("spec.ports") {
        let Some(target) = port.get("targetPort").or(port.get("port")) else {
            continue;
        };
        if !pods.iter().flat_map(|pod| pod.containers()).any(|container| has_port(container.node, target)) {
            let what = format!("{} leads to port {}", service.title(), target.text().unwrap_or_default());
            report.add(
                (service.file, target.line),
                what,
                "a port of the pods that it selects",
                "name a port that is there",
            );
        }
    }
}

/// A budget that selects nothing protects nothing.
fn disruptions(budget: Object<'_>, beside: &[Object<'_>], report: &mut Report) {
    let Some(labels) = budget.root.at("spec.selector.matchLabels") else {
        return;
    };
    if budget.kind() == "PodDisruptionBudget"
        && !beside.iter().filter_map(|object| object.pod()).any(|pod| pod.is_selected_by(labels))
    {
        let what = format!("{} selects no pod", budget.title());
        report.add((budget.file, labels.line), what, "the labels of a pod", "correct the selector");
    }
}

/// ConfigMaps and provider classes that pods name are there, or said to be optional.
fn config_maps(pod: Pod<'_>, beside: &[Object<'_>], report: &mut Report) {
    let is_there = |kind: &str, name: &str| beside.iter().any(|one| one.kind() == kind && one.name() == name);
    let mut check = |source: &Node, kind: &str, key: &str| {
        let name = source.text_at(key).unwrap_or_default();
        if source.text_at("optional") != Some("true") && !is_there(kind, name) {
            let what = format!("{}: {kind} {name:?} is not there", pod.owner.title());
            report.add((pod.file(), source.line_at(key)), what, "one in the same file", "correct the name, or add it");
        }
    };
    for volume in pod.spec.items_at("volumes") {
        if let Some(map) = volume.get("configMap") {
            check(map, "ConfigMap", "name");
        }
        if let Some(attributes) = volume.at("csi.volumeAttributes") {
            check(attributes, "SecretProviderClass", "secretProviderClass");
        }
    }
    for container in pod.containers() {
        for map in container.node.items_at("envFrom").iter().filter_map(|source| source.get("configMapRef")) {
            check(map, "ConfigMap", "name");
        }
    }
}

/// A worker that stays serves its figures and its health where the manifest says.
fn listens(pod: Pod<'_>, beside: &[Object<'_>], context: &Context<'_>, report: &mut Report) {
    for container in pod.containers() {
        let Some(binary) = context.code.in_image(container.image_name()) else {
            continue;
        };
        let Some(setting) = binary.setting("POLKASHOTS_LISTEN") else {
            continue;
        };
        let variables = container.variables(beside);
        let given = variables.iter().find(|variable| variable.name == "POLKASHOTS_LISTEN");
        let address = given.and_then(|variable| variable.value()).or(setting.default.as_deref()).unwrap_or_default();
        let port = address.rsplit(':').next().unwrap_or_default();
        for named in container.node.items_at("ports") {
            if named.text_at("containerPort") != Some(port) {
                let what = format!(
                    "{}: containerPort {}",
                    container.title(),
                    named.text_at("containerPort").unwrap_or_default()
                );
                let at = (pod.file(), named.line_at("containerPort"));
                report.add(
                    at,
                    what,
                    format!("{port}, where the worker listens"),
                    "change containerPort or POLKASHOTS_LISTEN",
                );
            }
        }
    }
}

/// The user that a pod names for one of our images is not root, and of an image whose files belong to its user it is that.
fn image_user(container: Container<'_>, context: &Context<'_>, report: &mut Report) {
    let Some(user) = container.node.at("securityContext.runAsUser") else {
        return;
    };
    if context.code.in_image(container.image_name()).is_some() && user.text() == Some("0") {
        let what = format!("{}: runs as root", container.title());
        report.add((container.pod.file(), user.line), what, "the image's own user", "remove runAsUser: 0");
    }
}
