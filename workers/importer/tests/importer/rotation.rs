//! Sites that change their key.

use crate::common::{Bucket, refused, restored, tree};
use anyhow::{Result, ensure};
use polkashots_shared::minisign::SecretKey;
use polkashots_shared::rotation::{Announcement, KeyAnnouncements};

fn announce(bucket: &Bucket, old: &SecretKey, new: &SecretKey) -> Result<()> {
    let mut keys = KeyAnnouncements::none();
    keys.announcements.push(Announcement::sign(old, &new.public_key(), chrono::Utc::now())?);
    Ok(std::fs::write(bucket.path("keys.json"), keys.to_bytes())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_pinned_one_announced_is_believed_and_no_other() -> Result<()> {
    let bucket = Bucket::with(&tree(70))?;
    let (old, stranger) = (SecretKey::generate()?, SecretKey::generate()?);
    let chain = tempfile::tempdir()?;
    let manifest = bucket.path("testnet-rocksdb-prune/20261122-040000.manifest.json").display().to_string();
    for source in [bucket.source(), manifest] {
        let mut request = bucket.request(&source, &chain.path().join("chain"));
        request.trust.keys = vec![polkashots_importer::Key::Text(old.public_key().to_base64())];
        ensure!(refused(&request).await?.to_string().contains("signed by key"), "no announcement");
        announce(&bucket, &stranger, &bucket.key)?;
        ensure!(refused(&request).await?.to_string().contains("signed by key"), "a stranger's announcement");
        std::fs::write(bucket.path("keys.json"), "not json")?;
        ensure!(refused(&request).await?.to_string().contains("signed by key"), "no announcement");
        announce(&bucket, &old, &bucket.key)?;
        restored(&request).await?;
        std::fs::remove_dir_all(chain.path().join("chain"))?;
        std::fs::remove_file(bucket.path("keys.json"))?;
    }
    Ok(())
}
