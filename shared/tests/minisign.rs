//! Signatures in minisign's format: round trips, tampering, hostile files, and the real `minisign` both ways.

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use polkashots_shared::minisign::{
    KeyError, PublicKey, SecretKey, SignatureError, key_id_of, sign, verify, verify_reader,
};

const CONTENT: &[u8] = b"{\"schema\": 1}\n";
const COMMENT: &str = "target:dot-paritydb\tversion:20261122-040000\theight:123";

#[test]
fn a_signature_round_trips() -> Result<()> {
    let key = SecretKey::generate()?;
    let text = sign(&key, CONTENT, COMMENT)?;
    let verified = verify(&key.public_key(), CONTENT, &text)?;
    assert_eq!((verified.trusted_comment.as_str(), verified.key_id), (COMMENT, key.id()));
    assert_eq!(verify_reader(&key.public_key(), Cursor::new(CONTENT), &text)?, verified);
    assert_eq!(key_id_of(&text)?, key.id());
    assert_eq!(sign(&key, CONTENT, COMMENT)?, text, "signing twice gives the same bytes");
    Ok(())
}

#[test]
fn empty_and_large_contents_are_signed_too() -> Result<()> {
    let key = SecretKey::generate()?;
    for content in [Vec::new(), vec![7; 300_000]] {
        let text = sign(&key, &content, "")?;
        verify(&key.public_key(), &content, &text)?;
        verify_reader(&key.public_key(), content.as_slice(), &text)?;
    }
    Ok(())
}

#[test]
fn tampering_with_any_byte_that_is_signed_is_refused() -> Result<()> {
    let key = SecretKey::generate()?;
    let text = sign(&key, CONTENT, COMMENT)?;
    let untrusted_line = text.find('\n').context("four lines")? + 1;
    for position in untrusted_line..text.len() - 1 {
        let mut changed = text.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed)?;
        assert!(verify(&key.public_key(), CONTENT, &changed).is_err(), "byte {position} was changed unseen: {changed}");
    }
    for position in 0..CONTENT.len() {
        let mut changed = CONTENT.to_vec();
        changed[position] ^= 1;
        let refused = verify(&key.public_key(), &changed, &text);
        assert!(matches!(refused, Err(SignatureError::Mismatch { .. })), "{refused:?}");
    }
    Ok(())
}

#[test]
fn a_trusted_comment_of_another_signature_is_refused() -> Result<()> {
    let key = SecretKey::generate()?;
    let (one, other) = (sign(&key, CONTENT, "height:1")?, sign(&key, CONTENT, "height:2")?);
    let mixed = one.replace("height:1", "height:2");
    let refused = verify(&key.public_key(), CONTENT, &mixed);
    assert!(matches!(refused, Err(SignatureError::TrustedComment { .. })), "{refused:?}");
    let two_lines: Vec<&str> = one.lines().take(2).chain(other.lines().skip(2)).collect();
    // The content's signature is the same for both, so that this is `other` itself.
    assert_eq!(verify(&key.public_key(), CONTENT, &two_lines.join("\n"))?.trusted_comment, "height:2");
    Ok(())
}

#[test]
fn a_signature_of_another_key_names_both_keys() -> Result<()> {
    let (key, other) = (SecretKey::generate()?, SecretKey::generate()?);
    let text = sign(&other, CONTENT, COMMENT)?;
    let message = verify(&key.public_key(), CONTENT, &text).expect_err("another key signed").to_string();
    assert!(message.contains(&key.id().to_string()) && message.contains(&other.id().to_string()), "{message}");
    Ok(())
}

#[test]
fn texts_that_are_no_signatures_are_refused() -> Result<()> {
    let key = SecretKey::generate()?;
    let good = sign(&key, CONTENT, COMMENT)?;
    let lines: Vec<&str> = good.lines().collect();
    let mut bad: Vec<String> = (0..4).map(|count| lines[..count].join("\n")).collect();
    bad.extend((0..4).map(|gone| lines.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, l)| *l).collect()));
    bad.push(format!("{good}more\n"));
    bad.push("x".repeat(1 << 20));
    bad.push(good.replace("trusted comment: target", "comment: target"));
    bad.push(good.replace(lines[1], &lines[1][..40]));
    for text in bad {
        let refused = verify(&key.public_key(), CONTENT, &text);
        assert!(matches!(refused, Err(SignatureError::Malformed { .. })), "{refused:?} for {text:.200}");
    }
    Ok(())
}

