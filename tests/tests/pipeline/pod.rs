//! What a kubelet makes of a pod's spec, with folders instead of mounts and processes instead of containers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::binaries::binary;
use crate::manifests::Manifests;

const DOCKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docker");

/// What a cluster gives a pod and no manifest can.
#[derive(Default)]
pub struct Supplied {
    /// The folders of volumes that are neither of the pod nor of a ConfigMap, by the volume's name.
    pub volumes: Vec<(&'static str, PathBuf)>,
    /// Variables that are added, or stand in the place of a manifest's.
    pub env: Vec<(&'static str, String)>,
}

/// A pod of a ScaledJob or a StatefulSet, with its volumes.
pub struct Pod<'a> {
    manifests: &'a Manifests,
    spec: &'a Value,
    volumes: BTreeMap<String, PathBuf>,
    supplied: Supplied,
}

impl<'a> Pod<'a> {
    /// Makes the pod's volumes in `folder`, which must exist.
    pub fn new(manifests: &'a Manifests, kind: &str, name: &str, folder: &Path, supplied: Supplied) -> Result<Self> {
        let spec = manifests.pod(kind, name)?;
        let volumes = supplied.volumes.iter().map(|(volume, place)| ((*volume).to_owned(), place.clone())).collect();
        let mut pod = Self { manifests, spec, volumes, supplied };
        for volume in items(&spec["volumes"]) {
            let volume_name = text(volume, "name")?;
            if !pod.volumes.contains_key(volume_name) {
                let place = folder.join(format!("{name}-{volume_name}"));
                pod.fill(volume, &place).with_context(|| format!("{kind} {name}: volume {volume_name}"))?;
                pod.volumes.insert(volume_name.to_owned(), place);
            }
        }
        Ok(pod)
    }

    /// Its init containers in their order, then its containers, each as a command.
    pub fn commands(&self) -> Result<Vec<Command>> {
        let containers = items(&self.spec["initContainers"]).chain(items(&self.spec["containers"]));
        containers.map(|container| self.command(container)).collect()
    }

    /// Its init container of that name as a command.
    pub fn init_container(&self, name: &str) -> Result<Command> {
        let found = items(&self.spec["initContainers"]).find(|container| container["name"] == name);
        self.command(found.with_context(|| format!("no init container {name}"))?)
    }

    /// The name of the claim behind a volume.
    pub fn claim(&self, volume: &str) -> Option<&str> {
        let volume = items(&self.spec["volumes"]).find(|one| one["name"] == volume)?;
        volume["persistentVolumeClaim"]["claimName"].as_str()
    }

    /// The ServiceAccount whose token is mounted; none where none is.
    pub fn account(&self) -> Option<&str> {
        let is_mounted = self.spec["automountServiceAccountToken"] == true;
        self.spec["serviceAccountName"].as_str().filter(|_| is_mounted)
    }

    fn fill(&self, volume: &Value, place: &Path) -> Result<()> {
        fs::create_dir(place)?;
        if volume.get("emptyDir").is_some() {
            return Ok(());
        }
        let source = volume.get("configMap").context("nothing of a test's own, and no folder is given for it")?;
        for (file, content) in self.config_map(source)? {
            fs::write(place.join(file), content)?;
        }
        Ok(())
    }

    /// The data of a ConfigMap; nothing where it may be missing and is.
    fn config_map(&self, reference: &Value) -> Result<BTreeMap<String, String>> {
        let found = self.manifests.object("ConfigMap", text(reference, "name")?);
        match found {
            Err(_) if reference["optional"] == true => Ok(BTreeMap::new()),
            found => Ok(serde_json::from_value(found?["data"].clone())?),
        }
    }

    /// Only what the manifest says is in its environment, and what the image of every container has: a `PATH`.
    fn command(&self, container: &Value) -> Result<Command> {
        let mounts = self.mounts(container)?;
        let mut words = self.words(container)?;
        for word in words.iter_mut().skip(1) {
            *word = outside(word, &mounts)?;
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().env("PATH", std::env::var("PATH")?);
        for (name, value) in self.env(container)? {
            command.env(&name, outside(&value, &mounts).context(name.clone())?);
        }
        if let Some(scratch) = mounts.get("/tmp") {
            command.env("TMPDIR", scratch);
        }
        command.envs(self.supplied.env.iter().map(|(name, value)| (*name, value)));
        Ok(command)
    }

    /// Program and arguments: the manifest's command, or else the image's entrypoint, and the manifest's arguments.
    fn words(&self, container: &Value) -> Result<Vec<String>> {
        let own: Vec<String> = items(&container["command"]).filter_map(Value::as_str).map(str::to_owned).collect();
        let mut words = if own.is_empty() { vec![entrypoint(text(container, "image")?)?] } else { own };
        words.extend(items(&container["args"]).filter_map(Value::as_str).map(str::to_owned));
        Ok(words)
    }

    fn env(&self, container: &Value) -> Result<BTreeMap<String, String>> {
        let mut env = BTreeMap::new();
        for source in items(&container["envFrom"]) {
            let reference =
                source.get("configMapRef").with_context(|| format!("only ConfigMaps are known: {source}"))?;
            env.extend(self.config_map(reference)?);
        }
        for variable in items(&container["env"]) {
            ensure!(variable.get("valueFrom").is_none(), "only values are known: {variable}");
            env.insert(text(variable, "name")?.to_owned(), text(variable, "value")?.to_owned());
        }
        Ok(env)
    }

    /// Folders by the paths at which the container has them.
    fn mounts(&self, container: &Value) -> Result<BTreeMap<String, PathBuf>> {
        let of = |mount: &Value| {
            let volume = text(mount, "name")?;
            let Some(place) = self.volumes.get(volume) else { bail!("no volume {volume}") };
            Ok((text(mount, "mountPath")?.to_owned(), place.clone()))
        };
        items(&container["volumeMounts"]).map(of).collect()
    }
}

/// The program that an image starts: its Dockerfile names it, cargo built it.
fn entrypoint(image: &str) -> Result<String> {
    let name = image.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or(image);
    let path = Path::new(DOCKER).join(name).join("Dockerfile");
    let dockerfile = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let line = dockerfile.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).context("an entrypoint")?;
    let words: Vec<String> = serde_json::from_str(line)?;
    let [program] = words.as_slice() else { bail!("{}: one word expected: {line}", path.display()) };
    let worker =
        program.strip_prefix("/usr/local/bin/polkashots-").with_context(|| format!("one of ours: {program}"))?;
    Ok(binary(worker).display().to_string())
}

/// A path of the container's as one of ours: the longest mount that it is in is replaced by that mount's folder.
fn outside(path: &str, mounts: &BTreeMap<String, PathBuf>) -> Result<String> {
    if !path.starts_with('/') {
        return Ok(path.to_owned());
    }
    let below = |mount: &str| path.strip_prefix(mount).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let fits = mounts.iter().filter_map(|(mount, place)| Some((mount.len(), below(mount)?, place)));
    let longest = fits.max_by_key(|(length, ..)| *length);
    let (_, rest, place) = longest.with_context(|| format!("{path} is below nothing that is mounted"))?;
    Ok(format!("{}{rest}", place.display()))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no {key} in {value}"))
}
