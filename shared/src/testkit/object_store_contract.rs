//! The contract of [`ObjectStore`], held by every adapter.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::ids::Sha256;
use crate::ports::object_store::{
    Expected, Generation, Headers, ObjectMeta, ObjectStore, Precondition, StoreError, Upload,
};

/// An hour, beyond which an abandoned upload is old.
const HOUR: Duration = Duration::from_secs(3600);
const MIB: usize = 1024 * 1024;

/// A store to hold to the contract, and what a test can do to it.
#[async_trait]
pub trait StoreUnderTest: Send + Sync {
    /// The store. Two calls may give two handles on the same objects.
    async fn store(&self) -> Box<dyn ObjectStore>;

    /// Makes every upload so far older by `by`; false where no test can.
    async fn age_uploads(&self, by: Duration) -> bool {
        let _ = by;
        false
    }

    /// True where a generation names the content, so that writing the same bytes again keeps it.
    fn generation_is_content(&self) -> bool {
        false
    }

    /// The checks that what stands behind the adapter cannot pass, and why: they must fail.
    fn cannot(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// How many objects the check of long listings writes; more than a page where the adapter pages.
    fn many(&self) -> usize {
        50
    }
}

/// A check's name and its run, which panics with what is broken.
pub type Check<'t> = (&'static str, BoxFuture<'t, ()>);

/// Runs every check, one after the other.
///
/// # Panics
///
/// With what is broken; also where a check that the store [cannot pass](StoreUnderTest::cannot) passes or is none.
pub async fn run(under_test: &dyn StoreUnderTest) {
    let cannot = under_test.cannot();
    let mut excused = 0;
    for (name, check) in checks(under_test) {
        let Some((_, why)) = cannot.iter().find(|(excused, _)| *excused == name) else {
            check.await;
            continue;
        };
        let passed = AssertUnwindSafe(check).catch_unwind().await.is_ok();
        assert!(!passed, "{name} passes now, although: {why}");
        excused += 1;
    }
    assert_eq!(excused, cannot.len(), "each of these is a check: {cannot:?}");
}

/// Every check, each on keys of its own.
fn checks(under_test: &dyn StoreUnderTest) -> Vec<Check<'_>> {
    macro_rules! named {
        ($($check:ident),* $(,)?) => { vec![$((stringify!($check), $check(under_test).boxed())),*] };
    }
    macro_rules! named_on_store {
        ($($check:ident),* $(,)?) => {
            vec![$((stringify!($check), async move { $check(under_test.store().await.as_ref()).await }.boxed())),*]
        };
    }
    let mut all: Vec<Check<'_>> = named_on_store![
        create_is_refused_where_an_object_exists,
        stale_swap_is_refused_and_changes_nothing,
        missing_objects_are_told_apart,
        small_reads_have_a_limit,
        ranges_are_exact,
        listing_is_ordered_and_by_prefix,
        deletion_can_be_repeated,
        an_upload_is_invisible_until_it_is_finished,
        an_upload_that_is_dropped_or_aborted_leaves_nothing,
        an_upload_that_differs_is_corrupt_and_leaves_nothing,
        an_upload_never_replaces,
        an_empty_upload_is_an_empty_object,
        a_large_upload_arrives_as_sent,
        illegal_keys_are_refused,
    ];
    let with_more: Vec<Check<'_>> = named![
        every_write_changes_the_generation,
        a_long_listing_is_whole,
        of_concurrent_creates_exactly_one_wins,
        of_concurrent_uploads_exactly_one_wins,
        of_concurrent_swaps_exactly_one_wins,
        the_sweep_takes_only_what_is_old,
    ];
    all.extend(with_more);
    all
}

fn headers() -> Headers {
    Headers::no_cache("application/octet-stream")
}

fn expected(bytes: &[u8]) -> Expected {
    Expected { size: bytes.len() as u64, sha256: Sha256::of(bytes) }
}

/// Bytes that repeat at no chunk size.
fn pattern(length: usize) -> Bytes {
    let byte = |at: usize| (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(17) ^ (at >> 16)) as u8;
    (0..length).map(byte).collect()
}

async fn create(store: &dyn ObjectStore, key: &str, bytes: impl Into<Bytes>) -> ObjectMeta {
    store.put(key, bytes.into(), Precondition::Create, &headers()).await.expect("a new object is created")
}

async fn content(store: &dyn ObjectStore, key: &str) -> Bytes {
    store.get(key, 64 * MIB as u64).await.expect("the object is there").bytes
}