#[test]
fn trusted_comments_are_one_short_line() -> Result<()> {
    let key = SecretKey::generate()?;
    for bad in ["a\nb", "a\rb", "a\0b", "trailing ", &"a".repeat(5000)] {
        let refused = sign(&key, CONTENT, bad);
        assert!(matches!(refused, Err(SignatureError::IllegalComment { .. })), "{bad:?} was signed");
    }
    Ok(())
}

#[test]
fn keys_survive_their_files() -> Result<()> {
    let key = SecretKey::generate()?;
    for password in [None, Some("correct horse")] {
        let read = SecretKey::parse(&key.to_text(password)?, password)?;
        assert_eq!(read.public_key(), key.public_key());
    }
    let public = key.public_key();
    assert_eq!(PublicKey::parse(&public.to_text())?, public);
    assert_eq!(PublicKey::parse(&public.to_base64())?, public);
    assert_eq!(PublicKey::from_base64(&public.to_base64())?, public);
    Ok(())
}

#[test]
fn a_secret_key_is_never_shown() -> Result<()> {
    let key = SecretKey::generate()?;
    let text = key.to_text(None)?;
    let shown = format!("{key:?}");
    assert!(shown.starts_with("SecretKey { id: ") && shown.len() < 100, "{shown}");
    let line = text.lines().nth(1).context("two lines")?;
    let damaged = text.replace(line, &line[..100]);
    let message = SecretKey::parse(&damaged, None).expect_err("truncated").to_string();
    assert!(!message.contains(&line[60..90]), "{message}");
    Ok(())
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_way_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("polkashots.key");
    SecretKey::generate()?.create_file(&path, None)?;
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    SecretKey::from_file(&path, None)?;
    for mode in [0o640, 0o604, 0o620, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        let message = SecretKey::from_file(&path, None).expect_err("others can reach it").to_string();
        assert!(message.contains(&format!("chmod 600 {}", path.display())), "{message}");
    }
    Ok(())
}

#[test]
fn a_key_file_is_never_overwritten() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("polkashots.key");
    let first = SecretKey::generate()?;
    first.create_file(&path, None)?;
    assert!(matches!(SecretKey::generate()?.create_file(&path, None), Err(KeyError::Io { .. })));
    assert_eq!(SecretKey::from_file(&path, None)?.id(), first.id());
    Ok(())
}

#[test]
fn every_unusable_key_file_is_named_in_its_error() -> Result<()> {
    let key = SecretKey::generate()?;
    let (open, sealed, public) = (key.to_text(None)?, key.to_text(Some("pw"))?, key.public_key().to_text());
    let flipped = open.replace("AAA=\n", "AQA=\n");
    ensure!(flipped != *open, "the zero checksum ends in A");
    let cases: [(&str, &[u8], Option<&str>, &str); 9] = [
        ("wrong password", sealed.as_bytes(), Some("no"), "wrong password"),
        ("no password", sealed.as_bytes(), None, "no password is given"),
        ("truncated", &open.as_bytes()[..120], None, "not a minisign key"),
        ("empty", b"", None, "it is empty"),
        ("comment only", b"untrusted comment: x\n", None, "is missing"),
        ("public key", public.as_bytes(), None, "this is a public key"),
        ("damaged", flipped.as_bytes(), None, "damaged"),
        ("large", &[b'A'; 10_000], None, "larger than"),
        ("binary", &[0xff; 100], None, "UTF-8"),
    ];
    let folder = tempfile::tempdir()?;
    for (name, content, password, expected) in cases {
        let path = private_file(folder.path(), name, content)?;
        let message = SecretKey::from_file(&path, password).expect_err(name).to_string();
        assert!(message.contains(expected) && message.contains(&path.display().to_string()), "{name}: {message}");
    }
    let missing = folder.path().join("missing");
    let message = SecretKey::from_file(&missing, None).expect_err("missing").to_string();
    assert!(message.contains("missing"), "{message}");
    assert!(SecretKey::from_file(folder.path(), None).is_err(), "a folder is no key");
    Ok(())
}

#[test]
fn a_secret_key_is_not_taken_for_a_public_one() -> Result<()> {
    let text = SecretKey::generate()?.to_text(None)?;
    assert!(matches!(PublicKey::parse(&text), Err(KeyError::WrongKind { .. })));
    for bad in ["", "RWQ", "untrusted comment: x", "RWSXoONU7PLkYgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert!(PublicKey::parse(bad).is_err(), "{bad} was accepted");
    }
    Ok(())
}

