//! Who may do what: ServiceAccounts and principals both ways, and Roles as the engine declares them.

use super::{Context, differences};
use crate::check::finding::Report;
use crate::check::hcl::Expr;
use crate::check::objects::{Object, Part, Rendered};
use crate::check::yaml::Node;

const IDENTITY: &str = "terraform/modules/identity";

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    of_manifests(context, report);
    principals(context, report);
    keda_operator(context, report);
}

/// What holds in a cluster, whoever gives the rights outside of it.
pub(super) fn of_manifests(context: &Context<'_>, report: &mut Report) {
    for rendered in &context.rendered {
        accounts(rendered, report);
        roles(rendered, context, report);
        tokens(rendered, report);
    }
    for role in context.objects.iter().filter(|object| matches!(object.kind(), "Role" | "ClusterRole")) {
        wildcards(*role, report);
    }
}

fn named<'a>(rendered: &Rendered<'a>, kind: &str, name: &str) -> Option<Object<'a>> {
    rendered.objects.iter().find(|object| object.kind() == kind && object.name() == name).copied()
}

/// Every pod's account is there, and every account has a pod.
fn accounts(rendered: &Rendered<'_>, report: &mut Report) {
    let pods: Vec<_> = rendered.objects.iter().filter_map(|object| object.pod()).collect();
    for pod in &pods {
        let account = pod.spec.text_at("serviceAccountName").unwrap_or("default");
        if named(rendered, "ServiceAccount", account).is_none() {
            report.add(
                (pod.file(), pod.spec.line_at("serviceAccountName")),
                format!("{} runs as ServiceAccount {account:?}, which is not there", pod.owner.title()),
                "an account of its own in the same file",
                "add the account, or correct serviceAccountName",
            );
        }
    }
    for account in rendered.objects.iter().filter(|object| object.kind() == "ServiceAccount") {
        let used = pods.iter().any(|pod| pod.spec.text_at("serviceAccountName") == Some(account.name()));
        if !used {
            let what = format!("{} has no pod", account.title());
            report.add(
                account.at("metadata.name"),
                what,
                "an account that something runs as",
                "remove it, or correct its name",
            );
        }
    }
}

/// Only what has a Role gets a token for the API server.
fn tokens(rendered: &Rendered<'_>, report: &mut Report) {
    let bound: Vec<_> = bindings(rendered).flat_map(|binding| binding.root.items_at("subjects")).collect();
    for pod in rendered.objects.iter().filter_map(|object| object.pod()) {
        let account = pod.spec.text_at("serviceAccountName").unwrap_or_default();
        let own = named(rendered, "ServiceAccount", account);
        let of_account = own.and_then(|own| own.root.text_at("automountServiceAccountToken"));
        let mounted = pod.spec.text_at("automountServiceAccountToken").or(of_account).unwrap_or("true") == "true";
        let needs = bound.iter().any(|subject| subject.text_at("name") == Some(account));
        if mounted == needs {
            continue;
        }
        let (what, fix) = match needs {
            true => ("gets no token, though it has a Role", "set automountServiceAccountToken: true at the pod"),
            false => {
                ("gets a token for the API server, though it has no Role", "set automountServiceAccountToken: false")
            }
        };
        let at = (pod.file(), pod.spec.line_at("automountServiceAccountToken"));
        report.add(at, format!("{} {what}", pod.owner.title()), "a token exactly where there is a Role", fix);
    }
}

fn bindings<'a>(rendered: &'a Rendered<'a>) -> impl Iterator<Item = &'a Object<'a>> {
    rendered.objects.iter().filter(|object| matches!(object.kind(), "RoleBinding" | "ClusterRoleBinding"))
}

