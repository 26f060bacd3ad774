//! Every variable and flag is known to the binary that gets it, every required one is set, and each has a sensible value.

use super::Context;
use crate::check::code::{Binary, Setting};
use crate::check::finding::Report;
use crate::check::objects::{Container, From, Object, Part, Rendered, Variable};
use crate::check::yaml::Node;

/// Variables that belong to a language's runtime or a library, in any of our containers.
const AMBIENT: [&str; 6] =
    ["GOOGLE_APPLICATION_CREDENTIALS", "HOME", "MALLOC_ARENA_MAX", "RUST_BACKTRACE", "TMPDIR", "TZ"];

/// What a setting must stand for, and where it is said. `None`: only where there is one target.
const STANDS_FOR: [(&str, &str); 9] = [
    ("POLKASHOTS_PROJECT", "${project}"),
    ("POLKASHOTS_TOPIC_PREFIX", "${topic_prefix}"),
    ("POLKASHOTS_DEAD_LETTER_TOPIC", "${dead_letter_topic}"),
    ("POLKASHOTS_STORE", "${store}"),
    ("POLKASHOTS_S3_ENDPOINT", "${s3_endpoint}"),
    ("POLKASHOTS_S3_REGION", "${s3_region}"),
    ("POLKASHOTS_BASE_URL", "${site_url}"),
    ("POLKASHOTS_ARCHIVE_URL", "${archive_url}"),
    ("POLKASHOTS_SITE_HOST", "firebase:${site_id}"),
];

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    for rendered in &context.rendered {
        for given in given(rendered, context) {
            given.check_values(rendered, report);
            given.check(rendered, report);
        }
    }
    sources(context, report);
    compose(context, report);
}

/// What holds of a container's settings whatever their values are for.
pub(super) fn of_manifests(context: &Context<'_>, report: &mut Report) {
    for rendered in &context.rendered {
        given(rendered, context).iter().for_each(|given| given.check(rendered, report));
    }
}

/// The containers that start a program of ours.
fn given<'a>(rendered: &'a Rendered<'a>, context: &'a Context<'a>) -> Vec<Given<'a>> {
    let pods = rendered.objects.iter().filter_map(|object| object.pod());
    let containers = pods.flat_map(|pod| pod.containers()).filter(|container| container.starts_own_program());
    let ours = containers.filter_map(|container| {
        let binary = context.code.in_image(container.image_name())?;
        Some(Given { container, binary, variables: container.variables(&rendered.objects) })
    });
    ours.collect()
}

/// In the sources only what does not depend on an overlay: each variable that a container names is known.
fn sources(context: &Context<'_>, report: &mut Report) {
    for object in context.objects.iter().filter(|object| object.file.starts_with("k8s/base/")) {
        for container in object.pod().map(|pod| pod.containers()).unwrap_or_default() {
            let Some(binary) = context.code.in_image(container.image_name()) else {
                continue;
            };
            for variable in container.variables(&[]) {
                known(variable, binary, &container.title(), report);
            }
        }
    }
}

/// One container of ours with its variables.
struct Given<'a> {
    container: Container<'a>,
    binary: &'a Binary,
    variables: Vec<Variable<'a>>,
}

