//! Panics of cases, kept off the terminal and kept for the report.
//!
//! One hook for the process, installed once and never taken back, so that runs may overlap and nest in any order. A
//! finding is raised as a panic and is no accident: silent. Another panic on a case's thread, or on one that its runtime
//! started, is noted with its place for the case's report. Everything else goes to the hook that was there before.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crate::harness::verdict::Finding;

/// Threads of cases begin with this, and so does nothing else.
const PREFIX: &str = "case ";

static INSTALL: Once = Once::new();
static NOTES: Mutex<Option<HashMap<String, Vec<String>>>> = Mutex::new(None);

thread_local! {
    static NOTING: Cell<bool> = const { Cell::new(false) };
}

pub fn install() {
    INSTALL.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().is::<Verbatim>() || info.payload().is::<Finding>() || note(info) {
                return;
            }
            before(info);
        }));
    });
}

/// A finding that is the verdict as it stands: no level softens it.
#[derive(Clone, Debug)]
pub struct Verbatim(pub Finding);

/// A name for the threads of one playing of one case, unlike that of any other.
pub fn thread_name(address: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{PREFIX}{} {address}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// What panicked on the threads of that name, with places, oldest first.
pub fn take_notes(thread_name: &str) -> Vec<String> {
    lock().as_mut().and_then(|notes| notes.remove(thread_name)).unwrap_or_default()
}

/// The text of a panic, where it has one.
pub fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_owned())
}

fn note(info: &PanicHookInfo<'_>) -> bool {
    let thread = std::thread::current();
    let Some(name) = thread.name().filter(|name| name.starts_with(PREFIX)) else {
        return false;
    };
    // A panic while noting one must not wait for itself.
    if NOTING.replace(true) {
        return false;
    }
    let place = info.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
    let text = format!("{place}: {}", text_of_hook(info));
    lock().get_or_insert_default().entry(name.to_owned()).or_default().push(text);
    NOTING.set(false);
    true
}

fn text_of_hook(info: &PanicHookInfo<'_>) -> String {
    info.payload_as_str().unwrap_or("a panic without a text").to_owned()
}

fn lock() -> MutexGuard<'static, Option<HashMap<String, Vec<String>>>> {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner)
}