async fn begin(store: &dyn ObjectStore, key: &str, bytes: &[u8]) -> Box<dyn Upload> {
    let mut upload = store.upload(key, &headers()).await.expect("an upload starts");
    for chunk in bytes.chunks(MIB) {
        upload.write(Bytes::copy_from_slice(chunk)).await.expect("an upload takes bytes");
    }
    upload
}

async fn assert_absent(store: &dyn ObjectStore, key: &str) {
    assert_eq!(store.head(key).await.expect("head answers"), None, "{key} is visible");
    assert!(store.list(key).await.expect("list answers").is_empty(), "{key} is listed");
}

async fn create_is_refused_where_an_object_exists(store: &dyn ObjectStore) {
    let key = "create/object.json";
    let meta = create(store, key, "first").await;
    assert_eq!((meta.key.as_str(), meta.size), (key, 5));
    let refused = store.put(key, "second".into(), Precondition::Create, &headers()).await;
    assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })), "{refused:?}");
    assert_eq!(content(store, key).await, "first");
    assert_eq!(store.head(key).await.expect("head answers"), Some(meta), "head says what put said");
}

async fn stale_swap_is_refused_and_changes_nothing(store: &dyn ObjectStore) {
    let key = "swap/index.json";
    let none_yet = Precondition::Generation(create(store, "swap/other", "x").await.generation);
    let refused = store.put(key, "a".into(), none_yet, &headers()).await;
    assert!(matches!(refused, Err(StoreError::Changed { .. })), "a swap on a missing object: {refused:?}");
    let first = create(store, key, "a").await.generation;
    let swap = async |from: &Generation, to: &'static str| {
        store.put(key, to.into(), Precondition::Generation(from.clone()), &headers()).await
    };
    let second = swap(&first, "b").await.expect("a fresh swap succeeds").generation;
    let stale = swap(&first, "c").await;
    assert!(matches!(stale, Err(StoreError::Changed { .. })), "{stale:?}");
    let object = store.get(key, 10).await.expect("the object is there");
    assert_eq!((object.bytes, object.meta.generation), ("b".into(), second.clone()));
    store.delete(key).await.expect("deleted");
    let gone = swap(&second, "d").await;
    assert!(matches!(gone, Err(StoreError::Changed { .. })), "a swap on a deleted object: {gone:?}");
    assert_absent(store, key).await;
}

async fn every_write_changes_the_generation(under_test: &dyn StoreUnderTest) {
    let (store, is_content) = (under_test.store().await, under_test.generation_is_content());
    let key = "generation/object";
    let mut seen = Vec::new();
    for round in 0..20 {
        let bytes = if is_content { format!("round {round}") } else { "same".to_owned() };
        let written = store.put(key, bytes.into(), Precondition::None, &headers()).await.expect("written");
        assert!(!seen.contains(&written.generation), "round {round} gave a generation again");
        let listed = store.list(key).await.expect("listed");
        assert_eq!(listed.first().map(|meta| &meta.generation), Some(&written.generation), "list agrees");
        seen.push(written.generation);
        if round % 5 == 4 {
            store.delete(key).await.expect("deleted");
        }
    }
}

async fn missing_objects_are_told_apart(store: &dyn ObjectStore) {
    let key = "missing/object";
    assert_absent(store, key).await;
    assert!(matches!(store.get(key, 10).await, Err(StoreError::NotFound { .. })));
    let read = match store.read(key, 0..1).await {
        Ok(chunks) => chunks.try_collect::<Vec<_>>().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(read, Err(StoreError::NotFound { .. })), "{read:?}");
}

async fn small_reads_have_a_limit(store: &dyn ObjectStore) {
    create(store, "limit/object", "12345").await;
    assert_eq!(store.get("limit/object", 5).await.expect("at the limit").bytes, "12345");
    let refused = store.get("limit/object", 4).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { size_bytes: 5, max_bytes: 4, .. })), "{refused:?}");
}

async fn ranges_are_exact(store: &dyn ObjectStore) {
    let (key, bytes) = ("range/object", pattern(MIB + 7));
    create(store, key, bytes.clone()).await;
    let size = bytes.len() as u64;
    let read = async |range: std::ops::Range<u64>| match store.read(key, range).await {
        Ok(chunks) => {
            chunks
                .try_fold(BytesMut::new(), async |mut all, chunk| {
                    all.extend_from_slice(&chunk);
                    Ok(all)
                })
                .await
        }
        Err(error) => Err(error),
    };
    for range in [0..size, 0..1, size - 1..size, 300_000..900_001, 0..0, size..size] {
        let found = read(range.clone()).await.expect("a range inside the object is read");
        assert!(found == bytes[range.start as usize..range.end as usize], "range {range:?} differs");
    }
    for beyond in [size - 1..size + 1, size..size + 1, size + 10..size + 20] {
        assert!(read(beyond.clone()).await.is_err(), "range {beyond:?} of {size} bytes was read");
    }
}