impl Given<'_> {
    fn check(&self, rendered: &Rendered<'_>, report: &mut Report) {
        let title = self.container.title();
        for variable in &self.variables {
            known(*variable, self.binary, &title, report);
        }
        let flags: Vec<_> = self.container.node.items_at("args").iter().collect();
        flags.iter().for_each(|flag| self.known_flag(flag, report));
        for setting in self.binary.settings.iter().filter(|setting| setting.required) {
            let by_flag = flags.iter().any(|flag| flag.text().is_some_and(|text| flag_of(text) == setting.flag));
            if !by_flag && !self.variables.iter().any(|variable| variable.name == setting.env) {
                let whose = format!("{title} lacks {}", setting.env);
                let expected = format!("every setting that {} requires", self.binary.package);
                report.add(self.container.at("name"), whose, expected, format!("set {}", setting.env));
            }
        }
        self.one_shot(report);
        self.check_paths(&rendered.objects, report);
    }

    fn known_flag(&self, flag: &Node, report: &mut Report) {
        let text = flag.text().unwrap_or_default();
        if !text.starts_with("--") || self.binary.settings.iter().any(|setting| setting.flag == flag_of(text)) {
            return;
        }
        let flags: Vec<_> = self.binary.settings.iter().map(|setting| setting.flag.as_str()).collect();
        report.add(
            (self.container.pod.file(), flag.line),
            format!("{} gets the flag {text}, which {} does not know", self.container.title(), self.binary.package),
            format!("one of {}", flags.join(", ")),
            "correct or remove the flag",
        );
    }

    /// A Job that KEDA starts handles one message and ends; without that it would stay for ever.
    fn one_shot(&self, report: &mut Report) {
        let setting = self.binary.setting("POLKASHOTS_ONE_SHOT");
        let Some(setting) = setting.filter(|_| self.container.pod.owner.kind() == "ScaledJob") else {
            return;
        };
        let by_flag = self.container.node.items_at("args").iter().any(|word| word.text() == Some(&setting.flag));
        let by_variable = self.value(&setting.env) == Some("true");
        if !by_flag && !by_variable {
            report.add(
                self.container.at("args"),
                format!("{} does not end after its message", self.container.title()),
                format!("{} or {}=true in a ScaledJob", setting.flag, setting.env),
                format!("add {}", setting.flag),
            );
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|variable| variable.name == name)?.value()
    }

    /// What Terraform fills in reaches the setting that it is meant for.
    fn check_values(&self, rendered: &Rendered<'_>, report: &mut Report) {
        let of_target = match rendered.part {
            Part::Target => Some(("POLKASHOTS_TARGET", "${target}")),
            Part::Publisher | Part::Cluster => None,
        };
        for (name, expected) in STANDS_FOR.into_iter().chain(of_target) {
            let Some(variable) = self.variables.iter().find(|variable| variable.name == name) else {
                continue;
            };
            let Some(value) = variable.value().filter(|value| *value != expected) else {
                continue;
            };
            report.add(
                variable.at(),
                format!("{name} is {value:?} at {}", self.container.title()),
                expected,
                "let the overlay take the value that Terraform fills in",
            );
        }
        for (name, fits) in [("POLKASHOTS_NAMESPACE", &["{target}", "${target}"][..])] {
            let Some(variable) = self.variables.iter().find(|variable| variable.name == name) else {
                continue;
            };
            if let Some(value) = variable.value().filter(|value| !fits.contains(value)) {
                report.add(
                    variable.at(),
                    format!("{name} is {value:?}"),
                    "the target's own namespace, {target}",
                    "each target has a namespace of its id",
                );
            }
        }
        if rendered.part == Part::Publisher
            && let Some(variable) = self.variables.iter().find(|variable| variable.name == "POLKASHOTS_TARGET")
        {
            let what = format!("{} is bound to one target", self.container.title());
            report.add(variable.at(), what, "one publisher for all targets", "remove POLKASHOTS_TARGET");
        }
    }

    /// What names a file is mounted, from something that has such a file.
    fn check_paths(&self, beside: &[Object<'_>], report: &mut Report) {
        for name in ["POLKASHOTS_TARGETS", "POLKASHOTS_SECRET_KEY", "POLKASHOTS_PASSWORD_FILE"] {
            let Some(variable) = self.variables.iter().find(|variable| variable.name == name) else {
                continue;
            };
            let Some(path) = variable.value() else { continue };
            let Some((_, volume)) = self.container.mounted_at(path) else {
                let what = format!("{name} is {path}, where {} mounts nothing", self.container.title());
                report.add(variable.at(), what, "a path below a mount", "mount the file there, or correct the path");
                continue;
            };
            let file = path.rsplit('/').next().unwrap_or(path);
            if let Some(lacks) = volume.and_then(|volume| lacks_file(volume, file, beside)) {
                report.add(
                    variable.at(),
                    format!("{name} is {path}, but {lacks}"),
                    "a file that is there",
                    "name it alike",
                );
            }
        }
        for name in ["POLKASHOTS_CLAIM_DIR", "POLKASHOTS_SCRATCH_DIR"] {
            let Some(variable) = self.variables.iter().find(|variable| variable.name == name) else {
                continue;
            };
            let mounted = variable.value().and_then(|path| self.container.mounted_at(path));
            let writes = name == "POLKASHOTS_SCRATCH_DIR";
            let fits = mounted.is_some_and(|(mount, volume)| {
                let read_only = mount.text_at("readOnly") == Some("true");
                volume.is_some() && !(writes && read_only)
            });
            if !fits {
                let what = format!(
                    "{name} is {:?}, where {} has no volume",
                    variable.value().unwrap_or_default(),
                    self.container.title()
                );
                let expected =
                    if writes { "a writable mount: the root is read-only" } else { "the restore claim's mount" };
                report.add(variable.at(), what, expected, "mount a volume there, or correct the path");
            }
        }
    }
}

