//! Kubernetes objects as the rules look at them.

use super::tree::Tree;
use super::yaml::Node;

/// An object of a manifest, and the file that it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) file: &'a str,
    pub(super) root: &'a Node,
}

/// The pods that an object makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pod<'a> {
    pub(super) owner: Object<'a>,
    /// `metadata` and `spec`.
    pub(super) template: &'a Node,
    pub(super) spec: &'a Node,
}

/// A container of a pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container<'a> {
    pub(super) pod: Pod<'a>,
    pub(super) node: &'a Node,
}

/// Where a setting's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From<'a> {
    /// It stands in the manifest.
    Literal(&'a str),
    /// It stands in a ConfigMap.
    ConfigMap(&'a str),
    /// It is in a Secret, which no manifest has.
    Secret,
    /// It is the pod's own: its name, its namespace.
    Field,
}

/// A variable of a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    pub(super) from: From<'a>,
    pub(super) file: &'a str,
    pub(super) line: usize,
}

/// Which of the rendered files an object is in, by what the file's name begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Cluster,
    Target,
    Publisher,
}

/// A rendered file: what is applied at once.
#[derive(Debug, Clone)]
pub(super) struct Rendered<'a> {
    pub(super) file: &'a str,
    pub(super) part: Part,
    pub(super) objects: Vec<Object<'a>>,
}

/// Where `script/render-k8s` writes.
pub(super) const RENDERED: &str = "k8s/rendered/";

/// The rendered files.
pub(super) fn rendered(tree: &Tree) -> Vec<Rendered<'_>> {
    let part = |file: &str| match file.strip_prefix(RENDERED)? {
        name if name.starts_with("cluster") => Some(Part::Cluster),
        name if name.starts_with("target-") => Some(Part::Target),
        name if name.starts_with("publisher-") => Some(Part::Publisher),
        _ => None,
    };
    tree.yaml(RENDERED)
        .filter_map(|(file, documents)| {
            let objects = documents.iter().map(|root| Object { file, root }).collect();
            Some(Rendered { file, part: part(file)?, objects })
        })
        .collect()
}

/// The objects of one file.
pub(super) fn of_file<'a>(tree: &'a Tree, file: &'a str) -> Vec<Object<'a>> {
    tree.yaml(file).flat_map(|(file, documents)| documents.iter().map(move |root| Object { file, root })).collect()
}

/// What of an overlay is a target or a publisher: the objects of each namespace in which a ScaledJob of ours is.
pub(super) fn by_namespace<'a>(objects: &[Object<'a>]) -> Vec<Rendered<'a>> {
    let jobs = objects.iter().filter(|object| object.kind() == "ScaledJob");
    let parts = jobs.filter_map(|job| match job.name() {
        "engine" => Some((job, Part::Target)),
        "publisher" => Some((job, Part::Publisher)),
        _ => None,
    });
    let beside = |job: &Object<'a>| objects.iter().filter(|one| one.namespace() == job.namespace()).copied().collect();
    parts.map(|(job, part)| Rendered { file: job.file, part, objects: beside(job) }).collect()
}

/// Every whole object of `k8s/`: rendered ones, and the sources in `k8s/base`.
pub(super) fn whole(tree: &Tree) -> Vec<Object<'_>> {
    let sources = tree.yaml("k8s/base/").filter(|(file, _)| !file.ends_with("/kustomization.yaml"));
    sources
        .chain(tree.yaml(RENDERED))
        .flat_map(|(file, documents)| documents.iter().map(move |root| Object { file, root }))
        .filter(|object| object.root.get("kind").is_some())
        .collect()
}

impl<'a> Object<'a> {
    pub(super) fn kind(self) -> &'a str {
        self.root.text_at("kind").unwrap_or_default()
    }

    pub(super) fn name(self) -> &'a str {
        self.root.text_at("metadata.name").unwrap_or_default()
    }

    pub(super) fn namespace(self) -> &'a str {
        self.root.text_at("metadata.namespace").unwrap_or_default()
    }

    /// `Role engine`.
    pub(super) fn title(self) -> String {
        format!("{} {}", self.kind(), self.name())
    }

    /// A place in its file.
    pub(super) fn at(self, path: &str) -> (&'a str, usize) {
        (self.file, self.root.line_at(path))
    }

    /// The pods that it makes.
    pub(super) fn pod(self) -> Option<Pod<'a>> {
        let path = match self.kind() {
            "StatefulSet" | "Deployment" | "DaemonSet" | "Job" => "spec.template",
            "CronJob" => "spec.jobTemplate.spec.template",
            "ScaledJob" => "spec.jobTargetRef.template",
            _ => return None,
        };
        let template = self.root.at(path)?;
        Some(Pod { owner: self, template, spec: template.get("spec")? })
    }
}