async fn listing_is_ordered_and_by_prefix(store: &dyn ObjectStore) {
    let keys = ["list/a-b/1", "list/a.txt", "list/a/1.json", "list/a/1.json.minisig", "list/a/2/deep/er", "list/b"];
    for key in keys.iter().rev() {
        create(store, key, *key).await;
    }
    let list = async |prefix: &str| -> Vec<String> {
        let listed = store.list(prefix).await.expect("list answers");
        assert!(listed.iter().all(|meta| meta.size == meta.key.len() as u64), "{listed:?}");
        listed.into_iter().map(|meta| meta.key).collect()
    };
    assert_eq!(list("list/").await, keys);
    assert_eq!(list("list/a").await, keys[..5]);
    assert_eq!(list("list/a/").await, keys[2..5]);
    assert_eq!(list("list/a/1").await, keys[2..4]);
    assert_eq!(list("list/b").await, keys[5..]);
    assert!(list("list/none").await.is_empty());
    let all: Vec<String> = store.list("").await.expect("list answers").into_iter().map(|meta| meta.key).collect();
    assert!(all.is_sorted() && keys.iter().all(|key| all.contains(&(*key).to_owned())), "{all:?}");
}

async fn a_long_listing_is_whole(under_test: &dyn StoreUnderTest) {
    let (store, count) = (under_test.store().await, under_test.many());
    let store = store.as_ref();
    let keys: Vec<String> = (0..count).map(|number| format!("many/{number:06}")).collect();
    let writes = futures::stream::iter(keys.clone()).map(async |key| create(store, &key, "x").await);
    writes.buffer_unordered(16).for_each(async |_| {}).await;
    let listed = store.list("many/").await.expect("list answers");
    assert!(listed.iter().map(|meta| &meta.key).eq(&keys), "{} of {count} listed", listed.len());
}

async fn deletion_can_be_repeated(store: &dyn ObjectStore) {
    let key = "delete/folder/object";
    create(store, key, "x").await;
    for _ in 0..2 {
        store.delete(key).await.expect("a deletion can be repeated");
        assert_absent(store, key).await;
    }
    create(store, key, "again").await;
    assert_eq!(content(store, key).await, "again");
}

async fn an_upload_is_invisible_until_it_is_finished(store: &dyn ObjectStore) {
    let key = "upload/visible.tar.zst";
    let upload = begin(store, key, b"some bytes").await;
    assert_absent(store, key).await;
    let meta = upload.finish(expected(b"some bytes")).await.expect("an upload as announced is finished");
    assert_eq!(store.head(key).await.expect("head answers"), Some(meta));
    assert_eq!(content(store, key).await, "some bytes");
}

async fn an_upload_that_is_dropped_or_aborted_leaves_nothing(store: &dyn ObjectStore) {
    let key = "upload/abandoned";
    drop(begin(store, key, b"dropped").await);
    begin(store, key, b"aborted").await.abort().await.expect("an upload is aborted");
    drop(store.upload(key, &headers()).await.expect("an upload starts"));
    assert_absent(store, key).await;
    let upload = begin(store, key, b"kept").await;
    upload.finish(expected(b"kept")).await.expect("nothing is in the way");
}

async fn an_upload_that_differs_is_corrupt_and_leaves_nothing(store: &dyn ObjectStore) {
    let key = "upload/corrupt";
    let sent = expected(b"content");
    let wrong =
        [Expected { size: 6, ..sent }, Expected { size: 8, ..sent }, Expected { size: 7, ..expected(b"CONTENT") }];
    for wrong in wrong {
        let refused = begin(store, key, b"content").await.finish(wrong).await;
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
        assert_absent(store, key).await;
    }
}

async fn an_upload_never_replaces(store: &dyn ObjectStore) {
    let key = "upload/existing";
    let upload = begin(store, key, b"late").await;
    let first = create(store, key, "early").await;
    let refused = upload.finish(expected(b"late")).await;
    assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })), "{refused:?}");
    assert_eq!(store.head(key).await.expect("head answers"), Some(first));
    assert_eq!(content(store, key).await, "early");
}

async fn an_empty_upload_is_an_empty_object(store: &dyn ObjectStore) {
    let key = "upload/empty";
    let mut upload = store.upload(key, &headers()).await.expect("an upload starts");
    upload.write(Bytes::new()).await.expect("no bytes are bytes");
    let meta = upload.finish(expected(b"")).await.expect("an empty upload is finished");
    assert_eq!(meta.size, 0);
    assert!(content(store, key).await.is_empty());
}