/// Why a volume has no file of that name, where that can be told.
fn lacks_file(volume: &Node, file: &str, beside: &[Object<'_>]) -> Option<String> {
    if let Some(name) = volume.text_at("configMap.name") {
        let map = beside.iter().find(|object| object.kind() == "ConfigMap" && object.name() == name)?;
        let has = map.root.get("data").is_some_and(|data| data.get(file).is_some());
        return (!has).then(|| format!("ConfigMap {name} has no {file}"));
    }
    let class = volume.text_at("csi.volumeAttributes.secretProviderClass")?;
    let provider = beside.iter().find(|object| object.kind() == "SecretProviderClass" && object.name() == class)?;
    let secrets = provider.root.text_at("spec.parameters.secrets").unwrap_or_default();
    let has = secrets.lines().any(|line| line.trim().trim_start_matches("- ") == format!("path: {file}"));
    (!has).then(|| format!("SecretProviderClass {class} gives no {file}"))
}

fn flag_of(word: &str) -> &str {
    word.split('=').next().unwrap_or(word)
}

/// One variable of a container of ours.
fn known(variable: Variable<'_>, binary: &Binary, title: &str, report: &mut Report) {
    let name = variable.name;
    let Some(setting) = binary.setting(name) else {
        if !AMBIENT.contains(&name) {
            report.add(
                variable.at(),
                format!("{title} gets {name}, which {} does not know", binary.package),
                format!("a setting of it{}", nearest(name, binary)),
                "correct or remove it: `config-schema` of the binary lists them",
            );
        }
        return;
    };
    if setting.secret && variable.from != From::Secret {
        report.add(
            variable.at(),
            format!("{title} has the value of {name} in a manifest"),
            "secretKeyRef",
            "keep it in a Secret",
        );
    }
    if let Some(value) = variable.value() {
        sensible(variable, value, setting, report);
    }
}

fn sensible(variable: Variable<'_>, value: &str, setting: &Setting, report: &mut Report) {
    if value.contains('$') {
        return;
    }
    let expected = if !setting.values.is_empty() && !setting.values.iter().any(|known| known == value) {
        format!("one of {}", setting.values.join(", "))
    } else if is_duration(setting) && !is_a_duration(value) {
        "a number with its unit, as in 90m".to_owned()
    } else if setting.default.as_deref().is_some_and(|text| text.parse::<u32>().is_ok())
        && value.parse::<u32>().is_err()
    {
        "a whole number".to_owned()
    } else {
        return;
    };
    report.add(variable.at(), format!("{} is {value:?}", variable.name), expected, "correct the value");
}

fn is_duration(setting: &Setting) -> bool {
    setting.default.as_deref().is_some_and(is_a_duration)
}

fn is_a_duration(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    unit.len() < text.len() && ["ms", "s", "m", "h", "d"].contains(&unit)
}

/// `: did you mean POLKASHOTS_STORE?`, where a known one differs by little.
fn nearest(name: &str, binary: &Binary) -> String {
    let alike = |other: &str| {
        let shared = name.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
        let end = name.chars().rev().zip(other.chars().rev()).take_while(|(a, b)| a == b).count();
        shared + end + 3 >= name.len().max(other.len())
    };
    let found = binary.settings.iter().find(|setting| alike(&setting.env));
    found.map_or(String::new(), |setting| format!(": did you mean {}?", setting.env))
}

/// The services of the compose file that run our images.
fn compose(context: &Context<'_>, report: &mut Report) {
    for (path, documents) in context.tree.yaml("docker/").filter(|(path, _)| path.contains("compose")) {
        for (service, node) in documents.iter().flat_map(|root| root.get("services").map_or(&[][..], Node::entries)) {
            let image = node.text_at("image").unwrap_or_default();
            let name = image.rsplit('/').next().unwrap_or(image).split([':', '@']).next().unwrap_or_default();
            let Some(binary) = context.code.in_image(name) else {
                continue;
            };
            let variables = compose_variables(path, node);
            let title = format!("service {service}");
            variables.iter().for_each(|variable| known(*variable, binary, &title, report));
            for setting in binary.settings.iter().filter(|setting| setting.required) {
                if !variables.iter().any(|variable| variable.name == setting.env) {
                    let what = format!("{title} lacks {}", setting.env);
                    let expected = format!("every setting that {} requires", binary.package);
                    report.add((path, node.line), what, expected, format!("set {}", setting.env));
                }
            }
        }
    }
}

/// Compose takes a map or a list of `NAME=value`; a secret of a demonstration is not one, so it counts as kept.
fn compose_variables<'a>(file: &'a str, service: &'a Node) -> Vec<Variable<'a>> {
    let Some(environment) = service.get("environment") else {
        return Vec::new();
    };
    let kept = |name: &str, value: &'a str| match name.starts_with("AWS_") {
        true => From::Secret,
        false => From::Literal(value),
    };
    let map = environment.entries().iter().map(|(name, value)| {
        let from = kept(name, value.text().unwrap_or_default());
        Variable { name, from, file, line: value.line }
    });
    let list = environment.items().iter().filter_map(|item| {
        let (name, value) = item.text()?.split_once('=')?;
        Some(Variable { name, from: kept(name, value), file, line: item.line })
    });
    map.chain(list).collect()
}
