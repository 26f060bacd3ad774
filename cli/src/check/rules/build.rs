//! How images are built: Dockerfiles, the script, Cloud Build, and what Terraform hands to it.

use super::Context;
use super::images::pinned;
use crate::check::dockerfile::Instruction;
use crate::check::finding::Report;
use crate::check::yaml::Node;

const CLOUD_BUILD: &str = "docker/cloudbuild.yaml";
const SCRIPT: &str = "docker/build-and-push";
const WORKERS: &str = "docker/build-workers";

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    for (path, instructions) in context.tree.dockerfiles() {
        bases(path, instructions, report);
        arguments(path, instructions, context, report);
        program(path, instructions, context, report);
        user(path, instructions, report);
    }
    stages(context, report);
    packages(context, report);
    let Some((_, [root, ..])) = context.tree.yaml(CLOUD_BUILD).next() else {
        return;
    };
    for step in root.items_at("steps") {
        let name = step.text_at("name").unwrap_or_default();
        let whose = format!("step {}", step.text_at("id").unwrap_or_default());
        pinned((CLOUD_BUILD, step.line_at("name")), &whose, name, report);
    }
    substitutions(root, context, report);
    environment(root, context, report);
    toolchain(root, context, report);
    configuration(context, report);
}

/// Bases are arguments, so that a build can say a digest; the default must say a version.
fn bases(path: &str, instructions: &[Instruction], report: &mut Report) {
    let stages: Vec<_> = of(instructions, "FROM").filter_map(|from| from.rest.split(" AS ").nth(1)).collect();
    for from in of(instructions, "FROM") {
        let words = from.rest.split_whitespace().find(|word| !word.starts_with("--"));
        let base = words.unwrap_or_default();
        if base.starts_with('$') || stages.contains(&base) || base == "scratch" {
            continue;
        }
        report.add(
            (path, from.line),
            format!("the base {base} is fixed here"),
            "an argument, as in FROM ${BASE_IMAGE}",
            "declare ARG BASE_IMAGE=... before it: Cloud Build gives the digest",
        );
    }
    for argument in of(instructions, "ARG").filter(|argument| argument.rest.contains("_IMAGE=")) {
        let (name, image) = argument.rest.split_once('=').unwrap_or_default();
        pinned((path, argument.line), &format!("the default of {name}"), image, report);
    }
}

/// What the script gives must be taken, and the defaults of bases must be those of Cloud Build.
fn arguments(path: &str, instructions: &[Instruction], context: &Context<'_>, report: &mut Report) {
    let Some(script) = context.tree.text(SCRIPT) else {
        return;
    };
    let declared: Vec<_> =
        of(instructions, "ARG").map(|argument| argument.rest.split('=').next().unwrap_or_default()).collect();
    let given = script.split("--build-arg \"").skip(1).filter_map(|rest| rest.split('=').next());
    for name in given.filter(|name| !declared.contains(name)) {
        report.add(
            (path, 1),
            format!("ARG {name} is missing"),
            format!("every argument that {SCRIPT} gives"),
            format!("declare ARG {name}"),
        );
    }
    let build = context.tree.yaml(CLOUD_BUILD).find_map(|(_, documents)| documents.first()?.get("substitutions"));
    for argument in of(instructions, "ARG") {
        let Some((name, default)) = argument.rest.split_once('=') else {
            continue;
        };
        let pinned = build.and_then(|build| build.text_at(&format!("_{name}")));
        if let Some(pinned) = pinned.filter(|pinned| *pinned != default) {
            report.add(
                (path, argument.line),
                format!("{name} is {default}"),
                format!("{pinned}, as _{name} of {CLOUD_BUILD}"),
                "change both alike",
            );
        }
    }
}