async fn a_large_upload_arrives_as_sent(store: &dyn ObjectStore) {
    let (key, bytes) = ("upload/large", pattern(9 * MIB + 12_345));
    let mut upload = store.upload(key, &headers()).await.expect("an upload starts");
    let mut rest = bytes.clone();
    for length in [1, 255 * 1024, 3 * MIB + 1, 4 * MIB].into_iter().cycle() {
        let chunk = rest.split_to(length.min(rest.len()));
        upload.write(chunk).await.expect("an upload takes bytes");
        if rest.is_empty() {
            break;
        }
    }
    let meta = upload.finish(expected(&bytes)).await.expect("a large upload is finished");
    assert_eq!(meta.size, bytes.len() as u64);
    assert!(content(store, key).await == bytes, "the large object differs");
}

fn winners<T>(results: &[Result<T, StoreError>], lost: impl Fn(&StoreError) -> bool) -> usize {
    let losers = results.iter().filter_map(|result| result.as_ref().err());
    for error in losers {
        assert!(lost(error), "a loser was told: {error}");
    }
    results.iter().filter(|result| result.is_ok()).count()
}

async fn of_concurrent_creates_exactly_one_wins(under_test: &dyn StoreUnderTest) {
    let creates = (0..8).map(async |number: u8| {
        let store = under_test.store().await;
        store.put("race/create", vec![number].into(), Precondition::Create, &headers()).await
    });
    let results = futures::future::join_all(creates).await;
    assert_eq!(winners(&results, |error| matches!(error, StoreError::AlreadyExists { .. })), 1);
    let winner = results.iter().position(Result::is_ok).expect("one won") as u8;
    assert_eq!(content(under_test.store().await.as_ref(), "race/create").await, vec![winner]);
}

async fn of_concurrent_uploads_exactly_one_wins(under_test: &dyn StoreUnderTest) {
    let uploads = (0..4).map(async |number: u8| {
        let store = under_test.store().await;
        begin(store.as_ref(), "race/upload", &[number]).await.finish(expected(&[number])).await
    });
    let results = futures::future::join_all(uploads).await;
    assert_eq!(winners(&results, |error| matches!(error, StoreError::AlreadyExists { .. })), 1);
}

async fn of_concurrent_swaps_exactly_one_wins(under_test: &dyn StoreUnderTest) {
    let generation = create(under_test.store().await.as_ref(), "race/swap", "old").await.generation;
    let swaps = (0..8).map(async |number: u8| {
        let store = under_test.store().await;
        store.put("race/swap", vec![number].into(), Precondition::Generation(generation.clone()), &headers()).await
    });
    let results = futures::future::join_all(swaps).await;
    assert_eq!(winners(&results, |error| matches!(error, StoreError::Changed { .. })), 1);
}

async fn the_sweep_takes_only_what_is_old(under_test: &dyn StoreUnderTest) {
    let store = under_test.store().await;
    let young = begin(store.as_ref(), "sweep/young", b"young").await;
    store.sweep_uploads(HOUR).await.expect("the sweep answers");
    young.finish(expected(b"young")).await.expect("a young upload survives the sweep");
    drop(begin(store.as_ref(), "sweep/old", b"old").await);
    if !under_test.age_uploads(2 * HOUR).await {
        return;
    }
    store.sweep_uploads(HOUR).await.expect("the sweep answers");
    assert_eq!(store.sweep_uploads(HOUR).await.expect("the sweep answers"), 0, "a sweep leaves nothing old");
    assert_absent(store.as_ref(), "sweep/old").await;
    assert_eq!(content(store.as_ref(), "sweep/young").await, "young");
}

async fn illegal_keys_are_refused(store: &dyn ObjectStore) {
    let long = "k".repeat(513);
    for key in ["", "/absolute", "a//b", "a/", "../a", "a/../b", "./a", "a\\b", "a\nb", "a\0b", &long] {
        let refused = [
            store.head(key).await.err(),
            store.get(key, 1).await.err(),
            store.read(key, 0..1).await.err(),
            store.put(key, "x".into(), Precondition::None, &headers()).await.err(),
            store.upload(key, &headers()).await.err(),
            store.delete(key).await.err(),
        ];
        for (call, refused) in ["head", "get", "read", "put", "upload", "delete"].into_iter().zip(refused) {
            assert!(matches!(refused, Some(StoreError::Permanent { .. })), "{call} {key:?}: {refused:?}");
        }
    }
}