impl<'a> Pod<'a> {
    pub(super) fn file(self) -> &'a str {
        self.owner.file
    }

    /// Its containers, those that run first included.
    pub(super) fn containers(self) -> Vec<Container<'a>> {
        let lists = ["initContainers", "containers"];
        lists.iter().flat_map(|list| self.spec.items_at(list)).map(|node| Container { pod: self, node }).collect()
    }

    /// Its volume of a name: one of its own, or what a StatefulSet claims for it.
    pub(super) fn volume(self, name: &str) -> Option<&'a Node> {
        let claims = self.owner.root.items_at("spec.volumeClaimTemplates");
        let own = self.spec.items_at("volumes").iter().find(|volume| volume.text_at("name") == Some(name));
        own.or_else(|| claims.iter().find(|claim| claim.text_at("metadata.name") == Some(name)))
    }

    /// True where a selector's labels are among the pod's.
    pub(super) fn is_selected_by(self, labels: &Node) -> bool {
        let own = self.template.at("metadata.labels");
        labels.entries().iter().all(|(key, value)| own.and_then(|own| own.get(key)?.text()) == value.text())
    }
}

impl<'a> Container<'a> {
    pub(super) fn name(self) -> &'a str {
        self.node.text_at("name").unwrap_or_default()
    }

    pub(super) fn image(self) -> &'a str {
        self.node.text_at("image").unwrap_or_default()
    }

    /// The image's own name: `snapshotter` of `${registry}/snapshotter:${release}`.
    pub(super) fn image_name(self) -> &'a str {
        let image = self.image();
        let image = image.rsplit('/').next().unwrap_or(image);
        image.split([':', '@']).next().unwrap_or(image)
    }

    /// True where the image's own program is started, not another one that is in it, such as a shell.
    pub(super) fn starts_own_program(self) -> bool {
        self.node.get("command").is_none()
    }

    /// `container engine of ScaledJob engine`.
    pub(super) fn title(self) -> String {
        format!("container {} of {}", self.name(), self.pod.owner.title())
    }

    /// A place in its file.
    pub(super) fn at(self, path: &str) -> (&'a str, usize) {
        (self.pod.file(), self.node.line_at(path))
    }

    /// Its variables: what it names itself comes after, and so overrules, what it takes from ConfigMaps in `beside`.
    pub(super) fn variables(self, beside: &[Object<'a>]) -> Vec<Variable<'a>> {
        let mut found = Vec::new();
        for source in self.node.items_at("envFrom") {
            let Some(name) = source.text_at("configMapRef.name") else {
                continue;
            };
            let maps = beside.iter().filter(|object| object.kind() == "ConfigMap" && object.name() == name);
            for map in maps {
                for (name, value) in map.root.at("data").map_or(&[][..], Node::entries) {
                    let from = From::ConfigMap(value.text().unwrap_or_default());
                    found.push(Variable { name, from, file: map.file, line: value.line });
                }
            }
        }
        for item in self.node.items_at("env") {
            let name = item.text_at("name").unwrap_or_default();
            found.retain(|variable: &Variable<'_>| variable.name != name);
            found.push(Variable { name, from: own_value(item), file: self.pod.file(), line: item.line });
        }
        found
    }

    /// What is mounted at a path or above it: the mount and the volume.
    pub(super) fn mounted_at(self, path: &str) -> Option<(&'a Node, Option<&'a Node>)> {
        let covers = |mount: &&Node| {
            let at = mount.text_at("mountPath").unwrap_or_default().trim_end_matches('/');
            path == at || path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'))
        };
        let mounts = self.node.items_at("volumeMounts").iter().filter(covers);
        let mount = mounts.max_by_key(|mount| mount.text_at("mountPath").unwrap_or_default().len())?;
        Some((mount, self.pod.volume(mount.text_at("name").unwrap_or_default())))
    }
}

impl<'a> Variable<'a> {
    pub(super) fn at(self) -> (&'a str, usize) {
        (self.file, self.line)
    }

    /// Its value, where it can be known.
    pub(super) fn value(self) -> Option<&'a str> {
        match self.from {
            From::Literal(value) | From::ConfigMap(value) => Some(value),
            From::Secret | From::Field => None,
        }
    }
}

fn own_value(item: &Node) -> From<'_> {
    match item.get("valueFrom") {
        Some(source) if source.get("secretKeyRef").is_some() => From::Secret,
        Some(_) => From::Field,
        None => From::Literal(item.text_at("value").unwrap_or_default()),
    }
}
