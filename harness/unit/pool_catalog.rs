//! The catalog of models and the files under it: cuts, crowds, strangers' entries, locks.

use std::fs;
use std::path::Path;
use std::time::Duration;

use llorch::pool::catalog::{Catalog, CatalogError, Format, Model, Store, is_architecture, is_model_id, is_repo};
use llorch::pool::durable::{self, Lock, LockError};
use serde_json::json;

pub const TESTS: &[(&str, fn())] = &[
    ("pool_catalog/every_cut", every_cut_is_refused_and_left),
    ("pool_catalog/crowd", a_crowd_of_writers_loses_nothing),
    ("pool_catalog/crowd_can_lose", without_the_lock_a_crowd_does_lose),
    ("pool_catalog/strangers", what_is_not_known_is_kept),
    ("pool_catalog/refused", what_is_no_catalog_is_refused_with_the_reason),
    ("pool_catalog/unreadable", a_folder_in_its_place_is_left_alone),
    ("pool_catalog/failed_change", a_change_that_fails_writes_nothing),
    ("pool_catalog/names", ids_repos_and_architectures),
    ("pool_catalog/lock", a_lock_has_an_end_of_patience),
    ("pool_catalog/replace", what_is_replaced_is_replaced_whole),
];

fn model(id: &str) -> Model {
    Model::new(id, "A model", "acme/model", "gpt2", Format::Safetensors, vec!["cpu".into()])
}

fn add(store: &Store, id: &str) -> Result<(), CatalogError> {
    store.change(|catalog| {
        catalog.models.push(model(id));
        Ok(())
    })
}

fn every_cut_is_refused_and_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    add(&store, "one").unwrap();
    add(&store, "two").unwrap();
    let whole = fs::read(store.path()).unwrap();
    for length in 0..whole.len() {
        fs::write(store.path(), &whole[..length]).unwrap();
        let problem = add(&store, "three").unwrap_err();
        assert!(matches!(problem, CatalogError::Damaged { .. }), "{length}: {problem}");
        let told = problem.to_string();
        assert!(told.contains("catalog.json") && told.contains("left as it is"), "{told}");
        assert!(matches!(store.read(), Err(CatalogError::Damaged { .. })), "{length}");
        assert_eq!(fs::read(store.path()).unwrap(), &whole[..length], "{length}");
    }
    // The same check accepts what is whole.
    fs::write(store.path(), &whole).unwrap();
    add(&store, "three").unwrap();
    assert_eq!(store.read().unwrap().models.len(), 3);
}

fn a_crowd_of_writers_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for number in 0..50 {
            let store = Store::new(folder.path());
            scope.spawn(move || add(&store, &format!("m{number}")).unwrap());
        }
    });
    let catalog = Store::new(folder.path()).read().unwrap();
    assert_eq!(catalog.models.len(), 50);
    // Temporary files would be left by writers that got in each other's way.
    let left: Vec<_> = fs::read_dir(folder.path().join(".test-models")).unwrap().flatten().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// The test above would see it: the same without the lock, each writer stopped between reading and writing.
fn without_the_lock_a_crowd_does_lose() {
    let folder = tempfile::tempdir().unwrap();
    let (path, barrier) = (folder.path().join("list"), std::sync::Barrier::new(8));
    fs::write(&path, "").unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (path, barrier) = (&path, &barrier);
            scope.spawn(move || {
                let read = fs::read_to_string(path).unwrap();
                barrier.wait();
                durable::replace(path, format!("{read}{number}\n").as_bytes()).unwrap();
            });
        }
    });
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}

fn what_is_not_known_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let mut written = json!({
        "version": "1.0", "pool_id": "other", "updated_at": "2025-10-09T13:50:00Z", "owner": {"name": "somebody"},
        "models": [{
            "id": "tinyllama", "name": "TinyLlama", "path": "/models/tinyllama", "format": "gguf", "size_gb": 2.2,
            "architecture": "llama", "downloaded": true, "backends": ["cpu", "abacus"], "stars": 5,
            "metadata": {"repo": "a/b", "licence": "apache-2.0"},
        }],
    });
    fs::create_dir_all(store.folder()).unwrap();
    fs::write(store.path(), written.to_string()).unwrap();
    store.change(|_| Ok::<_, CatalogError>(())).unwrap();
    let mut now: serde_json::Value = serde_json::from_slice(&fs::read(store.path()).unwrap()).unwrap();
    assert_ne!(now["updated_at"], written["updated_at"]);
    (now["updated_at"], written["updated_at"]) = (json!(0), json!(0));
    assert_eq!(now, written);
}