/// The image has the program of its worker, and starts it.
fn program(path: &str, instructions: &[Instruction], context: &Context<'_>, report: &mut Report) {
    let folder = path.split('/').nth(1).unwrap_or_default();
    let Some(binary) = context.code.in_image(folder) else {
        return;
    };
    let last = instructions.last().map_or(0, |instruction| instruction.stage);
    let entry = instructions.iter().rev().find(|one| one.stage == last && one.name == "ENTRYPOINT");
    let Some(entry) = entry else {
        report.add((path, 1), "no ENTRYPOINT", binary.package, "say what the image starts");
        return;
    };
    let starts = entry.rest.split('"').nth(1).and_then(|word| word.rsplit('/').next());
    if starts != Some(binary.package) {
        report.add(
            (path, entry.line),
            format!("ENTRYPOINT {}", entry.rest),
            format!("the program {} as a JSON array, so that it gets signals itself", binary.package),
            "start the worker's own binary",
        );
    }
    let copied = of(instructions, "COPY").any(|copy| {
        copy.stage == last && copy.rest.starts_with("--from=") && copy.rest.contains(&format!("/{} ", binary.package))
    });
    if !copied {
        let what = format!("{} is not copied into the image", binary.package);
        report.add(
            (path, entry.line),
            what,
            "a COPY --from the stage that built it",
            "copy the program that is started",
        );
    }
    let listens = binary.setting("POLKASHOTS_LISTEN").and_then(|setting| setting.default.as_deref());
    let port = listens.and_then(|address| address.rsplit(':').next());
    for exposed in of(instructions, "EXPOSE").filter(|one| Some(one.rest.split('/').next().unwrap_or_default()) != port)
    {
        let what = format!("EXPOSE {}", exposed.rest);
        let expected = port.map_or("none: it does not listen".to_owned(), |port| format!("{port}, where it listens"));
        report.add((path, exposed.line), what, expected, "correct the port");
    }
}

/// What stages copy from each other is a stage, and the one that all images share is the same in all.
fn stages(context: &Context<'_>, report: &mut Report) {
    let mut first: Option<(&str, Vec<&Instruction>)> = None;
    for (path, instructions) in context.tree.dockerfiles() {
        let names: Vec<_> = of(instructions, "FROM").filter_map(|from| from.rest.split(" AS ").nth(1)).collect();
        for copy in of(instructions, "COPY") {
            let from = copy.rest.strip_prefix("--from=").and_then(|rest| rest.split_whitespace().next());
            if let Some(from) = from.filter(|from| !names.contains(from)) {
                let what = format!("copies from {from:?}, which is no stage");
                report.add((path, copy.line), what, format!("one of {}", names.join(", ")), "correct the name");
            }
        }
        let shared: Vec<_> = instructions.iter().filter(|one| one.stage == 1 && one.name != "FROM").collect();
        let Some((other, expected)) = &first else {
            first = Some((path, shared));
            continue;
        };
        let differs = shared.iter().zip(expected).find(|(a, b)| (&a.name, &a.rest) != (&b.name, &b.rest));
        if let Some((found, _)) = differs {
            let what = format!("the first stage differs from that of {other}: {} {}", found.name, found.rest);
            report.add((path, found.line), what, "the same instructions, so that it is built once", "change all alike");
        }
    }
}

/// The script that all Dockerfiles call builds every package that an image starts, workers with their cloud adapters.
fn packages(context: &Context<'_>, report: &mut Report) {
    for script in context.tree.under(WORKERS) {
        let lines = || script.text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
        let line_of = |word: &str| lines().find(|(_, line)| line.contains(word)).map_or(1, |(index, _)| index + 1);
        let words: Vec<_> = lines().flat_map(|(_, line)| line.split_whitespace()).collect();
        let after = |flag: &str, value: &str| {
            words.windows(2).any(|pair| pair[0] == flag && pair[1].split(',').any(|one| one == value))
        };
        for binary in &context.code.binaries {
            let package = binary.package;
            if !after("--package", package) {
                let what = format!("{package} is not built");
                let at = (script.path.as_str(), line_of("--package"));
                report.add(at, what, format!("--package {package}"), "build every image's program");
            }
            let cloud = format!("{package}/cloud");
            if binary.worker.is_some() && !after("--features", "cloud") && !after("--features", &cloud) {
                let what = format!("{package} is built without its cloud adapters");
                let line = if words.contains(&"--features") { line_of("--features") } else { line_of("cargo build") };
                report.add((&script.path, line), what, "--features cloud", "switch the feature on");
            }
        }
    }
}

/// A number, because `runAsNonRoot` cannot tell of a name whether it is root.
fn user(path: &str, instructions: &[Instruction], report: &mut Report) {
    let last = instructions.last().map_or(0, |instruction| instruction.stage);
    let user = instructions.iter().rev().find(|one| one.stage == last && one.name == "USER");
    let id = user.map_or("", |user| user.rest.split(':').next().unwrap_or_default());
    if id.parse::<u32>().is_ok_and(|id| id > 0) {
        return;
    }
    report.add(
        (path, user.map_or(1, |user| user.line)),
        format!("USER is {:?}", user.map_or("", |user| user.rest.as_str())),
        "a number other than 0: runAsNonRoot cannot judge a name",
        "end the last stage with USER 65532:65532",
    );
}