/// Bindings name what is there, and the engine's Role is what the engine declares.
fn roles(rendered: &Rendered<'_>, context: &Context<'_>, report: &mut Report) {
    for binding in bindings(rendered) {
        if binding.kind() == "ClusterRoleBinding" {
            let at = binding.at("kind");
            report.add(
                at,
                binding.title(),
                "a RoleBinding: no worker needs anything of the whole cluster",
                "bind a Role",
            );
        }
        let role = binding.root.text_at("roleRef.name").unwrap_or_default();
        if named(rendered, binding.root.text_at("roleRef.kind").unwrap_or_default(), role).is_none() {
            let what = format!("{}: {role:?} is not there", binding.title());
            report.add(binding.at("roleRef.name"), what, "a Role of the same file", "correct roleRef");
        }
        for subject in binding.root.items_at("subjects") {
            let name = subject.text_at("name").unwrap_or_default();
            if named(rendered, "ServiceAccount", name).is_none() {
                let what = format!("{}: ServiceAccount {name:?} is not there", binding.title());
                report.add(
                    (binding.file, subject.line_at("name")),
                    what,
                    "an account of the same file",
                    "correct the subject",
                );
            }
        }
    }
    if rendered.part != Part::Target {
        return;
    }
    let engines = bindings(rendered)
        .filter(|one| one.root.items_at("subjects").iter().any(|subject| subject.text_at("name") == Some("engine")));
    let roles: Vec<_> = engines.filter_map(|one| named(rendered, "Role", one.root.text_at("roleRef.name")?)).collect();
    match roles.as_slice() {
        [role] => compare_role(*role, context, report),
        _ => report.add(
            (rendered.file, 1),
            format!("the engine has {} Roles", roles.len()),
            "one, with what it declares",
            "bind one Role to ServiceAccount engine",
        ),
    }
}

fn compare_role(role: Object<'_>, context: &Context<'_>, report: &mut Report) {
    let texts = |rule: &Node, key: &str| -> Vec<String> {
        rule.items_at(key).iter().filter_map(|item| item.text().map(str::to_owned)).collect()
    };
    let rules = role.root.items_at("rules");
    for rule in rules {
        let (groups, resources) = (texts(rule, "apiGroups"), texts(rule, "resources"));
        let declared =
            context.code.engine_permissions.iter().find(|one| groups == [one.group] && resources == [one.resource]);
        let Some(declared) = declared else {
            let what = format!("{}: a rule for {}/{}", role.title(), groups.join(","), resources.join(","));
            report.add(
                (role.file, rule.line),
                what,
                "what the engine declares, one rule per resource",
                "remove the rule, or correct it",
            );
            continue;
        };
        let verbs = texts(rule, "verbs");
        let verbs: Vec<_> = verbs.iter().map(String::as_str).collect();
        let (more, less) = differences(&verbs, declared.verbs);
        for (verb, what) in more.iter().map(|verb| (verb, "may")).chain(less.iter().map(|verb| (verb, "may not"))) {
            report.add(
                (role.file, rule.line_at("verbs")),
                format!("{} {what} {verb} {}", role.title(), declared.resource),
                format!("exactly {}", declared.verbs.join(", ")),
                "the engine's own list is PERMISSIONS of its crate",
            );
        }
    }
    for one in &context.code.engine_permissions {
        if !rules.iter().any(|rule| texts(rule, "resources") == [one.resource]) {
            let what = format!("{}: no rule for {}", role.title(), one.resource);
            report.add(role.at("rules"), what, format!("{} on {}", one.verbs.join(", "), one.resource), "add the rule");
        }
    }
}

fn wildcards(role: Object<'_>, report: &mut Report) {
    for rule in role.root.items_at("rules") {
        for key in ["apiGroups", "resources", "verbs"] {
            for item in rule.items_at(key).iter().filter(|item| item.text() == Some("*")) {
                report.add(
                    (role.file, item.line),
                    format!("{}: {key} has a wildcard", role.title()),
                    "names",
                    "name what is needed",
                );
            }
        }
    }
}

