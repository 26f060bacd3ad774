//! What the code says of itself, in the form in which the rules compare it.

/// What the binaries and their libraries declare.
#[derive(Debug, Clone)]
pub struct Code {
    /// The four images with what runs in them.
    pub binaries: Vec<Binary>,
    /// The topics of events.
    pub topics: Vec<Topic>,
    /// What the engine's ServiceAccount must be allowed.
    pub engine_permissions: Vec<Permission>,
    /// The folder of uploads under way, in a bucket.
    pub parts_prefix: &'static str,
}

/// A topic and what its messages hold.
#[derive(Debug, Clone, Copy)]
pub struct Topic {
    /// As in `snapshot-published`.
    pub name: &'static str,
    /// The `ce-type`, as in `io.polkashots.snapshot.published.v1`.
    pub event_type: &'static str,
}

/// What is in an image.
#[derive(Debug, Clone)]
pub struct Binary {
    /// The image's name.
    pub image: &'static str,
    /// The package and the program.
    pub package: &'static str,
    /// The worker's name in subscriptions; `None` of the importer, which reads none.
    pub worker: Option<&'static str>,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// The topics that it reads.
    pub reads: Vec<&'static str>,
    /// The topics that it writes to.
    pub emits: Vec<&'static str>,
}

/// One setting of a binary.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its flag: `--store`.
    pub flag: String,
    /// Its variable: `POLKASHOTS_STORE`.
    pub env: String,
    /// True where the binary does not start without it.
    pub required: bool,
    /// Its value where none is given.
    pub default: Option<String>,
    /// The values that it can have, where they are few.
    pub values: Vec<String>,
    /// True where it may stand in no manifest.
    pub secret: bool,
}

/// A rule of a Role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The API group.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// What may be done with it, sorted.
    pub verbs: &'static [&'static str],
}

impl Code {
    /// The binary in an image.
    pub(super) fn in_image(&self, image: &str) -> Option<&Binary> {
        self.binaries.iter().find(|binary| binary.image == image)
    }

    /// The names of the images.
    pub(super) fn images(&self) -> Vec<&'static str> {
        self.binaries.iter().map(|binary| binary.image).collect()
    }

    /// Every subscription as worker and topic.
    pub(super) fn subscriptions(&self) -> Vec<(&'static str, &'static str)> {
        let of = |binary: &Binary| -> Vec<_> {
            let worker = binary.worker;
            binary.reads.iter().filter_map(|topic| Some((worker?, *topic))).collect()
        };
        self.binaries.iter().flat_map(of).collect()
    }
}

impl Binary {
    /// The setting of a variable.
    pub(super) fn setting(&self, env: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.env == env)
    }
}