/// What steps use is declared, and what must be given is given by Terraform.
fn substitutions(root: &Node, context: &Context<'_>, report: &mut Report) {
    let declared = root.get("substitutions").map_or(&[][..], Node::entries);
    let names: Vec<_> = declared.iter().map(|(name, _)| name.as_str()).collect();
    for (_, text, line) in root.scalars() {
        for name in used(text).filter(|name| !names.contains(name)) {
            report.add(
                (CLOUD_BUILD, line),
                format!("${name} is not declared"),
                format!("one of {}", names.join(", ")),
                "declare it under substitutions",
            );
        }
    }
    let given = context.tree.text("terraform/modules/build/first-build").unwrap_or_default();
    let trigger = context.tree.hcl("terraform/modules/build/").flat_map(|(_, body)| body.blocks_of("locals"));
    let constant: Vec<_> = trigger.filter_map(|block| block.body.get("substitutions")).collect();
    for (name, value) in declared.iter().filter(|(_, value)| value.text() == Some("")) {
        let by_trigger = constant.iter().any(|given| given.get(name).is_some()) || name == "_RELEASE";
        if given.contains(&format!("{name}=")) && by_trigger {
            continue;
        }
        report.add(
            (CLOUD_BUILD, value.line),
            format!("{name} has no value and Terraform gives none"),
            "a value from terraform/modules/build, for the first build and for the trigger",
            "add it to local.substitutions and to first-build, or give it a default",
        );
    }
    for given in constant {
        for (name, value) in given.entries.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
            report.add(
                ("terraform/modules/build/main.tf", value.line),
                format!("{name} is given to a build that does not know it"),
                format!("one of {}", names.join(", ")),
                format!("declare it in {CLOUD_BUILD}, or remove it"),
            );
        }
    }
}

/// The user substitutions in a text: `$_NAME` and `${_NAME}`, but not `$$`.
fn used(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("$_").chain(text.match_indices("${_")).filter_map(|(at, mark)| {
        if text[..at].ends_with('$') {
            return None;
        }
        let name = &text[at + mark.len() - 1..];
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
        Some(&name[..end])
    })
}

/// The variables that the script reads are set for every step.
fn environment(root: &Node, context: &Context<'_>, report: &mut Report) {
    let set: Vec<_> = root.items_at("options.env").iter().filter_map(|item| item.text()?.split('=').next()).collect();
    for script in context.tree.under(SCRIPT) {
        for name in ["REGISTRY", "CACHE", "RELEASE", "REVISION"] {
            let read = script.text.contains(&format!("${name}")) || script.text.contains(&format!("${{{name}"));
            if read && !set.contains(&name) {
                report.add(
                    (CLOUD_BUILD, root.line_at("options.env")),
                    format!("{name} is not set"),
                    format!("every variable that {SCRIPT} reads"),
                    format!("add {name}=$_{name} to options.env"),
                );
            }
        }
    }
}

/// The compiler of the images is the one that the checkout pins.
fn toolchain(root: &Node, context: &Context<'_>, report: &mut Report) {
    let pin = context.tree.text("rust-toolchain.toml").and_then(|text| text.split("channel = \"").nth(1));
    let Some(channel) = pin.and_then(|rest| rest.split('"').next()) else {
        return;
    };
    let image = root.text_at("substitutions._RUST_IMAGE").unwrap_or_default();
    if !image.contains(&format!("rust:{channel}-")) {
        report.add(
            (CLOUD_BUILD, root.line_at("substitutions._RUST_IMAGE")),
            format!("images are compiled with {image}"),
            format!("rust:{channel}-..., as rust-toolchain.toml says"),
            "change both alike",
        );
    }
    for (path, instructions) in context.tree.dockerfiles() {
        for env in of(instructions, "ENV") {
            let named = env.rest.split("RUSTUP_TOOLCHAIN=").nth(1).and_then(|rest| rest.split_whitespace().next());
            if let Some(named) = named.filter(|named| *named != channel) {
                let what = format!("RUSTUP_TOOLCHAIN is {named}");
                report.add(
                    (path, env.line),
                    what,
                    format!("{channel}, as rust-toolchain.toml says"),
                    "change both alike",
                );
            }
        }
    }
}

/// Terraform names the file that is there.
fn configuration(context: &Context<'_>, report: &mut Report) {
    let Some((file, config)) = context.tree.local("terraform/modules/build", "config") else {
        return;
    };
    let path = config.literal.as_deref().unwrap_or_default();
    if context.tree.text(path).is_none() {
        report.add((file, config.line), format!("{path} is not there"), CLOUD_BUILD, "name the build's file");
    }
}

fn of<'a>(instructions: &'a [Instruction], name: &'a str) -> impl Iterator<Item = &'a Instruction> {
    instructions.iter().filter(move |instruction| instruction.name == name)
}