/// Terraform grants to the accounts that manifests have, and to each of those that reads or writes in the cloud.
fn principals(context: &Context<'_>, report: &mut Report) {
    let Some((file, workers)) = context.tree.local(IDENTITY, "workers") else {
        return;
    };
    let entries: Vec<&(String, Expr)> = workers.all().into_iter().flat_map(|expr| &expr.entries).collect();
    let granted: Vec<_> = entries.iter().filter(|(_, worker)| worker.get("account").is_some()).collect();
    for (key, worker) in &granted {
        let account = worker.get("account").and_then(|one| one.literal.as_deref()).unwrap_or_default();
        let space = worker.get("space").map_or("", |space| space.source.as_str());
        let part = if space == "var.publisher_space" { Part::Publisher } else { Part::Target };
        if !matches!(space, "var.publisher_space" | "target") {
            let expected = "target, or var.publisher_space: namespaces are targets";
            report.add(
                (file, worker.line),
                format!("{key} is in the namespace {space}"),
                expected,
                "correct the namespace",
            );
        }
        for rendered in context.rendered.iter().filter(|rendered| rendered.part == part) {
            if named(rendered, "ServiceAccount", account).is_none() {
                report.add(
                    (file, worker.line),
                    format!(
                        "{key}: rights are granted to ServiceAccount {account:?}, which {} does not have",
                        rendered.file
                    ),
                    "an account of the manifests",
                    "correct the name, or add the account",
                );
            }
        }
    }
    for rendered in &context.rendered {
        for pod in rendered.objects.iter().filter_map(|object| object.pod()) {
            let account = pod.spec.text_at("serviceAccountName").unwrap_or_default();
            let reads = pod
                .containers()
                .iter()
                .any(|one| context.code.in_image(one.image_name()).is_some_and(|b| b.worker.is_some()));
            let has = granted
                .iter()
                .any(|(_, worker)| worker.get("account").and_then(|one| one.literal.as_deref()) == Some(account));
            if reads && !has {
                let at = (pod.file(), pod.spec.line_at("serviceAccountName"));
                let what = format!("{} runs as {account:?}, to which Terraform grants nothing", pod.owner.title());
                report.add(at, what, "an account of terraform/modules/identity", "correct the name, or grant to it");
            }
        }
    }
}

/// The account that may count messages is the one that KEDA's operator is given.
fn keda_operator(context: &Context<'_>, report: &mut Report) {
    let mut given = None;
    for (file, block) in context.tree.resources("helm_release").filter(|(_, block)| block.label(1) == "keda") {
        let values = block.body.get("values").map(Expr::all).unwrap_or_default();
        let operator = values.iter().find_map(|expr| expr.get("serviceAccount")?.get("operator")?.get("name"));
        given = operator.map(|name| (file, name.line, name.literal.clone().unwrap_or_default()));
    }
    let spaces = context.tree.resources("kubernetes_namespace_v1").filter(|(_, block)| block.label(1) == "keda");
    let space = spaces.flat_map(|(_, block)| block.body.blocks_of("metadata")).find_map(|block| block.literal("name"));
    let Some((file, line, name)) = given else { return };
    let expected = format!("/ns/{}/sa/{name}", space.unwrap_or("keda"));
    let members = context
        .tree
        .resources("google_project_iam_member")
        .filter_map(|(at, block)| Some((at, block.body.get("member")?)));
    let keda: Vec<_> = members.filter(|(_, member)| member.source.contains("/ns/keda")).collect();
    for (at, member) in keda.iter().filter(|(_, member)| !member.template().ends_with(&expected)) {
        let what = format!("metrics may be read by {}", member.template());
        report.add((at, member.line), what, format!("...{expected}, as modules/keda names it"), "change both alike");
    }
    if keda.is_empty() {
        report.add(
            (file, line),
            "KEDA's operator may not read metrics",
            "roles/monitoring.viewer",
            "grant it in modules/identity",
        );
    }
}
