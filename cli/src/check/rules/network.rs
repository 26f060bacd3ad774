//! NetworkPolicies: nothing is allowed by default, and what is allowed is for pods that are there.

use super::Context;
use crate::check::finding::Report;
use crate::check::objects::{Object, Part, Pod, Rendered};
use crate::check::yaml::{Node, Value};

/// What our workers talk to lies behind this port: Pub/Sub, the store, the site's host.
const HTTPS: &str = "443";
/// What names are asked through.
const DNS: &str = "53";

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    for rendered in context.rendered.iter().filter(|rendered| rendered.part != Part::Cluster) {
        default_deny(rendered, report);
        for policy in policies(rendered) {
            selects_somebody(policy, rendered, report);
        }
        for pod in rendered.objects.iter().filter_map(|object| object.pod()) {
            reaches(pod, rendered, context, report);
            is_reached(pod, rendered, report);
        }
    }
}

fn policies<'a>(rendered: &'a Rendered<'a>) -> impl Iterator<Item = Object<'a>> {
    rendered.objects.iter().filter(|object| object.kind() == "NetworkPolicy").copied()
}

fn default_deny(rendered: &Rendered<'_>, report: &mut Report) {
    let denies = |policy: &Object<'_>| {
        let kinds: Vec<_> = policy.root.items_at("spec.policyTypes").iter().filter_map(Node::text).collect();
        let selects_all = policy.root.at("spec.podSelector").is_some_and(is_empty);
        let allows = policy.root.at("spec.ingress").is_some() || policy.root.at("spec.egress").is_some();
        selects_all && !allows && kinds.contains(&"Ingress") && kinds.contains(&"Egress")
    };
    if policies(rendered).any(|policy| denies(&policy)) {
        return;
    }
    let nearest = policies(rendered).find(|policy| policy.name().contains("deny"));
    report.add(
        nearest.map_or((rendered.file, 1), |policy| policy.at("spec")),
        "no policy denies what is not allowed",
        "one with podSelector: {} and policyTypes Ingress and Egress, and nothing else",
        "restore the default",
    );
}

fn is_empty(node: &Node) -> bool {
    matches!(&node.value, Value::Null) || matches!(&node.value, Value::Map(entries) if entries.is_empty())
}

fn selected(policy: Object<'_>, pod: Pod<'_>) -> bool {
    let Some(selector) = policy.root.at("spec.podSelector") else {
        return false;
    };
    let by_labels = selector.get("matchLabels").is_none_or(|labels| pod.is_selected_by(labels));
    by_labels && selector.items_at("matchExpressions").iter().all(|expression| fits(expression, pod))
}

fn fits(expression: &Node, pod: Pod<'_>) -> bool {
    let key = expression.text_at("key").unwrap_or_default();
    let own = pod.template.at("metadata.labels").and_then(|labels| labels.get(key)).and_then(Node::text);
    let listed = expression.items_at("values").iter().any(|value| value.text() == own && own.is_some());
    match expression.text_at("operator") {
        Some("In") => listed,
        Some("NotIn") => !listed,
        Some("Exists") => own.is_some(),
        _ => own.is_none(),
    }
}

fn selects_somebody(policy: Object<'_>, rendered: &Rendered<'_>, report: &mut Report) {
    let pods: Vec<_> = rendered.objects.iter().filter_map(|object| object.pod()).collect();
    if !pods.iter().any(|pod| selected(policy, *pod)) {
        let what = format!("{} selects no pod", policy.title());
        report.add(policy.at("spec.podSelector"), what, "the labels of a pod of the same file", "correct the selector");
    }
    for expression in policy.root.items_at("spec.podSelector.matchExpressions") {
        let key = expression.text_at("key").unwrap_or_default();
        for value in expression.items_at("values") {
            let has = |pod: &Pod<'_>| {
                pod.template.at("metadata.labels").and_then(|labels| labels.get(key)).and_then(Node::text)
                    == value.text()
            };
            if !pods.iter().any(has) {
                let what =
                    format!("{} selects {key}={}, which no pod has", policy.title(), value.text().unwrap_or_default());
                report.add((policy.file, value.line), what, "the labels of pods of the same file", "correct the value");
            }
        }
    }
}

/// Each of our pods may ask for names and reach what it works with.
fn reaches(pod: Pod<'_>, rendered: &Rendered<'_>, context: &Context<'_>, report: &mut Report) {
    let works = pod.containers().iter().any(|one| context.code.in_image(one.image_name()).is_some());
    if !works {
        return;
    }
    for port in [DNS, HTTPS] {
        let own: Vec<_> = policies(rendered).filter(|policy| selected(*policy, pod)).collect();
        let allowed = own.iter().flat_map(|policy| policy.root.items_at("spec.egress")).any(|rule| {
            rule.get("ports").is_none() || rule.items_at("ports").iter().any(|one| one.text_at("port") == Some(port))
        });
        if !allowed {
            let named = own
                .iter()
                .find(|policy| !policy.root.items_at("spec.egress").is_empty() && policy.name() == pod.owner.name());
            report.add(
                named.map_or((pod.file(), pod.spec.line), |policy| policy.at("spec.egress")),
                format!("{} may not reach port {port}", pod.owner.title()),
                "DNS (53) and HTTPS (443): Pub/Sub, the store, the site's host",
                "allow it in the egress of a policy that selects the pod",
            );
        }
    }
}

/// A port that a policy lets in is one that the pod has.
fn is_reached(pod: Pod<'_>, rendered: &Rendered<'_>, report: &mut Report) {
    let containers = pod.containers();
    let ports: Vec<_> = containers.iter().flat_map(|one| one.node.items_at("ports")).collect();
    for policy in policies(rendered).filter(|policy| selected(*policy, pod)) {
        for allowed in policy.root.items_at("spec.ingress").iter().flat_map(|rule| rule.items_at("ports")) {
            let Some(port) = allowed.get("port") else { continue };
            let has = ports
                .iter()
                .any(|one| one.text_at("containerPort") == port.text() || one.text_at("name") == port.text());
            if !has {
                let what = format!(
                    "{} lets in port {}, which {} does not have",
                    policy.title(),
                    port.text().unwrap_or_default(),
                    pod.owner.title()
                );
                report.add((policy.file, port.line), what, "a port of the pod", "correct the port");
            }
        }
    }
}
