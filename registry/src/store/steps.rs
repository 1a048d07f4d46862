//! A place between two changes of the disk, where a test may look at what a crash would leave. Does nothing otherwise.

#[cfg(test)]
use std::cell::RefCell;

#[cfg(test)]
type Look = Box<dyn FnMut()>;

#[cfg(test)]
thread_local! {
    static LOOK: RefCell<Option<Look>> = const { RefCell::new(None) };
}

/// The process may be killed here.
pub(crate) fn between() {
    #[cfg(test)]
    LOOK.with_borrow_mut(|look| {
        if let Some(look) = look {
            look();
        }
    });
}

/// Has `look` called at each step that this thread makes while `work` runs.
#[cfg(test)]
pub(super) fn watch<T>(look: impl FnMut() + 'static, work: impl FnOnce() -> T) -> T {
    LOOK.set(Some(Box::new(look)));
    let done = work();
    LOOK.set(None);
    done
}