fn what_is_no_catalog_is_refused_with_the_reason() {
    let entry = |id: &str| {
        json!({
            "id": id, "name": "n", "path": "p", "format": "gguf", "size_gb": 0, "architecture": "llama", "downloaded": false,
            "backends": [], "metadata": {},
        })
    };
    let with = |version: &str, models: serde_json::Value| {
        json!({ "version": version, "pool_id": "p", "updated_at": "u", "models": models }).to_string()
    };
    assert!(Catalog::parse(with("1.0", json!([entry("a"), entry("b")])).as_bytes()).is_ok());
    let cases = [
        (String::new(), "empty"),
        ("[]".into(), "invalid"),
        (with("2.0", json!([])), "\"2.0\""),
        (with("1.0", json!([entry("a"), entry("a")])), "twice"),
        (with("1.0", json!([entry("../up")])), "no model id"),
        (with("1.0", json!([{ "id": "a" }])), "name"),
        (with("1.0", json!([entry("a")])) + "}", "trailing"),
    ];
    for (text, reason) in cases {
        let told = Catalog::parse(text.as_bytes()).unwrap_err();
        assert!(told.contains(reason), "{text}: {told}");
    }
}

fn a_folder_in_its_place_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    fs::create_dir_all(store.path()).unwrap();
    assert!(matches!(add(&store, "one"), Err(CatalogError::Read { .. })));
    assert!(store.path().is_dir());
}

fn a_change_that_fails_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    add(&store, "one").unwrap();
    let before = fs::read(store.path()).unwrap();
    let refused = store.change(|catalog| {
        catalog.models.clear();
        catalog.model("two").map(drop)
    });
    assert_eq!(refused.unwrap_err().to_string(), "there is no model \"two\" in the catalog; it has: one");
    assert_eq!(fs::read(store.path()).unwrap(), before);
}

fn ids_repos_and_architectures() {
    for id in ["tiny", "a; touch b", "Qwen2.5-0.5B", "größe", "x:y", &"x".repeat(128)] {
        assert!(is_model_id(id), "{id}");
    }
    for id in
        ["", ".", "..", ".hidden", "-flag", " blank", "a/b", "a\\b", "a\nb", "catalog.json", "\u{0}", &"x".repeat(129)]
    {
        assert!(!is_model_id(id), "{id:?}");
    }
    for repo in ["gpt2", "acme/tiny", "Qwen/Qwen2.5-0.5B-Instruct", "_a/b_c.d-e"] {
        assert!(is_repo(repo), "{repo}");
    }
    for repo in ["", "/", "a/", "/a", "-x/y", "x/-y", "a/b/c", "a b", "hf://a/b", "../a", "a/..", "--force"] {
        assert!(!is_repo(repo), "{repo:?}");
    }
    assert!(is_architecture("qwen2") && is_architecture("phi-3.5"));
    assert!(!is_architecture("") && !is_architecture("GPT2") && !is_architecture("a b"));
}

fn a_lock_has_an_end_of_patience() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/a.lock");
    let held = Lock::take(&path, Duration::from_secs(5)).unwrap();
    let refused = Lock::take(&path, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(refused, LockError::Held { .. }), "{refused}");
    drop(held);
    drop(Lock::take(&path, Duration::from_secs(5)).unwrap());
}

fn what_is_replaced_is_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/file");
    durable::replace(&path, b"one").unwrap();
    durable::replace(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    // Where it can't be, nothing is left beside it.
    let folder = folder.path().join("new/folder");
    fs::create_dir_all(folder.join("inside")).unwrap();
    assert!(durable::replace(&folder, b"three").is_err());
    let names = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!(names(path.parent().unwrap()), 2);
}