#[test]
fn a_key_file_that_asks_for_too_much_memory_is_refused() -> Result<()> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let text = SecretKey::generate()?.to_text(Some("pw"))?;
    let line = text.lines().nth(1).context("two lines")?;
    let mut bytes = engine.decode(line)?;
    bytes[38..54].fill(0xff);
    let refused = SecretKey::parse(&engine.encode(&bytes), Some("pw"));
    assert!(matches!(refused, Err(KeyError::Unsupported { .. })), "{refused:?}");
    Ok(())
}

#[test]
fn minisign_reads_our_keys_and_accepts_our_signatures() -> Result<()> {
    let Some(minisign) = RealMinisign::find()? else { return Ok(()) };
    let key = SecretKey::generate()?;
    let content = minisign.file("content", CONTENT)?;
    minisign.file("content.minisig", sign(&key, CONTENT, COMMENT)?.as_bytes())?;
    minisign.file("our.pub", key.public_key().to_text().as_bytes())?;
    let said = minisign.run(&["-V", "-p", "our.pub", "-m", "content"], None)?;
    assert!(String::from_utf8_lossy(&said.stdout).contains(COMMENT), "{said:?}");
    minisign.run(&["-V", "-P", &key.public_key().to_base64(), "-m", "content"], None)?;
    for password in [None, Some("correct horse")] {
        private_file(minisign.folder.path(), "our.key", key.to_text(password)?.as_bytes())?;
        minisign.run(&["-S", "-s", "our.key", "-m", "content", "-x", "theirs", "-t", "their comment"], password)?;
        let verified = verify(&key.public_key(), &fs::read(&content)?, &minisign.read("theirs")?)?;
        assert_eq!(verified.trusted_comment, "their comment");
    }
    Ok(())
}

#[test]
fn we_read_minisigns_keys_and_accept_its_signatures() -> Result<()> {
    let Some(minisign) = RealMinisign::find()? else { return Ok(()) };
    minisign.file("content", CONTENT)?;
    for (password, make) in [(None, &["-G", "-W"][..]), (Some("correct horse"), &["-G"][..])] {
        minisign.run(&[make, &["-f", "-p", "their.pub", "-s", "their.key"]].concat(), password)?;
        let path = minisign.folder.path().join("their.key");
        let (secret, public) =
            (SecretKey::from_file(&path, password)?, PublicKey::from_file(&path.with_extension("pub"))?);
        assert_eq!(secret.public_key(), public);
        // In its comment minisign leaves out the leading zeros of the key's id.
        let id = public.id().to_string();
        let short = public.to_text().replacen(&id, id.trim_start_matches('0'), 1);
        let theirs = minisign.read("their.pub")?;
        assert!(theirs == short || theirs == public.to_text(), "{theirs}");
        for (name, legacy) in [("hashed", &[][..]), ("legacy", &["-l"][..])] {
            let sign = [&["-S", "-s", "their.key", "-m", "content", "-x", name][..], legacy].concat();
            minisign.run(&sign, password)?;
            verify(&public, CONTENT, &minisign.read(name)?).context(name)?;
            assert!(verify(&public, b"other", &minisign.read(name)?).is_err(), "{name}");
        }
        let streamed = verify_reader(&public, CONTENT, &minisign.read("legacy")?);
        assert!(matches!(streamed, Err(SignatureError::LegacyStream)), "{streamed:?}");
        minisign.file("content.minisig", sign(&secret, CONTENT, "ours")?.as_bytes())?;
        minisign.run(&["-V", "-p", "their.pub", "-m", "content"], None)?;
    }
    Ok(())
}

fn private_file(folder: &Path, name: &str, content: &[u8]) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// The `minisign` binary in a folder of its own.
struct RealMinisign {
    folder: tempfile::TempDir,
}

impl RealMinisign {
    /// `None`, said aloud, where the binary is not installed; an error where CI should have it.
    fn find() -> Result<Option<Self>> {
        if Command::new("minisign").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
            return Ok(Some(Self { folder: tempfile::tempdir()? }));
        }
        ensure!(std::env::var_os("CI").is_none(), "minisign is not installed, and CI must run this test");
        writeln!(std::io::stderr(), "SKIPPED: minisign is not installed")?;
        Ok(None)
    }

    fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.folder.path().join(name)).with_context(|| name.to_owned())
    }

    /// Runs it with the password, as often as it may ask, on standard input.
    fn run(&self, arguments: &[&str], password: Option<&str>) -> Result<Output> {
        let mut command = Command::new("minisign");
        command.args(arguments).current_dir(self.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().context("standard input is piped")?;
        if let Some(password) = password {
            input.write_all(format!("{password}\n{password}\n").as_bytes())?;
        }
        drop(input);
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "minisign {arguments:?}: {output:?}");
        Ok(output)
    }
}
