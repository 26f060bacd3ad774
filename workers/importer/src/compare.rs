//! What of a snapshot is on disk already: each frame is made again from the files there, and its SHA-256 compared.

use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use polkashots_shared::ids::Sha256;

use crate::durable;
use crate::plan::{Plan, TarStream};

/// Most bytes of frames in memory, over all threads; one thread there is in any case.
const FRAMES_BYTES: usize = 64 * 1024 * 1024;

/// Compares a tree on disk with a plan.
#[derive(Debug)]
pub struct Comparison<'a> {
    plan: &'a Plan,
    top: PathBuf,
    /// Bytes compared so far, for progress.
    done: &'a AtomicU64,
    /// Ends the comparison early once true.
    stop: &'a AtomicBool,
}

impl<'a> Comparison<'a> {
    /// Compares what is in `top`, which is the plan's top folder (`db` or `paritydb`) under whatever name.
    pub fn new(plan: &'a Plan, top: PathBuf, done: &'a AtomicU64, stop: &'a AtomicBool) -> Self {
        Self { plan, top, done, stop }
    }

    /// Which frames are there, byte for byte and where they should be; those of `skip` are not looked at and count as not.
    ///
    /// What cannot be read is not there: a damaged disk is a reason to fetch.
    pub fn frames_there(&self, skip: &[bool], threads: Option<NonZeroUsize>) -> Vec<bool> {
        let there: Vec<AtomicBool> = skip.iter().map(|_| AtomicBool::new(false)).collect();
        let stream = TarStream::new(self.plan);
        let linked = self.folders_behind_links();
        let next = AtomicUsize::new(0);
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let most = (FRAMES_BYTES / self.plan.largest_frame().max(1)).max(1);
        std::thread::scope(|scope| {
            for _ in 0..threads.unwrap_or(cores).get().min(most) {
                scope.spawn(|| {
                    let mut reader = Reader { top: &self.top, plan: self.plan, linked: &linked, open: None };
                    let mut buffer = Vec::new();
                    while let Some(frame) = self.take(&next) {
                        let is_there = !skip[frame] && self.is_there(&stream, frame, &mut reader, &mut buffer);
                        there[frame].store(is_there, Ordering::Relaxed);
                        let size = u64::from(self.plan.frames[frame].uncompressed_size);
                        self.done.fetch_add(size, Ordering::Relaxed);
                    }
                });
            }
        });
        there.into_iter().map(AtomicBool::into_inner).collect()
    }

    fn take(&self, next: &AtomicUsize) -> Option<usize> {
        let frame = next.fetch_add(1, Ordering::Relaxed);
        (frame < self.plan.frames.len() && !self.stop.load(Ordering::Relaxed)).then_some(frame)
    }

    fn is_there(&self, stream: &TarStream<'_>, frame: usize, reader: &mut Reader<'_>, buffer: &mut Vec<u8>) -> bool {
        let filled = stream.fill(frame, buffer, |file, offset, slice| reader.read(file, offset, slice));
        filled.is_ok() && Sha256::of(buffer) == self.plan.frames[frame].content_sha256
    }

    /// Folders of the plan that are something else on disk: what is behind a symbolic link is not inside the tree.
    fn folders_behind_links(&self) -> Vec<String> {
        let is_folder = |folder: &&String| {
            let at = inside(&self.top, folder);
            at.symlink_metadata().is_ok_and(|found| found.is_dir())
        };
        self.plan
            .folders
            .iter()
            .skip(1)
            .filter(|folder| !is_folder(folder))
            .map(|folder| format!("{folder}/"))
            .collect()
    }
}

/// The place of a planned path in the folder that stands for the plan's top folder.
pub fn inside(top: &Path, path: &str) -> PathBuf {
    match path.split_once('/') {
        Some((_, rest)) => top.join(rest),
        None => top.to_owned(),
    }
}

/// Reads planned files; keeps the last one open.
struct Reader<'a> {
    top: &'a Path,
    plan: &'a Plan,
    linked: &'a [String],
    open: Option<(usize, File)>,
}

impl Reader<'_> {
    fn read(&mut self, number: usize, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let reuse = self.open.take().filter(|(open, _)| *open == number);
        let opened = match reuse {
            Some(opened) => opened,
            None => (number, self.open(&self.plan.files[number].path)?),
        };
        self.open.insert(opened).1.read_exact_at(buffer, offset)
    }

    fn open(&self, path: &str) -> std::io::Result<File> {
        if self.linked.iter().any(|folder| path.starts_with(folder.as_str())) {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        let file = OpenOptions::new().read(true).custom_flags(durable::no_follow()).open(inside(self.top, path))?;
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}
