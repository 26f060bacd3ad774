//! `polkashots keygen`: makes the key pair that signs snapshots.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use polkashots_shared::clock::{Clock as _, SystemClock};
use polkashots_shared::minisign::{KeyError, PublicKey, SecretKey};
use polkashots_shared::names::KEYS_KEY;
use polkashots_shared::rotation::{Announcement, KeyAnnouncements};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::output::{self, CommandError};

/// The secret key's file inside the folder.
pub const SECRET_KEY_FILE: &str = "polkashots.key";
/// The public key's file inside the folder.
pub const PUBLIC_KEY_FILE: &str = "polkashots.pub";

/// Makes polkashots.key (mode 0600, keep it to yourself) and polkashots.pub (publish it) in minisign's format.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  polkashots keygen --out keys --password-file password.txt\n\n\
    Nothing is ever overwritten. `minisign -S -s polkashots.key` accepts the key, and keys of `minisign -G` work here.")]
pub struct KeygenArgs {
    /// The folder for both files; made if it is not there
    #[arg(long, env = "POLKASHOTS_KEY_DIR", value_name = "DIR")]
    pub out: PathBuf,
    /// A file whose first line encrypts the secret key; without it the key is not encrypted
    #[arg(long, env = "POLKASHOTS_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The secret key that signed until now: it announces the new one, in keys.json in the folder of --out
    #[arg(long, env = "POLKASHOTS_ROTATE_FROM", value_name = "FILE")]
    pub rotate_from: Option<PathBuf>,
    /// A file whose first line is that key's password
    #[arg(long, env = "POLKASHOTS_ROTATE_PASSWORD_FILE", value_name = "FILE", requires = "rotate_from")]
    pub rotate_password_file: Option<PathBuf>,
    /// The keys.json that is published now, whose announcements stay
    #[arg(long, env = "POLKASHOTS_PUBLISHED_KEYS", value_name = "FILE", requires = "rotate_from")]
    pub published_keys: Option<PathBuf>,
    /// Print JSON: secret_key, public_key (paths), key (base64), key_id
    #[arg(long)]
    pub json: bool,
}

/// What `keygen --json` prints.
#[derive(Debug, Serialize)]
pub struct Generated {
    /// The secret key's file.
    pub secret_key: PathBuf,
    /// The public key's file.
    pub public_key: PathBuf,
    /// The public key as one line.
    pub key: String,
    /// The pair's id.
    pub key_id: String,
}

/// Runs the command.
pub fn run(args: &KeygenArgs) -> Result<(), CommandError> {
    let password = args.password_file.as_deref().map(read_password).transpose()?;
    let rotation = args.rotation()?;
    let generated = generate(&args.out, password.as_ref().map(|password| password.as_str()))?;
    if let Some(rotation) = rotation {
        let path = rotation.announce(&generated, &args.out)?;
        if !args.json {
            output::line(format_args!(
                "announced   {} (copy it into the bucket, beside index.json: the publisher checks and publishes it)",
                path.display()
            ));
        }
    }
    if args.json {
        return output::json(&generated);
    }
    output::line(format_args!(
        "secret key  {} (keep it to yourself, and a copy elsewhere)",
        generated.secret_key.display()
    ));
    output::line(format_args!("public key  {} (publish it)", generated.public_key.display()));
    output::line(format_args!("            {}", generated.key));
    Ok(())
}

/// The key that goes, and what was announced before.
struct Rotation {
    old: SecretKey,
    announcements: KeyAnnouncements,
}

impl KeygenArgs {
    /// Reads everything that a rotation needs, before anything is made.
    fn rotation(&self) -> Result<Option<Rotation>, CommandError> {
        let Some(old) = &self.rotate_from else { return Ok(None) };
        let old = load_secret_key(old, self.rotate_password_file.as_deref())?;
        let announcements = match &self.published_keys {
            None => KeyAnnouncements::none(),
            Some(path) => {
                let failed =
                    |error: &dyn std::fmt::Display| CommandError::failed(format!("{}: {error}", path.display()));
                let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
                KeyAnnouncements::from_bytes(&bytes).map_err(|error| failed(&error))?
            }
        };
        Ok(Some(Rotation { old, announcements }))
    }
}

impl Rotation {
    /// Writes `keys.json` with one announcement more; gives its path.
    fn announce(mut self, generated: &Generated, folder: &Path) -> Result<PathBuf, CommandError> {
        let new = PublicKey::from_base64(&generated.key).map_err(CommandError::failed)?;
        let announcement = Announcement::sign(&self.old, &new, SystemClock.now()).map_err(CommandError::failed)?;
        self.announcements.announcements.push(announcement);
        let path = folder.join(KEYS_KEY);
        let text = String::from_utf8(self.announcements.to_bytes()).map_err(CommandError::failed)?;
        write_new(&path, &text).map_err(|error| CommandError::failed(format!("{}: {error}", path.display())))?;
        Ok(path)
    }
}

/// Makes both files; one that is there already is an error and is left as it is.
pub fn generate(folder: &Path, password: Option<&str>) -> Result<Generated, CommandError> {
    let doing = |error: CommandError| error.doing("keygen");
    std::fs::create_dir_all(folder)
        .map_err(|error| doing(CommandError::failed(format!("{}: {error}", folder.display()))))?;
    let secret_path = folder.join(SECRET_KEY_FILE);
    let public_path = folder.join(PUBLIC_KEY_FILE);
    for path in [&secret_path, &public_path] {
        if path.exists() {
            let error = CommandError::failed(format!("{}: is there already and is not overwritten", path.display()));
            return Err(doing(error).hint("choose another folder with --out, or move the old key away"));
        }
    }
    let secret = SecretKey::generate().map_err(|error| doing(CommandError::failed(error)))?;
    let public = secret.public_key();
    write_new(&public_path, &public.to_text())
        .map_err(|error| doing(CommandError::failed(format!("{}: {error}", public_path.display()))))?;
    if let Err(error) = secret.create_file(&secret_path, password) {
        // Half a pair is worth nothing; the error that matters is the one above.
        let _ = std::fs::remove_file(&public_path);
        return Err(doing(CommandError::failed(error)));
    }
    Ok(Generated {
        secret_key: secret_path,
        public_key: public_path,
        key: public.to_base64(),
        key_id: public.id().to_string(),
    })
}

/// The first line of a password file.
pub fn read_password(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| CommandError::failed(format!("password file {}: {error}", path.display())))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(CommandError::failed(format!(
            "password file {}: its first line is empty, expected the password",
            path.display()
        )));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Reads the secret key that signs, with its password if one is configured.
pub fn load_secret_key(path: &Path, password_file: Option<&Path>) -> Result<SecretKey, CommandError> {
    let password = password_file.map(read_password).transpose()?;
    SecretKey::from_file(path, password.as_ref().map(|password| password.as_str())).map_err(|error| {
        let missing = matches!(&error, KeyError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
        let error = CommandError::failed(error).doing("secret key");
        if missing { error.hint("make one with: polkashots keygen --out DIR") } else { error }
    })
}

/// Reads a public key from a file or from its one line of text.
pub fn load_public_key(key: &str) -> Result<PublicKey, KeyError> {
    if PublicKey::is_text(key) { PublicKey::from_base64(key) } else { PublicKey::from_file(Path::new(key)) }
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
